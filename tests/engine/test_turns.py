"""Lanes take turns: one cut each a round, the one that waited longest first, until nobody gets room."""

from __future__ import annotations

import pytest

from batchline.budgets import SLIVER, Pool
from batchline.engine import turns
from batchline.engine.context import Target
from batchline.engine.turns import Line
from batchline.errors import StoreError, StoreUnreachable
from batchline.lanes import OpenRange, parse_lane
from batchline.store.records import CutAnswer

LIMIT = 1_000
NOW = 1_000_000


def line(
    name: str, *, cut_ms: int = 0, since_ms: int = 0, tokens: int = 100, pool: str = "m", account: str = "openai"
) -> Line:
    lane = parse_lane(f"{account}:chat:{pool}|tenant={name}")
    seen = OpenRange(lane=name, cut_ms=cut_ms, since_ms=since_ms, requests=1, tokens=tokens)
    return Line(where=Target(lane=lane), seen=seen, limits=Pool(name=pool, tokens=LIMIT), walks=1, trigger="age")


class House:
    """Cuts what fits into so much room, and remembers whom it was asked for; a lane has so many ranges."""

    def __init__(self, room: int = 10**9, *, ranges: int = 1, **special: CutAnswer | Exception) -> None:
        self.room = room
        self.asked: list[str] = []
        self.cuts: list[str] = []
        self.squeezed: list[str] = []
        self._ranges = ranges
        self._special = special

    def cut(self, line: Line, squeeze: bool) -> CutAnswer:
        name = line.seen.lane
        self.asked.append(name)
        if squeeze:
            self.squeezed.append(name)
        if isinstance(answer := self._special.get(name), Exception):
            raise answer
        if answer:
            return answer
        if line.seen.tokens > self.room or (squeeze and line.seen.tokens > LIMIT * SLIVER):
            return "tokens"
        self.room -= line.seen.tokens
        self.cuts.append(name)
        return "cut"

    def go_on(self, line: Line) -> bool:
        return self.cuts.count(line.seen.lane) < self._ranges

    def take(self, *lines: Line) -> list[str]:
        turns.take(list(lines), self.cut, self.go_on, now_ms=NOW)
        return self.cuts


def test_the_lane_that_waited_longest_for_a_cut_goes_first() -> None:
    assert House().take(line("a", cut_ms=30), line("b", cut_ms=10), line("c", cut_ms=20)) == ["b", "c", "a"]


def test_a_lane_that_has_only_just_come_does_not_go_before_one_that_waits() -> None:
    assert House().take(line("new", since_ms=50), line("old", cut_ms=40, since_ms=5)) == ["old", "new"]


def test_lanes_that_waited_as_long_go_by_their_names() -> None:
    assert House().take(line("b"), line("a")) == ["a", "b"]


def test_each_lane_is_cut_once_a_round() -> None:
    assert House(ranges=3).take(line("a"), line("b", cut_ms=1)) == ["a", "b", "a", "b", "a", "b"]


def test_room_is_shared_among_lanes_and_not_taken_by_the_first() -> None:
    assert House(300, ranges=100).take(line("a"), line("b", cut_ms=1)) == ["a", "b", "a"]


def test_a_lane_without_room_holds_up_larger_than_small_ones_behind_it_although_these_would_fit() -> None:
    house = House(200)
    assert house.take(line("large", tokens=500), line("middling", cut_ms=1, tokens=150)) == []
    assert house.asked == ["large"]


def test_a_small_lane_gets_past_one_that_waits_for_room() -> None:
    assert House(200).take(line("large", tokens=500), line("small", cut_ms=1, tokens=50)) == ["small"]


def test_once_a_small_one_finds_no_room_nobody_is_asked_for_in_this_budget_any_more() -> None:
    house = House(0)
    many = [line(f"small{n}", cut_ms=n, tokens=50) for n in range(1, 1_000)]
    assert house.take(line("large", tokens=500), *many) == []
    assert house.asked == ["large", "small1"]


def test_a_large_one_that_finds_no_room_does_not_end_the_search_for_small_ones() -> None:
    house = House(60)
    assert house.take(line("one", tokens=500), line("two", cut_ms=1, tokens=400), line("ten", cut_ms=2, tokens=50)) == [
        "ten"
    ]


@pytest.mark.parametrize("other", [{"pool": "other"}, {"account": "anthropic"}])
def test_a_full_budget_holds_up_no_lane_of_another(other: dict[str, str]) -> None:
    house = House(200)
    assert house.take(line("large", tokens=500), line("else", cut_ms=1, tokens=150, **other)) == ["else"]  # type: ignore[arg-type]


def test_a_budget_of_requests_is_held_up_as_one_of_tokens_is() -> None:
    house = House(large="requests")
    assert house.take(line("large"), line("next", cut_ms=1, tokens=500)) == []
    assert house.asked == ["large"]


def test_a_small_lane_that_has_something_open_does_not_shut_the_sliver_for_others() -> None:
    house = House(60, busy="waiting")
    lines = [line("large", tokens=500), line("busy", cut_ms=1, tokens=50), line("new", cut_ms=2, tokens=50)]
    assert house.take(*lines) == ["new"]


def test_a_time_ahead_puts_no_lane_last() -> None:
    assert House().take(line("b", cut_ms=NOW - 1), line("ahead", cut_ms=NOW * 2), line("c", cut_ms=NOW)) == [
        "b",
        "ahead",
        "c",
    ]


@pytest.mark.parametrize("answer", ["down", "open", "creates"])
def test_what_every_lane_of_a_budget_would_be_told_is_asked_once(answer: CutAnswer) -> None:
    house = House(a=answer)
    assert house.take(line("a"), line("b", cut_ms=1), line("else", cut_ms=2, pool="other")) == ["else"]
    assert house.asked == ["a", "else"]


@pytest.mark.parametrize("answer", ["moved", "waiting"])
def test_what_is_not_cut_for_another_reason_than_room_holds_up_nobody(answer: CutAnswer) -> None:
    house = House(a=answer)
    assert house.take(line("a"), line("b", cut_ms=1)) == ["b"]
    assert house.squeezed == []


def test_what_is_wrong_with_one_lane_holds_up_no_other() -> None:
    house = House(ranges=2, a=StoreError("WRONGTYPE"))
    assert house.take(line("a"), line("b", cut_ms=1)) == ["b", "b"]
    assert house.asked.count("a") == 1


def test_a_store_that_cannot_be_reached_ends_the_tick() -> None:
    house = House(a=StoreUnreachable("connection refused"))
    with pytest.raises(StoreUnreachable):
        house.take(line("a"), line("b", cut_ms=1))
    assert house.asked == ["a"]


def test_without_lanes_there_is_nothing_to_do() -> None:
    assert House().take() == []
