"""retry, ride: what a batch could not answer waits in the retry pool and rides along with a later batch."""

from __future__ import annotations

from typing import Any

from batchline.store import keys


def ride(scene: Any, batch: Any, *, horizon_ms: int | None = None, max_requests: int = 100) -> int:
    moved: int = scene.store.batches.ride(batch, horizon_ms=horizon_ms or scene.now, max_requests=max_requests)
    return moved


def test_a_retried_entry_waits_with_its_record_and_is_still_owed(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    assert scene.retry(batch, [entry], not_before_ms=scene.now + 9) == 1
    assert scene.run("ZSCORE", keys.retry(scene.lane.name), entry) == scene.now + 9
    assert scene.run("HGET", keys.attempts(scene.lane.name), entry) == b'{"used":1}'
    assert scene.entries() == [entry]
    assert scene.carried(batch) == []


def test_retries_are_counted_once_by_reason_and_in_the_batch(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    entries = scene.carried(batch)
    assert [scene.retry(batch, entries) for _ in range(2)] == [2, 0]
    assert scene.get().retried == 2
    assert scene.ledger()["retries:expired"] == 2


def test_a_repeat_does_not_change_the_record_or_the_time(scene: Any) -> None:
    batch = scene.ended("r1")
    entries = scene.carried(batch)
    scene.retry(batch, entries, not_before_ms=scene.now)
    scene.retry(batch, entries, not_before_ms=scene.now + 9)
    assert scene.run("ZSCORE", keys.retry(scene.lane.name), entries[0]) == scene.now


def test_what_the_batch_does_not_carry_is_not_retried(scene: Any) -> None:
    batch = scene.ended("r1")
    (other,) = scene.add("r2")
    assert scene.retry(batch, [other]) == 0
    assert keys.retry(scene.lane.name) not in scene.key_names()


def test_an_answered_entry_is_not_retried(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    scene.settle(scene.answer(entry), batch=batch)
    assert scene.retry(batch, [entry]) == 0
    assert keys.attempts(scene.lane.name) not in scene.key_names()


def test_a_rider_is_retried_out_of_its_batch(scene: Any) -> None:
    batch = scene.riders(1)
    entries = scene.carried(batch)
    assert scene.retry(batch, entries) == 1
    assert scene.carried(batch) == []
    assert scene.look().retry_ms == scene.now


def test_no_retries_are_no_call(scene: Any) -> None:
    assert scene.retry(scene.ended("r1"), []) == 0


def test_riders_leave_the_pool_and_are_carried_by_one_batch(scene: Any) -> None:
    entries = scene.pool(3)
    batch = scene.batch("r1")
    assert ride(scene, batch) == 3
    assert scene.get().riders == 3
    assert set(entries) < set(scene.carried(scene.get()))
    assert keys.retry(scene.lane.name) not in scene.key_names()


def test_retries_due_until_the_horizon_ride_and_later_ones_wait(scene: Any) -> None:
    (due,) = scene.pool(1, not_before_ms=scene.now + 5, batch_id="one")
    (later,) = scene.pool(1, not_before_ms=scene.now + 6, batch_id="two")
    batch = scene.batch("r1")
    assert ride(scene, batch, horizon_ms=scene.now + 5) == 1
    assert due in scene.carried(batch)
    assert scene.run("ZRANGE", keys.retry(scene.lane.name), 0, -1) == [later.encode()]


def test_retries_ride_only_up_to_the_most_requests_of_the_batch(scene: Any) -> None:
    scene.pool(5)
    batch = scene.batch("r1", "r2")
    assert ride(scene, batch, max_requests=4) == 2
    assert ride(scene, batch, max_requests=4) == 0
    assert scene.get().riders == 2
    assert scene.run("ZCARD", keys.retry(scene.lane.name)) == 3


def test_the_longest_due_ride_first(scene: Any) -> None:
    scene.pool(1, not_before_ms=scene.now - 1, batch_id="late")
    (first,) = scene.pool(1, not_before_ms=scene.now - 2, batch_id="early")
    batch = scene.batch("r1")
    ride(scene, batch, max_requests=2)
    assert first in scene.carried(batch)


def test_a_batch_that_is_full_takes_no_riders(scene: Any) -> None:
    scene.pool(1)
    assert ride(scene, scene.batch("r1", "r2"), max_requests=2) == 0


def test_nothing_rides_with_a_batch_that_is_on_its_way(scene: Any) -> None:
    scene.pool(1)
    assert ride(scene, scene.submitting("r1")) == 0
    assert scene.look().retry_ms == scene.now


def test_thousands_ride_in_calls_of_a_thousand(scene: Any) -> None:
    assert scene.riders(2_500).riders == 2_500
    assert keys.retry(scene.lane.name) not in scene.key_names()


def test_an_entry_may_be_retried_as_often_as_it_is_carried(scene: Any) -> None:
    (entry,) = scene.pool(1)
    for round_number in range(3):
        scene.cut(f"b{round_number}", riders_only=True)
        batch = scene.claim(f"b{round_number}")
        assert ride(scene, batch) == 1
        assert scene.carried(batch) == [entry]
        assert scene.retry(batch, [entry]) == 1
        assert scene.settled(batch)
    assert scene.ledger()["retries:expired"] == 4
