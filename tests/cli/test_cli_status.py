"""``status``, ``batches``, ``batch``, ``health``, and how processes are started."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.cli.kit import CHAT, Command, chat_line, written

from batchline.budgets import Pool
from batchline.cli.health import silent
from batchline.cli.processes import roles
from batchline.errors import UsageError
from batchline.lanes import parse_lane
from batchline.store import Store, keys


def one_batch(store: Store, batchline: Command) -> None:
    batchline("enqueue", written(Path("in.jsonl"), chat_line("a"), chat_line("b")))
    seen = store.intake.walk(
        CHAT,
        max_requests=100,
        max_bytes=10**6,
        max_tokens=None,
        row_bytes=150,
        bytes_per_token=4.0,
        now_ms=time.time_ns() // 1_000_000,
    )
    store.batches.cut(
        parse_lane(CHAT), seen, "age", batch_id="b1", now_ms=1_000, max_open=9, max_creates=9, pool=Pool(name="m")
    )


def test_status_shows_what_is_owed(batchline: Command, store: Store) -> None:
    one_batch(store, batchline)
    document = json.loads(batchline("status", "--json").out)
    assert [(lane["lane"], lane["pending"], lane["batches"]) for lane in document["lanes"]] == [(CHAT, 2, {"cut": 1})]
    assert CHAT in batchline("status").out


def test_status_shows_an_account_in_trouble(batchline: Command, store: Store) -> None:
    store.accounts.note_outage(
        "openai", now_ms=1_000, min_s=5, max_s=9, asked_s=None, call="create", code="401", message="the key is wrong"
    )
    assert json.loads(batchline("status", "--json").out)["accounts"][0]["message"] == "the key is wrong"
    assert "account openai is in trouble" in batchline("status").out


def settled(store: Store, **counted: int) -> None:
    store.connection.run("HSET", keys.ledger(CHAT), *(part for pair in counted.items() for part in pair))
    store.connection.run("ZADD", keys.LEDGERS, 1, CHAT)


def test_status_tells_what_is_unpriced_and_what_was_waste(batchline: Command, store: Store) -> None:
    waste = {"wasted_nano:duplicate": 5_000_000_000, "wasted_nano:unmatched": 250_000_000}
    settled(store, **{"settled:succeeded:batch": 100_000, "unpriced": 100_000}, **waste)
    (lane,) = json.loads(batchline("status", "--json").out)["lanes"]
    assert (lane["paid_usd"], lane["unpriced"], lane["wasted_usd"]) == ("0", 100_000, "5.25")
    head, row = batchline("status").out.splitlines()[:2]
    assert (head.split()[-2:], row.split()[-2:]) == (["waste", "unpriced"], ["$5.25", "100,000"])


def test_status_has_no_columns_for_waste_and_unpriced_where_there_is_none(batchline: Command, store: Store) -> None:
    settled(store, **{"settled:succeeded:batch": 1})
    (lane,) = json.loads(batchline("status", "--json").out)["lanes"]
    assert (lane["unpriced"], lane["wasted_usd"]) == (0, "0")
    assert batchline("status").out.splitlines()[0].split()[-2:] == ["paid", "saved"]


def test_status_of_an_empty_store_says_so(batchline: Command) -> None:
    assert "nothing was enqueued yet" in batchline("status").out


def test_batches_are_listed_and_one_is_shown(batchline: Command, store: Store) -> None:
    one_batch(store, batchline)
    assert [(each["id"], each["state"]) for each in json.loads(batchline("batches", "--json").out)] == [("b1", "cut")]
    assert "b1" in batchline("batches").out
    assert json.loads(batchline("batch", "b1", "--json").out)["requests"] == 2
    assert "trigger         age" in batchline("batch", "b1").out


def test_a_batch_that_its_provider_does_not_know_is_shown_with_its_time(batchline: Command, store: Store) -> None:
    one_batch(store, batchline)
    store.connection.run("HSET", keys.batch("b1"), "unknown_since", 1_000, "provider_id", "batch_9")
    (unknown,) = json.loads(batchline("status", "--json").out)["batches_unknown"]
    assert unknown == {
        "id": "b1",
        "account": "openai",
        "lane": CHAT,
        "provider_id": "batch_9",
        "unknown_since": 1_000,
    }
    assert "batch b1 (batch_9) is unknown to its provider since 1970-01-01 00:00:01Z" in batchline("status").out
    assert "cut, unknown" in batchline("batches").out
    assert "unknown_since   1970-01-01 00:00:01Z" in batchline("batch", "b1").out


def test_status_says_nothing_of_batches_that_are_known(batchline: Command, store: Store) -> None:
    one_batch(store, batchline)
    assert json.loads(batchline("status", "--json").out)["batches_unknown"] == []
    assert "unknown" not in batchline("status").out


def test_an_unknown_batch_is_exit_code_2(batchline: Command) -> None:
    done = batchline("batch", "nothing")
    assert (done.code, "no batch nothing" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["status", "batches", "health"])
def test_an_unreachable_store_is_exit_code_3(command: Command, name: str) -> None:
    done = command(name)
    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1


def test_health_is_0_while_both_roles_tick(batchline: Command, store: Store) -> None:
    for role in ("accumulate", "poll"):
        store.note_tick(role, time.time_ns() // 1_000_000)
    assert batchline("health").code == 0


def test_health_is_3_when_nobody_ticks(batchline: Command) -> None:
    done = batchline("health")
    assert (done.code, len(done.err.splitlines())) == (3, 2)


def test_an_old_tick_is_told_with_its_age() -> None:
    ticks = {"accumulate": 100_000, "poll": 70_000}
    assert silent(ticks, now_ms=101_000, max_age_s=30) == ["the last tick for poll was 31 s ago: is a worker running?"]


def test_a_worker_takes_the_roles_it_is_told() -> None:
    assert (roles(None), roles("poll"), roles(" poll ,accumulate,poll")) == (
        ["accumulate", "poll"],
        ["poll"],
        ["poll", "accumulate"],
    )


@pytest.mark.parametrize(("only", "says"), [("realtime", "no realtime worker yet"), ("pol", "there is no role 'pol'")])
def test_a_role_that_is_not_there_is_refused(only: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        roles(only)


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("run",), ("run", "in.jsonl"), ("worker", "--only", "notify"), ("worker", "--only", "x")],
)
def test_bad_usage_is_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    assert command(*arguments).code == 2


def test_a_wrong_setting_is_exit_code_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_REDIS_ULR", "x")
    done = command("status")
    assert done.code == 2
    assert "BATCHLINE_REDIS_URL" in done.err


def test_batches_that_find_no_room_again_and_again_are_told_of_by_lane(batchline: Command, store: Store) -> None:
    one_batch(store, batchline)
    assert json.loads(batchline("status", "--json").out)["batches_without_room"] == []
    store.connection.run("HSET", keys.batch("b1"), "busy", 3, "reason", "RESOURCE_EXHAUSTED", "next_ms", 1_000)
    (told,) = json.loads(batchline("status", "--json").out)["batches_without_room"]
    assert told == {"lane": CHAT, "batches": 1, "times": 3, "reason": "RESOURCE_EXHAUSTED", "next_ms": 1_000}
    assert "1 batches found no room at the provider, up to 3 times (RESOURCE_EXHAUSTED)" in batchline("status").out
