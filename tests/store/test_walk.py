"""walk: every entry is walked once; the flush limits stop the walk before the entry that would pass them."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.store import keys

LIMITS: dict[str, Any] = {
    "max_requests": 10,
    "max_bytes": 10**9,
    "max_tokens": None,
    "row_bytes": 100,
    "bytes_per_token": 4.0,
}


def numbers(seen: Any) -> tuple[int, int, int]:
    return seen.requests, seen.bytes, seen.tokens


def test_an_empty_lane_has_an_empty_range(scene: Any) -> None:
    seen = scene.walk()
    assert (numbers(seen), seen.last, seen.full, seen.unwalked) == ((0, 0, 0), "0-0", None, False)


def test_bytes_are_of_rows_and_tokens_are_estimated_and_rounded_up_per_entry(scene: Any) -> None:
    scene.add("r1", body=b"x" * 10)
    scene.add("r2", body=b"x" * 21)
    assert numbers(scene.walk(row_bytes=100, bytes_per_token=4.0)) == (2, 231, 3 + 6)


def test_an_entry_without_a_body_counts_as_an_empty_one(scene: Any) -> None:
    scene.run("XADD", keys.requests(scene.lane.name), "1-1", "id", "r1")
    assert numbers(scene.walk(row_bytes=100)) == (1, 100, 0)


def test_an_entry_is_walked_once(scene: Any) -> None:
    scene.add("r1", "r2")
    first = scene.walk()
    assert scene.walk() == first
    scene.add("r3")
    assert scene.walk().requests == 3


def test_a_range_begins_with_the_time_of_its_first_entry(scene: Any) -> None:
    scene.add("r1", ms=scene.now - 5_000)
    scene.add("r2", ms=scene.now - 1_000)
    assert scene.walk().since_ms == scene.now - 5_000


def test_an_entry_id_in_the_future_does_not_make_a_range_younger_than_its_walk(scene: Any) -> None:
    scene.add("r1", ms=scene.now + 10**9)
    assert scene.walk().since_ms == scene.now


def test_a_range_is_full_at_exactly_the_most_requests(scene: Any) -> None:
    entries = scene.add_many(5)
    seen = scene.walk(max_requests=3)
    assert (seen.requests, seen.last, seen.full, seen.unwalked) == (3, entries[2], "requests", True)


def test_a_range_below_every_limit_is_not_full(scene: Any) -> None:
    scene.add_many(2)
    assert scene.walk(max_requests=3, max_bytes=307, max_tokens=3).full is None


def test_a_range_that_reaches_the_bytes_exactly_is_full(scene: Any) -> None:
    scene.add_many(3, body=b"x" * 50)
    seen = scene.walk(max_bytes=300, row_bytes=100)
    assert (numbers(seen)[:2], seen.full, seen.unwalked) == ((2, 300), "bytes", True)


def test_the_walk_stops_before_the_entry_that_would_exceed_the_bytes(scene: Any) -> None:
    entries = scene.add_many(3, body=b"x" * 50)
    seen = scene.walk(max_bytes=449, row_bytes=100)
    assert (seen.bytes, seen.last, seen.full, seen.unwalked) == (300, entries[1], "bytes", True)


def test_the_walk_stops_before_the_entry_that_would_exceed_the_tokens(scene: Any) -> None:
    entries = scene.add_many(4, body=b"x" * 40)
    seen = scene.walk(max_tokens=29, bytes_per_token=4.0)
    assert (seen.tokens, seen.last, seen.full, seen.unwalked) == (20, entries[1], "tokens", True)


def test_a_range_that_reaches_the_tokens_exactly_is_full(scene: Any) -> None:
    scene.add_many(2, body=b"x" * 40)
    seen = scene.walk(max_tokens=20)
    assert (seen.tokens, seen.full, seen.unwalked) == (20, "tokens", False)


@pytest.mark.parametrize(("limit", "full"), [({"max_bytes": 10}, "bytes"), ({"max_tokens": 1}, "tokens")])
def test_a_single_entry_beyond_the_limit_goes_alone(scene: Any, limit: dict[str, int], full: str) -> None:
    big, _ = scene.add("r1", body=b"x" * 1000) + scene.add("r2")
    seen = scene.walk(**limit)
    assert (seen.requests, seen.last, seen.full, seen.unwalked) == (1, big, full, True)


def test_an_oversize_entry_is_not_added_to_a_range_that_has_begun(scene: Any) -> None:
    small, _ = scene.add("r1") + scene.add("r2", body=b"x" * 1000)
    seen = scene.walk(max_bytes=500)
    assert (seen.requests, seen.last, seen.full) == (1, small, "bytes")


def test_a_full_range_stays_as_it_is(scene: Any) -> None:
    scene.add_many(3)
    full = scene.walk(max_requests=2)
    assert scene.walk() == full


def test_what_follows_a_full_range_is_walked_after_the_cut(scene: Any) -> None:
    entries = scene.add_many(3)
    full = scene.walk(max_requests=2)
    scene.cut(seen=full)
    seen = scene.walk()
    assert (seen.requests, seen.last, seen.full) == (1, entries[2], None)


def test_two_and_a_half_thousand_entries_take_three_calls_of_at_most_a_thousand(scene: Any) -> None:
    entries = scene.add_many(2_500)
    seen = [scene.walk() for _ in range(3)]
    assert [s.requests for s in seen] == [1_000, 2_000, 2_500]
    assert [s.unwalked for s in seen] == [True, True, False]
    assert (seen[-1].last, seen[-1].tokens) == (entries[-1], 2_500)


def test_a_call_takes_no_more_entries_than_asked_for(scene: Any) -> None:
    scene.add_many(10)
    assert scene.walk(most=7).requests == 7


def test_a_call_reads_about_two_megabytes_of_large_bodies(scene: Any) -> None:
    scene.add_many(9, body=b"x" * 600_000)
    assert [scene.walk().requests for _ in range(3)] == [4, 8, 9]


def test_an_entry_larger_than_two_megabytes_is_walked_alone(scene: Any) -> None:
    scene.add_many(2, body=b"x" * 3_000_000)
    assert [scene.walk().requests for _ in range(2)] == [1, 2]


def test_the_first_large_bodies_of_a_lane_overshoot_by_a_page_of_eight_at_most_and_only_once(scene: Any) -> None:
    scene.add_many(95)
    scene.add_many(14, body=b"x" * 1_000_000)
    assert [scene.walk().requests for _ in range(4)] == [103, 105, 107, 109]


def test_more_than_ten_entries_of_one_millisecond_are_walked_in_the_order_of_their_numbers(scene: Any) -> None:
    entries = scene.add_many(25)
    seen = scene.walk(max_requests=11)
    assert (seen.requests, seen.last) == (11, entries[10])


def test_a_walk_over_a_key_of_another_type_is_an_error_and_writes_nothing(scene: Any) -> None:
    scene.run("SET", keys.requests(scene.lane.name), "x")
    with pytest.raises(StoreError):
        scene.walk()
    assert scene.key_names() == {keys.requests(scene.lane.name)}


def test_a_walk_lists_the_ledger_of_its_lane_behind_all_others_though_the_clock_went_back(scene: Any) -> None:
    for n, base in enumerate(("b:chat:m", "c:chat:m", "a:chat:m", "b:chat:m")):
        scene.store.intake.walk(base, now_ms=scene.now - n, base=base, **LIMITS)
    assert [account.base for account in scene.store.ledger.accounts()] == ["b:chat:m", "c:chat:m", "a:chat:m"]


def test_a_cut_lists_its_ledger_behind_all_others_too(scene: Any) -> None:
    scene.run("ZADD", keys.LEDGERS, scene.now + 60_000, "z:chat:m")
    scene.batch("r1")
    assert [account.base for account in scene.store.ledger.accounts()] == ["z:chat:m", scene.lane.base]
