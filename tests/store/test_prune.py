"""prune and discard: only what nobody can need is removed, and a lane of the same name begins anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchline.lanes import parse_lane
from batchline.store import keys

LANE = "openai:chat:gpt-5-mini"
NANO = "openai:chat:gpt-5-nano"


def left(scene: Any, lane: str = LANE) -> set[str]:
    """Return what there is of a lane."""
    names = {name for name in scene.key_names() if name.startswith(f"batchline:{{{lane}}}:")}
    return names | {key for key in (keys.LANES, keys.LANES_ASIDE) if scene.run("SISMEMBER", key, lane)}


def test_an_empty_idle_lane_goes_with_its_stream_and_its_walk(scene: Any) -> None:
    scene.emptied("r1")
    assert left(scene) == {keys.requests(LANE), keys.walk(LANE), keys.LANES}
    assert scene.prune() == ["pruned"]
    assert left(scene) == set()


def test_a_look_alone_removes_nothing(scene: Any) -> None:
    scene.emptied("r1")
    before = scene.snapshot()
    assert scene.prune(really=False) == ["pruned"]
    assert scene.snapshot() == before


def test_what_a_lane_took_in_stays_counted(scene: Any) -> None:
    scene.emptied("r1", "r2")
    (depth,) = scene.store.ledger.depths()
    scene.prune()
    assert scene.ledger()["enqueued_pruned"] == depth.added == 2
    scene.emptied("r3")
    scene.prune()
    assert scene.ledger()["enqueued_pruned"] == 3


def test_an_unused_ledger_is_listed_with_what_a_lane_took_in(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("XDEL", keys.requests(LANE), entry)
    scene.prune()
    assert scene.ledger() == {"enqueued_pruned": 1}


def test_a_lane_that_was_named_and_never_used_goes(scene: Any) -> None:
    scene.run("SADD", keys.LANES, LANE)
    assert scene.prune() == ["pruned"]
    assert scene.key_names() == set()


def test_a_lane_set_aside_goes_like_any_other(scene: Any) -> None:
    scene.run("SADD", keys.LANES_ASIDE, LANE)
    (entry,) = scene.add("r1")
    scene.run("SREM", keys.LANES, LANE)
    assert scene.prune() == ["owed"]
    scene.run("XDEL", keys.requests(LANE), entry)
    assert scene.prune() == ["pruned"]
    assert left(scene) == set()


def test_a_lane_that_is_owed_a_reply_stays(scene: Any) -> None:
    scene.add("r1")
    assert scene.prune() == ["owed"]
    assert len(scene.entries()) == 1


def test_a_lane_stays_until_its_last_entry_is_old_enough(scene: Any) -> None:
    scene.emptied("r1")  # entries of the scene are 10 s old
    assert scene.prune(idle_before_ms=scene.now - 10_000) == ["recent"]
    assert scene.prune(idle_before_ms=scene.now - 9_999) == ["pruned"]


def test_a_lane_with_a_dead_letter_stays(scene: Any) -> None:
    places = scene.bury("r1")
    assert scene.prune() == ["dead"]
    scene.store.dead.drop(places)
    assert scene.prune() == ["pruned"]


def test_a_lane_with_an_open_range_stays(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.walk()
    scene.settle(scene.answer(entry))
    assert scene.entries() == []
    assert scene.prune() == ["open"]


@pytest.mark.parametrize(
    ("key", "command"),
    [
        (keys.retry(LANE), ("ZADD", 0, "1-1")),
        (keys.attempts(LANE), ("HSET", "1-1", "{}")),
        (keys.cancels(LANE), ("SADD", "1-1")),
    ],
)
def test_a_lane_with_traces_of_an_entry_stays(scene: Any, key: str, command: tuple[Any, ...]) -> None:
    scene.emptied("r1")
    scene.run(command[0], key, *command[1:])
    assert scene.prune() == ["traces"]


@pytest.mark.parametrize("state", ["batch", "submitting", "submitted", "ended"])
def test_a_lane_of_an_unsettled_batch_stays_though_nothing_is_owed(scene: Any, state: str) -> None:
    batch = getattr(scene, state)("r1")
    (entry,) = scene.entries()
    scene.settle(scene.answer(entry), batch=batch)
    assert scene.entries() == []
    assert scene.prune() == ["batch"]


def test_a_lane_of_an_orphan_that_was_taken_in_stays(scene: Any) -> None:
    scene.emptied("r1")
    assert scene.adopt()
    assert scene.prune() == ["batch"]


def test_nothing_is_pruned_while_more_batches_are_open_than_can_be_looked_at(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.emptied("r1")
    scene.submitted("r2", batch_id="b2")
    scene.add("r9", lane=NANO)
    scene.run("DEL", keys.requests(NANO))
    monkeypatch.setattr("batchline.store.pruning.MOST_OPEN", 0)
    assert scene.prune(NANO) == ["busy"]


@pytest.mark.parametrize("key", [keys.requests(LANE), keys.walk(LANE), keys.ledger(LANE)])
def test_a_lane_with_a_key_of_another_type_is_left_alone(scene: Any, key: str) -> None:
    scene.emptied("r1")
    scene.run("SET", key, "x")
    before = scene.snapshot()
    assert scene.prune() == ["broken"]
    assert scene.snapshot() == before


def test_what_is_no_lane_is_gone(scene: Any) -> None:
    assert scene.prune() == ["gone"]
    assert scene.key_names() == set()


def test_every_lane_of_a_call_has_its_word(scene: Any) -> None:
    scene.emptied("r1")
    scene.add("r2", lane=NANO)
    assert scene.prune(LANE, NANO, "no:such:lane") == ["pruned", "owed", "gone"]


def test_a_pruned_lane_takes_requests_in_again_and_cuts_them(scene: Any) -> None:
    scene.emptied("r1")
    scene.prune()
    scene.add("r2")
    seen = scene.walk()
    assert (seen.requests, scene.cut(seen=seen)) == (1, "cut")


def test_a_request_whose_entry_id_is_older_than_the_pruned_cursor_is_walked(scene: Any) -> None:
    scene.emptied("r1")
    scene.prune()
    scene.add("r2", ms=scene.now - 3_600_000)
    assert scene.walk().requests == 1


def test_a_batch_seen_before_the_lane_was_pruned_cannot_be_cut_after(scene: Any) -> None:
    scene.add("r1")
    seen = scene.walk()
    scene.settle(*(scene.answer(entry) for entry in scene.entries()))
    assert scene.cut("b1", seen=seen) == "cut"
    assert scene.settled(scene.claim("b1"))
    scene.prune()
    scene.add("r2")
    assert scene.cut("b2", seen=seen) == "moved"


def test_a_request_enqueued_just_before_the_script_keeps_the_lane(scene: Any) -> None:
    scene.emptied("r1")
    scene.enqueue("r2")
    assert scene.prune(idle_before_ms=2 * scene.now) == ["owed"]


def test_an_id_accepted_before_is_still_known_after_the_lane_was_pruned(scene: Any) -> None:
    entry = scene.enqueue("r1")
    scene.settle(scene.answer(entry))
    scene.prune(idle_before_ms=2 * scene.now)
    assert scene.enqueue("r1") == entry
    assert scene.entries() == []


def test_all_lanes_are_gone_through_those_aside_too(scene: Any) -> None:
    scene.run("SADD", keys.LANES, LANE)
    scene.run("SADD", keys.LANES_ASIDE, NANO)
    assert sorted(name for page in scene.store.pruning.lanes() for name in page) == [LANE, NANO]


def test_a_stream_in_no_set_of_lanes_is_found_and_taken_in(scene: Any) -> None:
    scene.add("r1")
    scene.add("r2", lane=NANO)
    scene.run("SADD", keys.LANES_ASIDE, NANO)
    scene.run("DEL", keys.LANES)
    strays = [name for page in scene.store.pruning.strays() for name in page]
    assert strays == [LANE]
    assert scene.store.pruning.take_in(strays) == 1
    assert scene.look() is not None
    assert [name for page in scene.store.pruning.strays() for name in page] == []


def test_ledgers_of_old_days_go_with_their_names(scene: Any) -> None:
    lane = parse_lane(LANE)
    for ms in (scene.now - 86_400_000, scene.now):
        (entry,) = scene.add(f"r{ms}")
        scene.store.settling.settle(lane, [scene.answer(entry)], batch=None, route="batch", now_ms=ms)
    today = scene.now - scene.now % 86_400_000
    assert scene.store.pruning.count_days(before_ms=today) == 1
    assert scene.store.pruning.drop_days(before_ms=today) == 1
    (kept,) = scene.run("ZRANGE", keys.DAYS, 0, -1)
    assert {name for name in scene.key_names() if name.startswith(keys.day(""))} == {keys.day(kept.decode())}


def undelivered(scene: Any, *settled_ms: int) -> None:
    rows = [json.dumps({"id": "r", "response": {}, "timing": {"settled": ms}}) for ms in settled_ms]
    scene.run("RPUSH", keys.UNDELIVERED, *rows)


def test_undelivered_replies_go_by_the_time_their_requests_were_settled(scene: Any) -> None:
    undelivered(scene, 1, 2, 3)
    assert scene.store.pruning.discard(before_ms=3, really=False) == 2
    assert scene.run("LLEN", keys.UNDELIVERED) == 3
    assert scene.store.pruning.discard(before_ms=3, really=True) == 2
    assert [json.loads(row)["timing"]["settled"] for row in scene.replies(keys.UNDELIVERED)] == [3]


@pytest.mark.parametrize("really", [True, False])
def test_more_undelivered_replies_than_one_call_takes_are_all_counted(scene: Any, really: bool) -> None:
    undelivered(scene, *([1] * 250))
    assert scene.store.pruning.discard(before_ms=3, really=really) == 250


@pytest.mark.parametrize("raw", ["no reply", "[1]", '{"timing": 5}', '{"timing": {"settled": null}}'])
def test_what_cannot_be_read_is_not_discarded(scene: Any, raw: str) -> None:
    scene.run("RPUSH", keys.UNDELIVERED, raw)
    assert scene.store.pruning.discard(before_ms=3, really=True) == 0
    assert scene.replies(keys.UNDELIVERED) == [raw.encode()]


def test_dead_letters_are_counted_by_the_time_they_were_given_up_on(scene: Any) -> None:
    scene.bury("r1")
    assert scene.store.pruning.count_dead(before_ms=scene.now) == 0
    assert scene.store.pruning.count_dead(before_ms=scene.now + 1) == 1
