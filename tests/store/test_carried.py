"""carried, owed: what a batch carries, and what is needed to answer an entry."""

from __future__ import annotations

from typing import Any

from batchline.store import keys


def test_a_batch_carries_its_range_in_the_order_of_its_entries(scene: Any) -> None:
    scene.submitting("before", batch_id="b0")
    entries = scene.add_many(25)
    scene.walk()
    scene.cut()
    scene.add("after")
    assert scene.carried(scene.get()) == entries


def test_an_entry_that_left_its_range_is_not_carried(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    first, second = scene.carried(batch)
    scene.retry(batch, [first])
    assert scene.carried(batch) == [second]


def test_riders_are_carried_before_the_range(scene: Any) -> None:
    riders = scene.pool(3)
    batch = scene.batch("r1")
    scene.store.batches.ride(batch, horizon_ms=scene.now, max_requests=100)
    carried = scene.carried(batch)
    assert sorted(carried[:3]) == sorted(riders)
    assert len(carried) == 4


def test_an_entry_of_the_range_that_rides_again_is_carried_once(scene: Any) -> None:
    batch = scene.batch("r1", "r2")
    scene.retry(batch, scene.carried(batch)[:1])
    scene.store.batches.ride(batch, horizon_ms=scene.now, max_requests=100)
    carried = scene.carried(batch)
    assert (len(carried), len(set(carried))) == (2, 2)


def test_an_answered_entry_is_carried_by_nobody(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    first, second = scene.carried(batch)
    scene.settle(scene.answer(first), batch=batch)
    assert scene.carried(batch) == [second]


def test_a_rider_that_another_batch_answered_is_not_carried(scene: Any) -> None:
    batch = scene.riders(2)
    first, second = scene.carried(batch)
    scene.settle(scene.answer(first))
    assert scene.carried(batch) == [second]


def test_thousands_are_carried_in_pages_of_a_thousand(scene: Any) -> None:
    entries = scene.add_many(2_500)
    scene.walk_all()
    scene.cut()
    pages = [len(page) for page in scene.store.settling.carried(scene.get())]
    assert pages == [1_000, 1_000, 500]
    assert scene.carried(scene.get()) == entries


def test_thousands_of_riders_come_in_pages_too(scene: Any) -> None:
    batch = scene.riders(2_500)
    pages = [len(page) for page in scene.store.settling.carried(batch)]
    assert (sum(pages), max(pages)) == (2_500, 1_000)


def test_pages_of_large_bodies_stay_near_two_megabytes(scene: Any) -> None:
    scene.add_many(5, body=b"x" * 900_000)
    scene.walk_all()
    scene.cut()
    pages = [len(page) for page in scene.store.settling.carried(scene.get(), bodies=True)]
    assert (sum(pages), max(pages)) == (5, 2)


def test_a_page_may_be_empty_where_everything_was_answered(scene: Any) -> None:
    batch = scene.ended(*(f"r{i}" for i in range(1_500)))
    entries = scene.carried(batch)
    scene.settle(*(scene.answer(entry) for entry in entries[:1_200]), batch=batch)
    assert scene.carried(batch) == entries[1_200:]


def test_bodies_come_only_when_asked_for(scene: Any) -> None:
    batch = scene.batch("r1")
    ((without,),) = scene.store.settling.carried(batch)
    ((with_body,),) = scene.store.settling.carried(batch, bodies=True)
    assert without.fields == {b"id": b"r1"}
    assert with_body.fields == {b"id": b"r1", b"body": b"{}"}


def test_an_empty_range_carries_nothing(scene: Any) -> None:
    scene.pool(1)
    scene.cut(riders_only=True)
    assert scene.carried(scene.get()) == []


def test_a_cancelled_entry_is_marked(scene: Any) -> None:
    batch = scene.batch("r1", "r2")
    first, _ = scene.carried(batch)
    scene.store.intake.cancel(scene.lane.name, first)
    (page,) = scene.store.settling.carried(batch)
    assert [owed.cancelled for owed in page] == [True, False]
    assert [owed.cancelled for owed in scene.store.settling.owed(scene.lane.name, [first])] == [True]


def test_owed_reads_entries_in_the_order_asked_for_and_none_for_answered_ones(scene: Any) -> None:
    first, second = scene.add("r1", "r2")
    scene.settle(scene.answer(first))
    found = scene.store.settling.owed(scene.lane.name, [second, first])
    assert (found[0].entry, found[0].fields, found[1]) == (second, {b"id": b"r2"}, None)


def test_owed_reads_bodies_when_asked_for(scene: Any) -> None:
    (found,) = scene.store.settling.owed(scene.lane.name, scene.add("r1", body=b"{1}"), bodies=True)
    assert found.fields[b"body"] == b"{1}"


def test_owed_tells_what_happened_to_an_entry_so_far(scene: Any) -> None:
    (entry,) = scene.pool(1)
    (found,) = scene.store.settling.owed(scene.lane.name, [entry])
    assert found.attempts == b'{"used":1}'
    assert scene.run("HLEN", keys.attempts(scene.lane.name)) == 1


def test_a_field_given_twice_keeps_its_last_value(scene: Any) -> None:
    entry = scene.run("XADD", keys.requests(scene.lane.name), "1-1", "id", "a", "id", "b", "body", "{}").decode()
    (found,) = scene.store.settling.owed(scene.lane.name, [entry])
    assert found.fields == {b"id": b"b"}
