"""settled: the last transition, only when nothing is carried any more; what belongs to nobody goes or expires."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.store import keys


def finished(scene: Any, *ids: str, batch_id: str = "b1") -> Any:
    """Return an ended batch that carries nothing any more."""
    batch = scene.ended(*ids, batch_id=batch_id)
    for entry in scene.carried(batch):
        scene.settle(scene.answer(entry), batch=batch)
    return batch


def test_a_batch_that_carries_nothing_is_settled(scene: Any) -> None:
    record = scene.settled(finished(scene, "r1"))
    assert (record.state, record.settled_ms, record.waste_nano, record.lease_until) == ("settled", scene.now, 5, 0)
    assert record == scene.get()


def test_a_batch_that_carries_an_entry_is_not_settled(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    before = scene.snapshot()
    assert scene.settled(batch) is None
    assert scene.snapshot() == before


def test_a_batch_that_carries_a_rider_is_not_settled(scene: Any) -> None:
    assert scene.settled(scene.riders(1)) is None


def test_entries_that_went_to_the_retry_pool_do_not_hold_a_batch_back(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    scene.retry(batch, scene.carried(batch))
    assert scene.settled(batch)


def test_a_rider_that_another_batch_answered_does_not_hold_a_batch_back(scene: Any) -> None:
    batch = scene.riders(1)
    scene.settle(scene.answer(scene.carried(batch)[0]))
    assert scene.settled(batch)


def test_a_long_range_is_swept_in_pages(scene: Any) -> None:
    entries = scene.add_many(2_500)
    scene.walk_all()
    scene.cut()
    batch = scene.claim()
    for start in range(0, 2_500, 1_000):
        scene.retry(batch, entries[start : start + 1_000])
    assert scene.settled(batch)


def test_the_last_of_a_long_range_still_holds_a_batch_back(scene: Any) -> None:
    entries = scene.add_many(1_200)
    scene.walk_all()
    scene.cut()
    batch = scene.claim()
    scene.retry(batch, entries[:1_000])
    scene.retry(batch, entries[1_000:-1])
    assert scene.settled(batch) is None
    scene.settle(scene.answer(entries[-1]), batch=batch)
    assert scene.settled(batch)


def test_thousands_of_answered_riders_are_swept_in_pages(scene: Any) -> None:
    batch = scene.riders(2_001)
    scene.settle(*(scene.answer(entry) for entry in scene.carried(batch)))
    assert scene.settled(batch)
    assert keys.riders("b1") not in scene.key_names()


def test_a_batch_without_rows_is_settled_from_cut_and_counts_as_no_batch(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.settle(scene.answer(scene.carried(batch)[0], status="failed", own=True), batch=batch)
    assert scene.settled(batch).state == "settled"
    assert "batches" not in scene.ledger()
    assert scene.run("HLEN", keys.account_open("openai")) == 0


@pytest.mark.parametrize("state", ["submitting", "submitted"])
def test_a_batch_that_may_bring_answers_is_not_settled(scene: Any, state: str) -> None:
    batch = getattr(scene, state)("r1")
    scene.retry(batch, scene.carried(batch))
    with pytest.raises(StoreError, match="STATE"):
        scene.settled(batch)


def test_the_ledger_counts_the_batch_once(scene: Any) -> None:
    batch = finished(scene, "r1")
    scene.settled(batch)
    scene.settled(batch)
    ledger = scene.ledger()
    counts = {name: ledger[name] for name in ("batches", "size:1", "size_sum", "turnaround:2", "turnaround_ms")}
    assert counts == {"batches": 1, "size:1": 1, "size_sum": 3, "turnaround:2": 1, "turnaround_ms": 6_000}
    assert ledger["wasted_nano:unmatched"] == 5


def test_a_repeat_is_answered_with_the_record_of_the_first(scene: Any) -> None:
    batch = finished(scene, "r1")
    first = scene.settled(batch)
    assert scene.settled(batch, waste_nano=99, now_ms=scene.now + 1) == first


def test_record_and_claim_expire_and_the_agendas_are_free(scene: Any) -> None:
    scene.settled(finished(scene, "r1"), kept_s=3600)
    assert 3500 < scene.run("TTL", keys.batch("b1")) <= 3600
    assert scene.run("TTL", keys.provider_batch("openai", "provider-b1")) > 30 * 86400
    assert scene.store.batches.open_ids() == []


def test_settled_batches_are_listed_newest_first_for_as_long_as_their_records(scene: Any) -> None:
    for number in range(3):
        batch = finished(scene, f"r{number}", batch_id=f"b{number}")
        scene.settled(batch, now_ms=scene.now + number * 2_000_000, kept_s=3600)
    assert scene.store.batches.settled_ids(10) == ["b2", "b1"]
    assert scene.store.batches.settled_ids(1) == ["b2"]


def test_after_a_full_cycle_nothing_is_left_without_owner_or_expiry(scene: Any) -> None:
    for number in range(5):
        scene.enqueue(f"r{number}")
    batch = scene.ended()
    first, second, third, fourth, fifth = scene.carried(batch)
    scene.settle(scene.answer(first, "r0"), scene.answer(second, "r1", status="failed", own=True), batch=batch)
    scene.store.intake.cancel(scene.lane.name, third)
    scene.retry(batch, [third, fourth, fifth])
    scene.settled(batch)
    scene.settle(scene.answer(third, "r2", status="cancelled", own=True))
    scene.cut("b2", riders_only=True)
    rest = scene.claim("b2")
    scene.store.batches.ride(rest, horizon_ms=scene.now, max_requests=100)
    scene.split(scene.get("b2"), keep_riders=1, new_id="b3")
    for batch_id, entry in (("b2", fourth), ("b3", fifth)):
        half = scene.claim(batch_id)
        scene.intent(half, nonce=batch_id)
        scene.submit(half, provider_id=batch_id)
        half = scene.end(scene.claim(batch_id))
        scene.settle(scene.answer(entry, f"r{entry[-1]}"), batch=half)
        assert scene.settled(half)
    for name in ("r3", "r4"):
        scene.run("PEXPIRE", keys.request_id(scene.lane.name, name), 1000)
    lane = scene.lane.name
    owned = {keys.LANES, keys.requests(lane), keys.walk(lane), keys.LEDGERS, keys.ledger(scene.lane.base), keys.SETTLED}
    owned |= {keys.UNREAD}
    expiring = ["batchline:batch:b?", "batchline:account:openai:creates", "batchline:account:openai:provider:*"]
    expiring += [keys.reply_list("out"), "batchline:{*}:id:*", keys.DAYS, "batchline:day:*"]
    for key in scene.key_names() - owned:
        assert any(fnmatch.fnmatchcase(key, pattern) for pattern in expiring), key
        assert scene.run("TTL", key) > 0, key
    assert owned <= scene.key_names()
    assert scene.entries() == []
