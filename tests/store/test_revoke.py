"""revoke: a batch is to be cancelled; who polls it is told, and it takes no riders. find: entries by request id."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.store import keys

LANE = "openai:chat:gpt-5-mini"
NOW = 1_800_000_000_000


def agenda(scene: Any, key: str) -> dict[bytes, float]:
    return dict(scene.run("ZRANGE", key, 0, -1, "WITHSCORES"))


def revoke(scene: Any, now_ms: int = NOW) -> str:
    said: str = scene.store.intake.revoke("b1", now_ms=now_ms)
    return said


def test_a_submitted_batch_is_looked_at_at_once(scene: Any) -> None:
    batch = scene.submitted("r1")
    scene.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=NOW + 900_000)
    assert revoke(scene) == "submitted"
    assert (scene.get().cancel_ms, scene.get().next_ms) == (NOW, NOW)
    assert agenda(scene, keys.AGENDA_POLL) == {b"b1": NOW}


def test_the_first_time_stands(scene: Any) -> None:
    scene.submitted("r1")
    revoke(scene)
    revoke(scene, NOW + 5)
    assert scene.get().cancel_ms == NOW


def test_a_batch_that_waits_in_cut_is_rendered_at_once(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=NOW + 900_000)
    assert revoke(scene) == "cut"
    assert agenda(scene, keys.AGENDA_ACCUMULATE) == {b"b1": NOW}
    assert agenda(scene, keys.AGENDA_POLL) == {}


def test_a_batch_whose_create_may_be_running_is_left_to_its_agenda(scene: Any) -> None:
    scene.submitting("r1")
    before = agenda(scene, keys.AGENDA_ACCUMULATE)
    assert revoke(scene) == "submitting"
    assert scene.get().cancel_ms == NOW
    assert agenda(scene, keys.AGENDA_ACCUMULATE) == before


def test_a_batch_that_waits_for_its_results_is_looked_at_at_once(scene: Any) -> None:
    batch = scene.ended("r1")
    scene.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=NOW + 900_000)
    assert revoke(scene) == "ended"
    assert (scene.get().cancel_ms, agenda(scene, keys.AGENDA_POLL)) == (NOW, {b"b1": NOW})


@pytest.mark.parametrize("state", ["settled", "gone"])
def test_a_batch_that_is_over_is_left_alone(scene: Any, state: str) -> None:
    if state == "settled":
        scene.submitted("r1")
        scene.run("HSET", keys.batch("b1"), "state", "settled")
    assert revoke(scene) == state
    assert b"cancel_ms" not in scene.run("HGETALL", keys.batch("b1"))


def test_whoever_held_the_batch_meanwhile_cannot_put_it_off(scene: Any) -> None:
    batch = scene.submitted("r1")
    revoke(scene)
    scene.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=NOW + 900_000)
    assert (scene.get().next_ms, agenda(scene, keys.AGENDA_POLL)) == (0, {b"b1": 0})


def test_who_knows_of_it_says_when_to_look_again(scene: Any) -> None:
    scene.submitted("r1")
    revoke(scene)
    scene.store.batches.release(scene.claim(), agenda=keys.AGENDA_POLL, next_ms=NOW + 10_000)
    assert scene.get().next_ms == NOW + 10_000


def test_a_batch_that_is_to_be_cancelled_takes_no_riders(scene: Any) -> None:
    scene.pool(1)
    batch = scene.batch("r1")
    revoke(scene)
    assert scene.store.batches.ride(batch, horizon_ms=NOW, max_requests=100) == 0


def found(scene: Any, request_id: str | None = None) -> list[str]:
    return [entry for page in scene.store.intake.find(LANE, request_id) for entry in page]


def test_entries_are_found_by_their_requests_id(scene: Any) -> None:
    first, _, third = scene.add("r1", "r2", "r1")
    assert found(scene, "r1") == [first, third]
    assert found(scene, "nothing") == []


def test_all_entries_of_a_lane_are_found_over_many_pages(scene: Any) -> None:
    entries = scene.add_many(2500)
    assert found(scene) == entries


def test_large_entries_make_small_pages(scene: Any) -> None:
    entries = scene.add_many(5, body=b'"' + b"x" * 1_000_000 + b'"')
    pages = list(scene.store.intake.find(LANE))
    assert [entry for page in pages for entry in page] == entries
    assert len(pages) > 1


def test_what_comes_while_looking_is_left_out(scene: Any) -> None:
    entries = scene.add_many(1000)
    pages = scene.store.intake.find(LANE)
    seen = next(pages)
    scene.add_many(5)
    assert seen + [entry for page in pages for entry in page] == entries


def test_a_lane_that_is_not_there_has_no_entries(scene: Any) -> None:
    assert found(scene) == []


def test_an_id_inside_its_window_leads_to_its_entry(scene: Any) -> None:
    entry = scene.enqueue("r1")
    assert scene.store.intake.entry_by_id(LANE, "r1") == entry
    assert scene.store.intake.entry_by_id(LANE, "r2") is None


def test_many_entries_are_cancelled_in_one_round_trip(scene: Any) -> None:
    batch = scene.batch("r1")
    (pending,) = scene.add("r2")
    entries = [*scene.carried(batch), pending, "1-1"]
    assert scene.store.intake.cancel_many(LANE, entries) == ["carried", "pending", "gone"]
