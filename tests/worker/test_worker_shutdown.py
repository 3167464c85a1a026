"""Real workers, asked to end by SIGTERM in the middle of a long step: they end in order, and another one goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from batchline import Client
from batchline.local.stack import PLAIN_CELERY, WORKER, Emulation, Stack
from batchline.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "1h",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    "BATCHLINE_TICK_INTERVAL": "0.2",
    "BATCHLINE_LEASE_SECONDS": "60",
    "BATCHLINE_LOG_FORMAT": "json",
}
ASKED = 1_200
"""More than two chunks of results."""
MIDDLE = 700


class House:
    """A stack whose first worker hangs at a kill point, and is asked to end there."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client(stack.redis_url, settings=load_settings(environ={}))

    def enqueue(self, count: int) -> None:
        """Ask so many questions, with one callback queue."""
        asks = (
            {"model": "gpt-5-mini", "id": f"r{n}", "body": {"messages": [{"role": "user", "content": f"question {n}"}]}}
            for n in range(count)
        )
        self.client.enqueue_many(asks, reply_to="out")

    def end_worker(self, point: str, *, grace_s: float) -> int | None:
        """Wait until the worker hangs at the point, and ask it to end there; returns its exit code."""
        worker = self.stack.workers[0]
        assert worker is not None
        worker.wait_line(rf"killpoint {re.escape(point)} hang", 60)
        return self.stack.stop_worker(0, timeout_s=grace_s + 30)

    def go_on(self, count: int) -> set[str]:
        """Start another worker and return the ids of so many replies."""
        for name in [name for name in self.stack._settings if "KILLPOINT" in name]:
            del self.stack._settings[name]
        self.stack.start_worker(0)
        found = [reply.id for reply, _ in zip(self.client.replies("out", timeout=60), range(count), strict=False)]
        assert len(found) == len(set(found)) == count
        return set(found)

    def bill(self) -> Any:
        """Return the emulator's bill."""
        with urlopen(f"{self.stack.emulator_url}/_emulator/bill") as answer:
            return json.load(answer)

    def events(self, name: str) -> int:
        """Count an event in the log of worker 0."""
        return (self.stack.folder / "worker-0.log").read_text().count(f'"event": "{name}"')


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    stacks: list[House] = []

    def start(
        point: str, *, asked: int, hang_s: float, command: Sequence[str] = WORKER, grace_s: float = 20, nth: int = 1
    ) -> House:
        killpoint = {"BATCHLINE_KILLPOINT": f"{point}:hang:{nth}", "BATCHLINE_KILLPOINT_HANG": str(hang_s)}
        settings = {"BATCHLINE_SHUTDOWN_GRACE": str(grace_s), "BATCHLINE_FLUSH__MAX_REQUESTS": str(asked)}
        stack = Stack(tmp_path, emulation=Emulation(latency_s=0.2), settings=SETTINGS | killpoint | settings, worker_command=command)
        stacks.append(House(stack.start()))
        stacks[-1].enqueue(asked)
        return stacks[-1]

    yield start
    for each in stacks:
        each.client.close()
        each.stack.stop()


def once(house: House, count: int) -> None:
    """Every request was answered, run and paid once."""
    bill = house.bill()
    assert (bill["executions"], bill["double_executions"]) == (count, 0)


@pytest.mark.parametrize("command", [WORKER, PLAIN_CELERY], ids=["batchline worker", "plain celery"])
def test_a_long_settling_is_handed_back_and_goes_on_at_once(house: Any, command: Sequence[str]) -> None:
    at = "provider.results.row.before"
    its = house(at, asked=ASKED, hang_s=1, command=command, nth=MIDDLE)
    assert its.end_worker(at, grace_s=20) == 0
    assert (its.events("batch.handed_back"), its.events("worker.grace_over")) == (1, 0)
    its.go_on(ASKED)
    once(its, ASKED)


def test_an_upload_is_handed_back_and_goes_on_at_once(house: Any) -> None:
    at = "provider.upload.before"
    its = house(at, asked=20, hang_s=1)
    assert its.end_worker(at, grace_s=20) == 0
    assert its.events("batch.handed_back") == 1
    its.go_on(20)
    once(its, 20)


def test_a_create_call_is_waited_for_even_beyond_the_grace_period(house: Any) -> None:
    at = "provider.create.before"
    its = house(at, asked=20, hang_s=2, grace_s=0.2)
    its.end_worker(at, grace_s=20)
    assert (its.events("batch.submitted"), its.events("batch.handed_back")) == (1, 0)
    its.go_on(20)
    once(its, 20)


def test_a_step_that_does_not_end_in_time_is_left_to_its_lease(house: Any) -> None:
    at = "provider.results.row.before"
    its = house(at, asked=ASKED, hang_s=100, grace_s=0.5, nth=MIDDLE)
    assert its.end_worker(at, grace_s=20) == 1
    assert its.events("worker.grace_over") == 1
    its.client.store.connection.run("HSET", batch_key(its), "lease_until", 0)
    its.go_on(ASKED)
    once(its, ASKED)


def batch_key(house: House) -> bytes:
    """Return the key of the one batch."""
    (key,) = house.client.store.connection.run("KEYS", "batchline:batch:*")
    found: bytes = key
    return found
