"""claim, renew, release: one holder at a time, by the store's clock; every claim raises the fence."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import LeaseLost, StoreError
from batchline.store import keys
from batchline.store.records import Batch


def claim(scene: Any, holder: str, **changes: Any) -> Any:
    return scene.store.batches.claim("b1", holder=holder, **({"now_ms": scene.now} | changes))


def lease_left_s(scene: Any) -> float:
    seconds, micro = scene.run("TIME")
    return float((scene.get().lease_until - int(seconds) * 1000 - int(micro) // 1000) / 1000)


@pytest.fixture
def cut(scene: Any) -> Any:
    scene.add("r1")
    scene.cut()
    return scene


def test_a_claim_returns_the_record_under_a_new_fence(cut: Any) -> None:
    batch = claim(cut, "me")
    assert isinstance(batch, Batch)
    assert batch == cut.get()
    assert batch.fence == 1
    assert 29 < lease_left_s(cut) <= 30


def test_a_batch_is_held_while_its_lease_runs(cut: Any) -> None:
    claim(cut, "me")
    assert claim(cut, "you") == "held"


def test_a_worker_whose_clock_is_ahead_takes_no_running_lease(scene: Any) -> None:
    scene.batch("r1")
    assert scene.store.batches.claim("b1", holder="another", now_ms=scene.now * 3) == "held"


def test_a_lapsed_lease_is_taken_over_and_the_fence_grows(cut: Any) -> None:
    first = claim(cut, "me")
    cut.age()
    second = claim(cut, "you")
    assert second.fence == first.fence + 1
    with pytest.raises(LeaseLost):
        cut.store.batches.renew(first)


def test_a_repeated_claim_keeps_its_fence(cut: Any) -> None:
    assert claim(cut, "me") == claim(cut, "me")


def test_there_is_nothing_to_claim_where_no_batch_is(scene: Any) -> None:
    assert claim(scene, "me") == "gone"
    assert scene.key_names() == set()


def test_a_settled_batch_is_not_claimed(scene: Any) -> None:
    batch = scene.ended("r1")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    scene.settled(batch)
    assert claim(scene, "you") == "settled"


def test_a_batch_is_not_claimed_before_it_is_due(scene: Any) -> None:
    scene.submit(scene.submitting("r1"))
    due = scene.get().next_ms
    assert claim(scene, "you", now_ms=due - 1) == "early"
    assert isinstance(claim(scene, "you", now_ms=due), Batch)


def test_renewal_gives_the_full_lease_from_now(cut: Any) -> None:
    batch = claim(cut, "me")
    cut.age()
    cut.store.batches.renew(batch)
    assert 29 < lease_left_s(cut) <= 30


def test_renewal_never_shortens_the_lease_of_a_create_call(scene: Any) -> None:
    batch = scene.submitting("r1")
    scene.store.batches.renew(batch)
    assert 89 < lease_left_s(scene) <= 90


@pytest.mark.parametrize("script", ["settle", "retry"])
def test_work_on_a_batch_renews_its_lease(scene: Any, script: str) -> None:
    call = scene.prepare(script)
    scene.age()
    call()
    assert 29 < lease_left_s(scene) <= 30


def test_a_released_batch_can_be_claimed_when_it_is_due(cut: Any) -> None:
    batch = claim(cut, "me")
    cut.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=cut.now + 5_000)
    assert cut.run("ZSCORE", keys.AGENDA_ACCUMULATE, "b1") == cut.now + 5_000
    assert claim(cut, "you") == "early"
    assert isinstance(claim(cut, "you", now_ms=cut.now + 5_000), Batch)


def test_a_batch_is_not_released_while_its_create_call_may_run(scene: Any) -> None:
    batch = scene.submitting("r1")
    with pytest.raises(StoreError, match="STATE"):
        scene.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=0)


def test_a_tick_is_taken_by_one_worker_at_a_time(store: Any) -> None:
    assert store.take_tick("poll", holder="me", seconds=5)
    assert not store.take_tick("poll", holder="you", seconds=5)
    assert store.take_tick("accumulate", holder="you", seconds=5)
    assert 4_000 < store.connection.run("PTTL", keys.tick("poll")) <= 5_000


def test_a_turn_that_was_taken_twice_by_one_holder_is_still_its_own(store: Any) -> None:
    assert [store.take_tick("poll", holder="me", seconds=5) for _ in range(2)] == [True, True]


def test_a_full_store_still_ticks(store: Any, full: Any) -> None:
    full()
    assert store.take_tick("poll", holder="me", seconds=5)
    store.note_tick("poll", 7)
    assert store.last_ticks() == {"poll": 7}
