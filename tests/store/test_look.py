"""look: one page of the lanes; only those with work come back."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.store import keys

NANO = "openai:chat:gpt-5-nano"


def look_all(scene: Any, *, max_lanes: int = 10_000) -> tuple[int, list[Any]]:
    """Look at all pages; return the number of calls and the pages."""
    pages = [scene.store.intake.look(0, max_lanes=max_lanes)]
    while pages[-1].cursor:
        pages.append(scene.store.intake.look(pages[-1].cursor, max_lanes=max_lanes))
    return len(pages), pages


def name_lanes(scene: Any, count: int) -> None:
    scene.run("SADD", keys.LANES, *(f"openai:chat:model-{i}" for i in range(count)))


def test_a_lane_with_unwalked_entries_is_seen(scene: Any) -> None:
    scene.add("r1")
    seen = scene.look()
    assert (seen.unwalked, seen.last, seen.requests) == (True, "0-0", 0)


def test_a_lane_with_an_open_range_is_seen_as_the_walk_left_it(scene: Any) -> None:
    scene.add("r1", "r2")
    walked = scene.walk(max_requests=2)
    assert scene.look() == walked


def test_a_lane_with_only_retries_is_seen_with_the_earliest_not_before(scene: Any) -> None:
    scene.pool(1, not_before_ms=scene.now + 2_000, batch_id="one")
    scene.pool(1, not_before_ms=scene.now + 1_000, batch_id="two")
    seen = scene.look()
    assert (seen.retry_ms, seen.requests, seen.unwalked) == (scene.now + 1_000, 0, False)


def test_a_lane_whose_entries_are_all_in_batches_is_idle(scene: Any) -> None:
    scene.batch("r1")
    assert scene.look() is None


def test_ten_thousand_idle_lanes_cost_a_bounded_number_of_commands_and_no_result(scene: Any) -> None:
    name_lanes(scene, 10_000)
    scene.run("CONFIG RESETSTAT")
    calls, pages = look_all(scene)
    stats = scene.run("INFO", "commandstats")
    sent = stats["cmdstat_evalsha"]["calls"]
    assert calls <= 40
    assert sent <= calls + 1  # the script may have to be loaded first
    assert not any(page.ranges or page.aside or page.broken for page in pages)


def test_one_busy_lane_among_ten_thousand_is_found(scene: Any) -> None:
    name_lanes(scene, 9_999)
    scene.add("r1")
    _, pages = look_all(scene)
    assert {found.lane for page in pages for found in page.ranges} == {scene.lane.name}


def test_new_lanes_beyond_the_limit_are_set_aside_and_reported(scene: Any) -> None:
    name_lanes(scene, 12)
    _, pages = look_all(scene, max_lanes=10)
    aside = {name for page in pages for name in page.aside}
    assert len(aside) == 2
    assert scene.run("SCARD", keys.LANES) == 10
    assert {name.decode() for name in scene.run("SMEMBERS", keys.LANES_ASIDE)} == aside


def test_a_lane_that_was_walked_is_never_set_aside(scene: Any) -> None:
    scene.add("r1")
    scene.walk()
    name_lanes(scene, 12)
    look_all(scene, max_lanes=1)
    assert {name.decode() for name in scene.run("SMEMBERS", keys.LANES)} == {scene.lane.name}


def test_a_lane_set_aside_keeps_its_requests_and_comes_back_when_there_is_room(scene: Any) -> None:
    scene.add("r1")
    scene.add("r2", lane=NANO)
    look_all(scene, max_lanes=1)
    assert scene.run("SCARD", keys.LANES_ASIDE) == 1
    look_all(scene, max_lanes=2)
    _, pages = look_all(scene, max_lanes=2)
    assert {found.lane for page in pages for found in page.ranges} == {scene.lane.name, NANO}
    assert scene.run("SCARD", keys.LANES_ASIDE) == 0


@pytest.mark.parametrize("key", [keys.requests, keys.walk, keys.retry])
def test_a_lane_with_a_key_of_another_type_is_reported_as_broken_and_spoils_no_other(scene: Any, key: Any) -> None:
    scene.add("r1")
    scene.add("r2", lane=NANO)
    scene.run("DEL", key(NANO))
    scene.run("SET", key(NANO), "x")
    _, (page,) = look_all(scene)
    assert page.broken == (NANO,)
    assert [found.lane for found in page.ranges] == [scene.lane.name]


@pytest.mark.parametrize("name", ["a}:id:{b", "*", "[a-z]", "\udcff", " "])
def test_a_lane_of_any_name_is_looked_at_under_its_own_keys(scene: Any, name: str) -> None:
    scene.add("r1", lane=name)
    _, (page,) = look_all(scene)
    assert [found.lane for found in page.ranges] == [name]
