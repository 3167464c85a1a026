"""``report``: its options, its four forms, and what it says when there is nothing to say."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tests.cli.kit import CHAT, MESSAGES, Command, chat_line, written

from batchline.budgets import Pool
from batchline.cli.report import first_day
from batchline.errors import UsageError
from batchline.lanes import parse_lane
from batchline.store import Store, keys

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
FIELDS = {
    "settled:succeeded:batch": 1_500,
    "settled:failed:batch": 500,
    "tokens:input_uncached": 1_000,
    "tokens:output": 200,
    "list_nano:batch": 2_000_000_001,
    "paid_nano:batch": 1_000_000_000,
    "saved_nano:batch": 1_000_000_001,
    "wasted_nano:unmatched": 1,
    "batches": 3,
}


def today() -> date:
    return datetime.now(UTC).date()


def settled(
    store: Store, *, days_ago: int = 0, base: str = CHAT, tenant: str = "", fields: Mapping[str, int] = FIELDS
) -> None:
    """Put a ledger of a day into the store, as the scripts keep it."""
    day = today() - timedelta(days=days_ago)
    name = f"{day}|{base}|{tenant}"
    at_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    flat = [part for each in fields.items() for part in each]
    store.connection.run("HSET", keys.day(name), *flat)
    store.connection.run("ZADD", keys.DAYS, at_ms, name)


def total(batchline: Command, *arguments: str) -> int:
    """Return how many requests a report tells."""
    return int(json.loads(batchline("report", "--format", "json", *arguments).out)["total"]["requests"])


# --- since when ---


@pytest.mark.parametrize(
    ("since", "day"),
    [
        ("30d", date(2026, 10, 23)),
        ("1d", date(2026, 11, 21)),
        ("2h", date(2026, 11, 22)),
        ("6h", date(2026, 11, 21)),
        ("0d", date(2026, 11, 22)),
        ("90s", date(2026, 11, 22)),
        ("2026-11-01", date(2026, 11, 1)),
        ("2026-11-22", date(2026, 11, 22)),
        ("all", None),
    ],
)
def test_a_report_begins_with_a_whole_day_of_utc(since: str, day: date | None) -> None:
    assert first_day(since, NOW) == day


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ("yesterday", "is no time"),
        ("", "is no time"),
        ("30", "is no time"),
        ("-1d", "is no time"),
        ("2026-13-01", "is no time"),
        ("99999999999d", "is no time"),
        ("9" * 400 + "d", "is no time"),
        ("2026-11-23", "a day to come: today is 2026-11-22"),
    ],
)
def test_what_is_no_time_is_refused(since: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        first_day(since, NOW)


def test_by_default_it_is_the_last_30_days(batchline: Command, store: Store) -> None:
    for days_ago in (0, 30, 31):
        settled(store, days_ago=days_ago)
    assert (total(batchline), total(batchline, "--since", "all")) == (4_000, 6_000)
    assert total(batchline, "--since", str(today() - timedelta(days=31))) == 6_000


# --- the forms ---


def test_the_tables_have_a_row_for_each_model_and_the_total(batchline: Command, store: Store) -> None:
    settled(store)
    settled(store, base=MESSAGES, tenant="acme")
    done = batchline("report")
    assert done.code == 0
    assert done.out.count("gpt-5-mini ") == done.out.count("claude-haiku-4-5 ") == 2
    requests, money = (line for line in done.out.splitlines() if line.startswith("total "))
    assert requests.split()[1:6] == ["4,000", "3,000", "1,000", "0", "25%"]
    assert money.split() == ["total", "$4.000000002", "$2", "$2.000000002", "50%", "$0.000000002", "$2", "$0", "0"]
    assert done.out.endswith(f" to {today()}, whole UTC days\n")


def test_figures_are_never_cut_however_narrow_it_is(
    batchline: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    kinds = (
        "list_nano:batch",
        "paid_nano:batch",
        "saved_nano:batch",
        "wasted_nano:unmatched",
        "cache_saved_nano:batch",
    )
    settled(
        store,
        base="openai:chat:" + "long-model-name-" * 9,
        fields=dict.fromkeys(kinds, 123_456_789_123_456_789_123_456),
    )
    out = batchline("report").out
    assert out.count(" $123,456,789,123,456.789123456 ") == 2 * len(kinds)
    assert "…" not in out


def test_rows_can_stand_for_tenants(batchline: Command, store: Store) -> None:
    settled(store)
    settled(store, tenant="acme")
    out = batchline("report", "--by", "tenant").out
    assert "\nacme " in out
    assert "\n(no tenant) " in out


def test_deadlines_are_shown_where_there_are_any(batchline: Command, store: Store) -> None:
    settled(store)
    assert "deadlines" not in batchline("report").out
    settled(store, fields={"deadlines_missed:batch": 7})
    assert "deadlines met" in batchline("report").out


EMOJI = "ft:gpt-5-mini:fire:dog:abc"


def test_no_name_becomes_a_picture(batchline: Command, store: Store) -> None:
    lane = f"openai:chat:{EMOJI}"
    settled(store, base=lane, tenant=":fire:")
    assert batchline("report").out.count(f"{EMOJI} ") == 2
    assert batchline("report", "--by", "tenant").out.count("\n:fire: ") == 2
    line = chat_line("a", model=EMOJI, account="openai", endpoint="chat")
    assert batchline("enqueue", written(Path("in.jsonl"), line)).code == 0
    assert f"{lane} " in batchline("status").out
    seen = store.intake.walk(
        lane,
        max_requests=100,
        max_bytes=10**6,
        max_tokens=None,
        row_bytes=150,
        bytes_per_token=4.0,
        now_ms=int(datetime.now(UTC).timestamp() * 1000),
    )
    store.batches.cut(
        parse_lane(lane), seen, "age", batch_id="b:fire:", now_ms=1_000, max_open=9, max_creates=9, pool=Pool(name="m")
    )
    assert f"b:fire:  cut    {lane} " in batchline("batches").out


def test_json_is_one_object(batchline: Command, store: Store) -> None:
    settled(store)
    document = json.loads(batchline("report", "--format", "json", "--by", "day").out)
    assert [row["day"] for row in document["rows"]] == [str(today())]
    assert (document["total"]["list_usd"], document["total"]["error_ratio"]) == ("2.000000001", 0.25)


def test_csv_has_plain_numbers(batchline: Command, store: Store) -> None:
    settled(store)
    row, whole = csv.DictReader(batchline("report", "--format", "csv", "--by", "account").out.splitlines())
    assert (row["account"], row["requests"], row["list_usd"]) == ("openai", "2000", "2.000000001")
    assert (whole["kind"], whole["account"], whole["requests"]) == ("total", "", "2000")


def test_a_report_is_written_into_a_file(batchline: Command, store: Store) -> None:
    settled(store)
    done = batchline("report", "--format", "html", "-o", "page.html")
    assert (done.code, done.out, done.err) == (0, "", "batchline: wrote page.html\n")
    text = Path("page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert '<data value="1.000000001">$1.000</data>' in text


# --- nothing, and what is wrong ---


@pytest.mark.parametrize("since", ["30d", "all"])
def test_when_nothing_was_settled_it_says_so(batchline: Command, since: str) -> None:
    done = batchline("report", "--since", since)
    assert (done.code, "nothing was settled" in done.out) == (0, True)
    page = batchline("report", "--since", since, "--format", "html")
    assert (page.code, "Nothing was settled in this time." in page.out) == (0, True)
    empty = json.loads(batchline("report", "--since", since, "--format", "json").out)
    assert (empty["rows"], empty["total"]["requests"], empty["total"]["paid_usd"]) == ([], 0, "0")


@pytest.mark.parametrize(
    "arguments", [("--since", "soon"), ("--by", "lane"), ("--format", "pdf"), ("-o", "no/such/folder"), ("more",)]
)
def test_bad_usage_is_exit_code_2(batchline: Command, arguments: tuple[str, ...]) -> None:
    done = batchline("report", *arguments)
    assert (done.code, done.out) == (2, "")


def test_an_unreachable_store_is_exit_code_3(command: Command) -> None:
    done = command("report")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
