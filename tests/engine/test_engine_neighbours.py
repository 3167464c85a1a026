"""What is wrong with one lane, one request or one slow call spoils nothing beside it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from batchline.engine.leases import LeaseKeeper
from batchline.errors import StoreError, StoreUnreachable
from batchline.store import keys
from batchline.store.records import Batch

CLAUDE = "anthropic:messages:claude-haiku-4-5"


def test_a_lane_whose_scripts_fail_holds_up_no_other_lane(bench: Any) -> None:
    bench.run("SET", keys.account_open("openai"), "no hash")
    for tenant in range(5):
        bench.ask("one", f"{CLAUDE}|tenant=t{tenant}")
    bench.add("openai:chat:gpt-5-mini", id="stuck", body="{}")
    for _ in range(4):
        bench.tick()
        bench.advance(30)
    assert bench.statuses() == {"succeeded": 5}


def test_a_call_that_takes_longer_than_a_lease_keeps_its_batch(bench: Any) -> None:
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 0.03})
    bench.ask("one")
    bench.tick()
    (batch,) = bench.open_batches()

    def slow(poll: Any, provider_id: str) -> Any:
        before = bench.run("HGET", keys.batch(batch.id), "lease_until")
        deadline = time.monotonic() + 10
        while bench.run("HGET", keys.batch(batch.id), "lease_until") == before:
            assert time.monotonic() < deadline, "the lease was not renewed while the provider was being asked"
        return poll(provider_id)

    bench.first.openai.replace("poll", slow)
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}
    assert bench.first.lost == []


@pytest.mark.parametrize(("field", "size"), [("metadata", 65_537), ("x-note", 131_073)])
def test_a_request_with_oversize_fields_is_refused_beside_good_ones(bench: Any, field: str, size: int) -> None:
    value = '{"k":"' + "v" * (size - 8) + '"}' if field == "metadata" else "v" * size
    reply = bench.bad('{"model":"gpt-5-mini","messages":[]}', **{field: value})
    assert (reply.status, reply.error.code) == ("failed", "too_large")


def test_pages_are_sized_by_whole_entries(bench: Any) -> None:
    bench.ask("one", **{"x-note": "v" * 100_000})
    bench.tick()
    (batch,) = bench.open_batches() or bench.store.batches.records(bench.store.batches.settled_ids(1))
    assert batch.largest > 100_000


def test_a_store_that_does_not_answer_a_renewal_is_no_lost_lease() -> None:
    renewed, failures = threading.Event(), [StoreUnreachable("slow"), StoreError("busy")]

    def renew(_: Batch) -> None:
        if failures:
            raise failures.pop()
        renewed.set()

    store: Any = SimpleNamespace(batches=SimpleNamespace(renew=renew))
    batch: Any = SimpleNamespace(id="b1")
    with LeaseKeeper(store, batch, lease_s=0.003) as keeper:
        assert renewed.wait(5)
        keeper.check()
