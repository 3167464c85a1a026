"""cancel: asked for at any time; what no batch carries is settled by the caller at once."""

from __future__ import annotations

from typing import Any

from batchline.store import keys


def cancel(scene: Any, entry: str) -> str:
    answer: str = scene.store.intake.cancel(scene.lane.name, entry)
    return answer


def marked(scene: Any) -> list[bytes]:
    return sorted(scene.run("SMEMBERS", keys.cancels(scene.lane.name)))


def test_an_entry_that_was_not_walked_is_pending(scene: Any) -> None:
    (entry,) = scene.add("r1")
    assert cancel(scene, entry) == "pending"
    assert marked(scene) == [entry.encode()]


def test_an_entry_of_the_open_range_is_pending(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.walk()
    assert cancel(scene, entry) == "pending"


def test_an_entry_in_the_retry_pool_is_pending(scene: Any) -> None:
    (entry,) = scene.pool(1)
    assert cancel(scene, entry) == "pending"


def test_an_entry_of_a_batch_is_carried(scene: Any) -> None:
    batch = scene.batch("r1")
    (entry,) = scene.carried(batch)
    assert cancel(scene, entry) == "carried"
    assert marked(scene) == [entry.encode()]


def test_a_rider_is_carried(scene: Any) -> None:
    batch = scene.riders(1)
    assert cancel(scene, scene.carried(batch)[0]) == "carried"


def test_more_than_ten_entries_of_one_millisecond_are_told_apart_by_number(scene: Any) -> None:
    entries = scene.add_many(12)
    scene.cut(seen=scene.walk(max_requests=9))
    assert [cancel(scene, entry) for entry in entries] == ["carried"] * 9 + ["pending"] * 3


def test_an_answered_entry_is_gone_and_leaves_no_mark(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.settle(scene.answer(entry))
    assert cancel(scene, entry) == "gone"
    assert marked(scene) == []


def test_a_cancelled_entry_that_is_settled_loses_its_mark(scene: Any) -> None:
    (entry,) = scene.add("r1")
    cancel(scene, entry)
    assert scene.settle(scene.answer(entry, status="cancelled", own=True)) == [1]
    assert marked(scene) == []
    assert scene.ledger()["settled:cancelled:batch"] == 1


def test_a_cancelled_entry_of_the_open_range_leaves_a_range_that_can_be_cut(scene: Any) -> None:
    first, second = scene.add("r1", "r2")
    scene.walk()
    cancel(scene, first)
    scene.settle(scene.answer(first, status="cancelled", own=True))
    assert scene.cut() == "cut"
    assert scene.carried(scene.get()) == [second]
