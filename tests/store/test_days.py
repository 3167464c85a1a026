"""The ledger of single days: the same sums as the ledger of all time, by day of UTC and tenant, kept for a while."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from batchline.lanes import parse_lane
from batchline.requests import Cost, Usage
from batchline.store import Store, days, keys
from batchline.store.days import Day

DAY_MS = 86_400_000
KEPT_S = 34_560_000
FIRST = date(1970, 1, 1)
DISTRIBUTIONS = ("latency", "queue", "callbacks", "size", "turnaround", "error_ratio")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def all_days(scene: Any) -> list[Day]:
    return list(scene.store.days.since(FIRST))


def settle_one(scene: Any, request_id: str, now_ms: int, **changes: Any) -> None:
    (entry,) = scene.add(request_id)
    assert scene.settle(scene.answer(entry, request_id, **changes), now_ms=now_ms) == [1]


def test_an_empty_store_has_no_days(store: Store) -> None:
    assert list(store.days.since(FIRST)) == []


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2027-03-01T00:00:00", date(2027, 3, 1)),
        ("2027-02-28T23:59:59.999", date(2027, 2, 28)),
        ("2027-03-01T12:00:00", date(2027, 3, 1)),
    ],
)
def test_what_is_settled_counts_for_the_day_of_utc_on_which_that_happens(scene: Any, at: str, day: date) -> None:
    settle_one(scene, "r1", ms(at))
    (found,) = all_days(scene)
    assert (found.day, found.base, found.tenant, found.get("settled:succeeded:batch")) == (day, scene.lane.base, "", 1)


def test_tenants_have_ledgers_of_their_own(scene: Any) -> None:
    for tenant in ("", "acme", "umbrella"):
        lane = parse_lane(scene.lane.base + (f"|tenant={tenant}" if tenant else ""))
        (entry,) = scene.add(f"r-{tenant}", lane=lane.name)
        answer = scene.answer(entry, f"r-{tenant}")
        assert scene.store.settling.settle(lane, [answer], batch=None, route="batch", now_ms=scene.now) == [1]
    assert [(each.base, each.tenant, each.get("settled:succeeded:batch")) for each in all_days(scene)] == [
        (scene.lane.base, "", 1),
        (scene.lane.base, "acme", 1),
        (scene.lane.base, "umbrella", 1),
    ]


def test_all_sums_of_a_settled_batch_are_on_its_day_and_no_distribution_is(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    usage = Usage(input_tokens=100, output_tokens=7, cache_read_tokens=30, cache_write_tokens=20)
    cost = Cost(list_nano=900, paid_nano=400, cache_saved_nano=11, cache_extra_nano=3)
    answers = [
        scene.answer(entry, request_id, usage=usage, cost=cost, deadline_ms=deadline, unpriced=request_id == "r2")
        for entry, request_id, deadline in zip(
            scene.carried(batch), ("r1", "r2"), (scene.now, scene.now - 1), strict=True
        )
    ]
    assert scene.settle(*answers, batch=batch) == [1, 1]
    assert scene.settled(scene.get())
    (day,) = all_days(scene)
    assert day.fields == {
        "settled:succeeded:batch": 2,
        "tokens:input_uncached": 100,
        "tokens:cache_read": 60,
        "tokens:cache_write": 40,
        "tokens:output": 14,
        "list_nano:batch": 1800,
        "paid_nano:batch": 800,
        "saved_nano:batch": 1000,
        "cache_saved_nano:batch": 22,
        "cache_extra_nano:batch": 6,
        "unpriced": 1,
        "deadlines_met:batch": 1,
        "deadlines_missed:batch": 1,
        "batches": 1,
        "wasted_nano:unmatched": 5,
    }


def test_the_days_add_up_to_the_ledger_of_all_time(scene: Any) -> None:
    for n in range(5):
        cost = Cost(list_nano=1000 + n, paid_nano=500)
        settle_one(scene, f"r{n}", scene.now + n * DAY_MS, cost=cost, status="failed" if n == 3 else "succeeded")
    summed: Counter[str] = Counter()
    for day in all_days(scene):
        summed.update(day.fields)
    whole = {name: n for name, n in scene.ledger().items() if not name.startswith(DISTRIBUTIONS)}
    assert len(all_days(scene)) == 5
    assert dict(summed) == whole


def test_since_leaves_earlier_days_out_and_goes_by_days(scene: Any) -> None:
    for n in (3, 1, 2):
        settle_one(scene, f"r{n}", ms(f"2027-03-0{n}T10:00:00"))
    assert [day.day.day for day in scene.store.days.since(date(2027, 3, 2))] == [2, 3]


def test_a_reply_that_is_sent_twice_counts_once(scene: Any) -> None:
    (entry,) = scene.add("r1")
    assert [scene.settle(scene.answer(entry)) for _ in range(2)] == [[1], [0]]
    assert [day.get("settled:succeeded:batch") for day in all_days(scene)] == [1]


def test_what_settles_nothing_makes_no_day(scene: Any) -> None:
    assert scene.settle(scene.answer("1-1")) == [0]
    assert all_days(scene) == []
    assert scene.run("EXISTS", keys.DAYS) == 0


def test_a_day_expires_when_it_was_kept_long_enough(scene: Any) -> None:
    settle_one(scene, "r1", scene.now)
    name = days.name(scene.lane, scene.now)
    left = [scene.run("TTL", key) for key in (keys.day(name), keys.DAYS)]
    assert all(KEPT_S - 60 <= seconds <= KEPT_S for seconds in left)


def test_a_day_that_is_over_is_forgotten_when_the_next_is_written(scene: Any) -> None:
    settle_one(scene, "old", scene.now - KEPT_S * 1000 - 2 * DAY_MS)
    settle_one(scene, "new", scene.now)
    today = days.name(scene.lane, scene.now)
    assert scene.run("ZRANGE", keys.DAYS, 0, -1) == [today.encode()]


def test_a_day_that_is_still_kept_stays(scene: Any) -> None:
    settle_one(scene, "old", scene.now - KEPT_S * 1000 + 2 * DAY_MS)
    settle_one(scene, "new", scene.now)
    assert len(all_days(scene)) == 2


def test_a_day_whose_hash_has_expired_is_left_out(scene: Any) -> None:
    settle_one(scene, "r1", scene.now)
    scene.run("DEL", keys.day(days.name(scene.lane, scene.now)))
    assert all_days(scene) == []


def test_more_days_than_a_page_are_all_read(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "PAGE", 2)
    for n in range(5):
        settle_one(scene, f"r{n}", scene.now + n * DAY_MS)
    assert len(all_days(scene)) == 5


def test_a_colon_in_a_model_stays_in_the_model(scene: Any) -> None:
    lane = parse_lane("openai:chat:ft:gpt-5-mini:acme|tenant=t")
    scene.store.connection.run("HSET", keys.day(name := days.name(lane, scene.now)), "unpriced", 1)
    scene.store.connection.run("ZADD", keys.DAYS, scene.now, name)
    (day,) = all_days(scene)
    assert msgspec.structs.asdict(day) == {
        "day": date(2027, 1, 15),
        "base": "openai:chat:ft:gpt-5-mini:acme",
        "tenant": "t",
        "fields": {"unpriced": 1},
    }


def test_a_name_that_somebody_else_put_among_the_days_is_left_out(scene: Any) -> None:
    settle_one(scene, "r1", scene.now)
    for n, foreign in enumerate(("junk", "junk|a|b", "2027-01-15", "2027-01-15|openai:chat:m")):
        scene.run("ZADD", keys.DAYS, scene.now + n, foreign)
        scene.run("HSET", keys.day(foreign), "unpriced", "many")
    assert [day.base for day in all_days(scene)] == [scene.lane.base]


def test_names_are_read_in_pages_and_each_once_though_others_come_between(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "NAMES", 2)
    monkeypatch.setattr(days, "PAGE", 1)
    for tenant in "bdfh":
        name = f"2027-01-15|openai:chat:m|{tenant}"
        scene.run("ZADD", keys.DAYS, 10 * DAY_MS, name)
        scene.run("HSET", keys.day(name), "unpriced", 1)
    found = []
    for day in scene.store.days.since(FIRST):
        found.append(day.tenant)
        if day.tenant == "b":
            scene.run("ZADD", keys.DAYS, 10 * DAY_MS, "2027-01-15|openai:chat:m|a")
    assert found == list("bdfh")


def test_pages_of_names_go_on_from_day_to_day_though_old_ones_are_forgotten_meanwhile(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "NAMES", 2)
    for n in range(7):
        settle_one(scene, f"r{n}", scene.now + n * DAY_MS)
    found = []
    for day in scene.store.days.since(FIRST):
        found.append(day.day)
        scene.run("ZREM", keys.DAYS, days.name(scene.lane, scene.now))
    assert len(found) == len(set(found)) == 7


def test_a_ledger_that_is_kept_for_an_hour_has_the_day_it_was_just_written_for(store: Store, scene: Any) -> None:
    store.settling._ledger_kept_s = 3600
    settle_one(scene, "r1", ms("2027-03-01T23:30:00"))
    assert [day.day for day in all_days(scene)] == [date(2027, 3, 1)]


@pytest.mark.parametrize("key", ["day", "days"])
def test_a_day_of_another_type_keeps_nothing_else_from_being_counted(scene: Any, key: str) -> None:
    batch = scene.ended("r1")
    foreign = keys.DAYS if key == "days" else keys.day(days.name(scene.lane, scene.now))
    scene.run("SET", foreign, "somebody else's")
    cost = Cost(list_nano=900, paid_nano=400)
    assert scene.settle(scene.answer(scene.carried(batch)[0], cost=cost), batch=batch) == [1]
    assert scene.get().succeeded == 1
    settled = scene.settled(scene.get())
    assert settled is not None
    assert settled.state == "settled"
    ledger = scene.ledger()
    assert (ledger["paid_nano:batch"], ledger["batches"]) == (400, 1)
    assert (scene.run("GET", foreign), scene.run("TTL", foreign)) == (b"somebody else's", -1)


# --- the share of a finished batch that got no answer ---


@pytest.mark.parametrize(
    ("ends", "bucket", "ppm"),
    [
        ({"succeeded": 10}, 0, 0),
        ({}, 0, 0),
        ({"succeeded": 99, "failed": 1}, 1, 10_000),
        ({"succeeded": 98, "retried": 2}, 2, 20_000),
        ({"succeeded": 2, "failed": 1}, 5, 333_333),
        ({"succeeded": 1, "failed": 1}, 5, 500_000),
        ({"failed": 4}, 6, 1_000_000),
        ({"retried": 4}, 6, 1_000_000),
        ({"failed": 1, "retried": 1, "succeeded": 1}, 6, 666_667),
    ],
)
def test_the_error_ratio_of_a_finished_batch_is_what_failed_or_goes_again(
    scene: Any, ends: dict[str, int], bucket: int, ppm: int
) -> None:
    batch = scene.ended("r1")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    fields = {"succeeded": 0, "failed": 0, "retried": 0} | ends
    scene.run("HSET", keys.batch("b1"), *(part for pair in fields.items() for part in pair))
    assert scene.settled(scene.get())
    found = {name: n for name, n in scene.ledger().items() if name.startswith("error_ratio")}
    assert found == {f"error_ratio:{bucket}": 1, "error_ratio_ppm": ppm}


def test_a_batch_that_never_reached_its_provider_has_no_error_ratio(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.settle(scene.answer(scene.carried(batch)[0], status="cancelled"), batch=batch)
    assert scene.settled(scene.get())
    assert not any(name.startswith(("error_ratio", "batches")) for name in scene.ledger())


# --- provider errors ---


def test_errors_are_counted_by_call_and_code(scene: Any) -> None:
    for n, (call, code) in enumerate((("poll", "500"), ("poll", "500"), ("poll", "429"), ("create", "timeout"))):
        scene.store.accounts.count_error("openai", call, code, token=f"t{n}")
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert facts.errors == {"poll:500": 2, "poll:429": 1, "create:timeout": 1}


def test_an_error_whose_count_was_sent_twice_counts_once(scene: Any) -> None:
    for _ in range(2):
        scene.store.accounts.count_error("openai", "poll", "500", token="same")
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert facts.errors == {"poll:500": 1}


# --- what an account takes of its room ---


def test_an_account_of_which_nothing_is_known_stands_at_zero(scene: Any) -> None:
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert {name: n for name, n in msgspec.structs.asdict(facts).items() if n} == {"name": "openai"}


def test_an_open_batch_takes_room_until_it_has_ended(scene: Any) -> None:
    batch = scene.submitted("r1", "r2")
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert (facts.batches, facts.requests, facts.tokens, facts.creates) == (1, 3, 30, 1)
    scene.end(batch)
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert (facts.batches, facts.requests, facts.tokens) == (0, 0, 0)


def test_creates_are_those_of_the_last_hour(scene: Any) -> None:
    scene.submitted("r1")
    (soon,) = scene.store.accounts.facts(["openai"], now_ms=scene.now + 3_599_000)
    (late,) = scene.store.accounts.facts(["openai"], now_ms=scene.now + 3_601_000)
    assert (soon.creates, late.creates) == (1, 0)


def test_files_are_told_by_account(scene: Any) -> None:
    for file in ("openai|file-1", "openai|file-2", "second|file-1"):
        scene.run("ZADD", keys.FILES, scene.now, file)
    scene.store.files.failed("openai|file-2", now_ms=scene.now)
    openai, second = scene.store.accounts.facts(["openai", "second"], now_ms=scene.now)
    assert [(each.files, each.files_failed) for each in (openai, second)] == [(2, 1), (1, 0)]


def test_many_accounts_are_read_in_one_round_trip_each_with_its_own(scene: Any) -> None:
    scene.store.accounts.count_error("second", "poll", "500", token="t")
    scene.outage()
    first, second, third = scene.store.accounts.facts(["openai", "second", "third"], now_ms=scene.now)
    assert first.down_until > scene.now
    assert (first.errors, second.errors, third.errors) == ({}, {"poll:500": 1}, {})
