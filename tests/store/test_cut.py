"""cut: the open range, as the caller saw it, becomes a batch, if there is room."""

from __future__ import annotations

from typing import Any

from batchline.lanes import OpenRange
from batchline.store import keys


def test_a_batch_takes_over_the_range_and_its_totals(scene: Any) -> None:
    entries = scene.add("r1", "r2", body=b"x" * 10)
    assert scene.cut(trigger="requests") == "cut"
    batch = scene.get()
    assert (batch.state, batch.lane, batch.account, batch.trigger) == ("cut", scene.lane.name, "openai", "requests")
    assert (batch.after, batch.last, batch.requests, batch.bytes, batch.tokens) == ("0-0", entries[1], 2, 220, 6)
    assert (batch.largest, batch.riders, batch.cut_ms, batch.fence) == (12, 0, scene.now, 0)


def test_the_open_range_begins_anew_after_the_batch(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.cut()
    seen = scene.walk()
    assert (seen.requests, seen.bytes, seen.tokens, seen.since_ms, seen.full) == (0, 0, 0, 0, None)
    assert seen.last == entry


def test_batches_of_a_lane_are_disjoint_and_leave_no_gap(scene: Any) -> None:
    scene.submitting("r1", batch_id="b1")
    scene.batch("r2", batch_id="b2")
    first, second = scene.get("b1"), scene.get("b2")
    assert second.after == first.last
    assert (len(scene.carried(first)), len(scene.carried(second))) == (1, 1)


def test_a_batch_waits_in_the_agenda_and_rings_again_after_a_lease(scene: Any) -> None:
    scene.add("r1")
    scene.cut()
    assert scene.store.batches.open_ids() == ["b1"]
    assert scene.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=scene.now + 29_999) == []
    assert scene.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=scene.now + 30_000) == ["b1"]


def test_a_cut_is_counted_by_its_trigger(scene: Any) -> None:
    scene.add("r1")
    scene.cut(trigger="tokens")
    assert scene.ledger() == {"cut:tokens": 1}


def test_a_range_that_moved_since_it_was_seen_is_not_cut(scene: Any) -> None:
    scene.add("r1")
    seen = scene.walk()
    scene.add("r2")
    scene.walk()
    before = scene.snapshot()
    assert scene.cut(seen=seen) == "moved"
    assert scene.snapshot() == before


def test_an_empty_range_without_due_retries_is_not_cut(scene: Any) -> None:
    assert scene.cut(seen=OpenRange(lane=scene.lane.name)) == "moved"
    scene.pool(1, not_before_ms=scene.now + 1)
    assert scene.cut() == "moved"


def test_an_empty_range_with_due_retries_is_cut_for_riders(scene: Any) -> None:
    scene.pool(1)
    assert scene.cut() == "cut"
    assert scene.get().requests == 0


def test_a_lane_whose_last_batch_is_still_in_cut_waits(scene: Any) -> None:
    scene.batch("r1")
    scene.add("r2")
    assert scene.cut("b2") == "waiting"
    scene.intent(scene.get("b1"))
    assert scene.cut("b2") == "cut"


def test_an_account_that_is_down_gets_no_batch_until_it_is_up_again(scene: Any) -> None:
    scene.add("r1")
    until = scene.outage()
    assert scene.cut(now_ms=until - 1) == "down"
    assert scene.cut(now_ms=until) == "cut"


def test_an_account_with_its_most_open_batches_gets_no_other(scene: Any) -> None:
    batch = scene.submitted("r1")
    scene.add("r2")
    assert scene.cut("b2", max_open=1) == "open"
    scene.end(batch)
    assert scene.cut("b2", max_open=1) == "cut"


def test_an_account_that_used_up_its_creates_of_the_hour_waits(scene: Any) -> None:
    scene.submitting("r1")
    scene.add("r2")
    assert scene.cut("b2", max_creates=1) == "creates"
    assert scene.cut("b2", max_creates=1, now_ms=scene.now + 3_600_001) == "cut"


def test_a_refused_cut_writes_nothing(scene: Any) -> None:
    scene.add("r1")
    seen = scene.walk()
    before = scene.snapshot()
    assert scene.cut(seen=seen, max_open=0) == "open"
    assert scene.snapshot() == before


def test_a_batch_of_riders_alone_leaves_the_open_range_open(scene: Any) -> None:
    scene.pool(1)
    scene.add("r1")
    seen = scene.walk()
    assert scene.cut(seen=seen, riders_only=True) == "cut"
    batch = scene.get()
    assert (batch.after, batch.last, batch.requests, batch.bytes, batch.tokens) == (seen.last, seen.last, 0, 0, 0)
    assert scene.walk() == seen
    assert scene.carried(batch) == []


def test_a_batch_of_riders_alone_needs_a_due_retry(scene: Any) -> None:
    scene.pool(1, not_before_ms=scene.now + 1)
    scene.add("r1")
    assert scene.cut(riders_only=True) == "moved"


def test_a_late_repeat_of_a_cut_leaves_the_batch_of_its_new_holder_alone(scene: Any) -> None:
    scene.pool(1)
    seen = scene.walk()
    scene.cut(seen=seen)
    scene.intent(scene.claim())
    before = scene.snapshot()
    assert scene.cut(seen=seen) == "cut"
    assert scene.snapshot() == before
