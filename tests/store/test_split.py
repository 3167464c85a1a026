"""split: a batch in cut is replaced by itself over a first part and a new one over the rest."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.store import keys


def test_a_split_range_is_two_ranges_without_gap_or_overlap(scene: Any) -> None:
    batch = scene.batch("r1", "r2", "r3")
    entries = scene.carried(batch)
    scene.split(batch, at=entries[0])
    first, rest = scene.get("b1"), scene.get("b2")
    assert (first.after, first.last) == ("0-0", entries[0])
    assert (rest.after, rest.last) == (entries[0], entries[2])
    assert (scene.carried(first), scene.carried(rest)) == (entries[:1], entries[1:])


def test_the_totals_are_shared_out(scene: Any) -> None:
    batch = scene.batch("r1", "r2", "r3")
    scene.split(batch, at=scene.carried(batch)[0])
    first, rest = scene.get("b1"), scene.get("b2")
    assert (batch.requests, batch.bytes, batch.tokens) == (3, 306, 3)
    assert (first.requests, first.bytes, first.tokens) == (1, 102, 1)
    assert (rest.requests, rest.bytes, rest.tokens) == (2, 204, 2)
    assert scene.run("HGETALL", keys.account_open("openai")) == {
        b"b1": f"1:1:0:gpt-5-mini|{scene.lane.name}".encode(),
        b"b2": f"2:2:0:gpt-5-mini|{scene.lane.name}".encode(),
    }


def test_the_new_batch_is_like_the_old_one_and_waits_for_its_claim(scene: Any) -> None:
    batch = scene.batch("r1", "r2")
    scene.split(batch, at=scene.carried(batch)[0])
    rest = scene.get("b2")
    assert (rest.state, rest.lane, rest.account, rest.trigger) == ("cut", batch.lane, batch.account, batch.trigger)
    assert (rest.cut_ms, rest.largest, rest.fence, rest.next_ms) == (batch.cut_ms, batch.largest, 0, scene.now)
    assert scene.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=scene.now) == ["b2"]
    assert scene.claim("b2").fence == 1


def test_a_split_keeps_the_lease(scene: Any) -> None:
    batch = scene.batch("r1", "r2")
    scene.split(batch, at=scene.carried(batch)[0])
    assert scene.get("b1").lease_until == batch.lease_until
    scene.store.batches.renew(batch)


def test_riders_stay_when_a_range_is_split(scene: Any) -> None:
    riders = scene.pool(2)
    batch = scene.batch("r1", "r2")
    scene.store.batches.ride(batch, horizon_ms=scene.now, max_requests=100)
    entries = [entry for entry in scene.carried(batch) if entry not in riders]
    scene.split(batch, at=entries[0])
    assert sorted(scene.carried(scene.get("b1"))) == sorted([*riders, entries[0]])
    assert scene.carried(scene.get("b2")) == entries[1:]


def test_riders_are_handed_over_until_so_many_are_kept(scene: Any) -> None:
    batch = scene.riders(5)
    before = scene.carried(batch)
    scene.split(batch, keep_riders=2)
    first, rest = scene.get("b1"), scene.get("b2")
    assert (first.riders, rest.riders) == (2, 3)
    assert scene.carried(first) + scene.carried(rest) == before
    assert (rest.requests, rest.bytes, rest.tokens, rest.after) == (0, 0, 0, rest.last)


@pytest.mark.parametrize(("count", "kept"), [(2_500, 1_250), (2_500, 500), (2_001, 1)])
def test_thousands_of_riders_are_handed_over_in_calls_of_a_thousand(scene: Any, count: int, kept: int) -> None:
    batch = scene.riders(count)
    scene.split(batch, keep_riders=kept)
    first, rest = scene.get("b1"), scene.get("b2")
    assert (first.riders, rest.riders) == (kept, count - kept)
    mine, others = set(scene.carried(first)), set(scene.carried(rest))
    assert (len(mine), len(others), mine & others) == (kept, count - kept, set())


def test_nothing_is_added_to_a_new_batch_that_somebody_has_claimed(scene: Any) -> None:
    batch = scene.riders(5)
    scene.split(batch, keep_riders=3)
    scene.claim("b2")
    before = scene.snapshot()
    scene.split(batch, keep_riders=1)
    assert scene.snapshot() == before


@pytest.mark.parametrize("state", ["submitting", "submitted", "ended"])
def test_what_is_on_its_way_is_never_split(scene: Any, state: str) -> None:
    batch = getattr(scene, state)("r1", "r2")
    with pytest.raises(StoreError, match="STATE"):
        scene.split(batch, at=scene.carried(batch)[0])
    assert scene.store.batches.get("b2") is None
