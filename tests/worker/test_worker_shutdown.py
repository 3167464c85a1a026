"""Real workers, asked to end by SIGTERM in the middle of a long step: they end in order, and another one goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from batchline import Client
from batchline.local.stack import PLAIN_CELERY, WORKER, Emulation, Stack
from batchline.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HELD = (sys.executable, str(Path(__file__).with_name("held.py")))
BATCHLINE = ("batchline", "worker")
CELERY = ("celery", *PLAIN_CELERY[3:])
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "1h",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    "BATCHLINE_TICK_INTERVAL": "0.2",
    "BATCHLINE_LEASE_SECONDS": "60",
    "BATCHLINE_LOG_FORMAT": "json",
}
ASKED = 1_200
"""More than two chunks of results."""


class House:
    """A stack with one worker that is held at a point of its step, and one batch of requests for it."""

    def __init__(self, stack: Stack, asked: int) -> None:
        self.stack = stack
        self.asked = asked
        self.client = Client(stack.redis_url, settings=load_settings(environ={}))
        asks = (
            {"model": "gpt-5-mini", "id": f"r{n}", "messages": [{"role": "user", "content": f"question {n}"}]}
            for n in range(asked)
        )
        self.client.enqueue_many(asks, reply_to="out")

    def end_worker(self) -> int | None:
        """Ask the worker to end where it is held; returns its exit code."""
        worker = self.stack.workers[0]
        assert worker is not None
        worker.wait_line("^held$", 60)
        return self.stack.stop_worker(0, timeout_s=40)

    def go_on(self) -> None:
        """Let another worker do the rest: every request is answered, run and paid once."""
        self.stack._worker_command = WORKER
        self.stack.start_worker(0)
        replies = islice(self.client.replies("out", timeout=90), self.asked)
        assert {reply.id for reply in replies} == {f"r{n}" for n in range(self.asked)}
        with urlopen(f"{self.stack.emulator_url}/_emulator/bill") as answer:
            bill = json.load(answer)
        assert (bill["executions"], bill["double_executions"]) == ({"openai": self.asked}, 0)
        assert self.client.store.ledger.depths()[0].owed == 0

    def events(self, name: str) -> int:
        """Count an event in the worker's log."""
        return (self.stack.folder / "worker-0.log").read_text().count(f'"event": "{name}"')


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def start(at: str, *, asked: int = 20, grace_s: float = 20, command: Sequence[str] = BATCHLINE) -> House:
        settings = {"BATCHLINE_SHUTDOWN_GRACE": str(grace_s), "BATCHLINE_FLUSH__MAX_REQUESTS": str(asked)}
        stack = Stack(
            tmp_path,
            emulation=Emulation(latency_s=0.2),
            settings=SETTINGS | settings,
            worker_command=(*HELD, at, *command),
        )
        houses.append(House(stack.start(), asked))
        return houses[-1]

    yield start
    for house in houses:
        house.client.close()
        house.stack.stop()


@pytest.mark.parametrize("command", [BATCHLINE, CELERY], ids=["batchline worker", "plain celery"])
def test_a_long_settling_is_handed_back_and_goes_on_at_once(held: Any, command: Sequence[str]) -> None:
    house = held("results", asked=ASKED, command=command)
    assert house.end_worker() == 0
    assert (house.events("batch.handed_back"), house.events("worker.grace_over")) == (1, 0)
    house.go_on()


def test_an_upload_is_handed_back_and_goes_on_at_once(held: Any) -> None:
    house = held("upload")
    assert house.end_worker() == 0
    assert (house.events("batch.handed_back"), house.events("batch.submitted")) == (1, 0)
    house.go_on()


def test_a_create_call_that_was_begun_is_finished(held: Any) -> None:
    house = held("create")
    assert house.end_worker() == 0
    assert (house.events("batch.submitted"), house.events("batch.handed_back")) == (1, 0)
    house.go_on()


def test_a_step_that_does_not_end_in_time_is_left_to_its_lease(held: Any) -> None:
    house = held("stuck", asked=ASKED, grace_s=0.5)
    assert house.end_worker() == 1
    assert house.events("worker.grace_over") == 1
    (batch,) = house.client.store.connection.run("KEYS", "batchline:batch:*")
    house.client.store.connection.run("HSET", batch, "lease_until", 0)
    house.client.store.connection.run("ZADD", "batchline:agenda:poll", 0, batch.rsplit(b":", 1)[1])
    house.go_on()
