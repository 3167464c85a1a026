"""A store at its maxmemory is drained by real workers, though its broker takes no message and lets no consumer begin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from batchline import Client
from batchline.local.stack import Emulation, Stack
from batchline.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LANE = "openai:chat:gpt-5-mini"
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "0",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    "BATCHLINE_TICK_INTERVAL": "0.2",
    "BATCHLINE_LEASE_SECONDS": "2",
    "BATCHLINE_LOG_FORMAT": "json",
}
LONG = "please sort this ticket " * 200
ASKED = 300


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, emulation=Emulation(latency_s=0.2), settings=SETTINGS) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.redis_url, settings=load_settings(environ={})) as client:
        yield client


def fill(client: Client) -> None:
    """Enqueue, and let the store be full with that."""
    asks = (
        {"model": "gpt-5-mini", "id": f"r{n}", "messages": [{"role": "user", "content": LONG}]} for n in range(ASKED)
    )
    client.enqueue_many(asks, reply_to="out")
    used = client.store.server.facts().used
    client.store.connection.run("CONFIG SET", "maxmemory", used // 2)


@pytest.mark.parametrize("when", ["as the store fills up", "in a store that is full already"])
def test_workers_drain_a_full_store(stack: Stack, client: Client, when: str) -> None:
    started_later = when != "as the store fills up"
    if started_later:
        stack.kill_worker(0)
    fill(client)
    if started_later:
        stack.start_worker(0, wait=False)
    replies = [reply.id for reply in islice(client.replies("out", timeout=90), ASKED)]
    assert sorted(replies) == sorted(f"r{n}" for n in range(ASKED))
    assert "doorbell.failed" in (stack.folder / "worker-0.log").read_text()
    stack.check()
