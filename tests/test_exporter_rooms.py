"""Metrics of budgets and of what expires at a provider: names that are bounded, and times that are right for each account."""

from __future__ import annotations

from typing import Any

import pytest
from tests.test_exporter import LANE, NOW, page, samples

from batchline import figures
from batchline.settings import Account, Settings
from batchline.store import Store, keys
from batchline.store.records import Batch

DAY_S = 86_400
DAY = DAY_S * 1000
URL = "http://service.example/v1"
USED, LIMIT = "batchline_budget_used", "batchline_budget_limit"


def opened(store: Store, account: str, **batches: str) -> None:
    store.connection.run("HSET", keys.account_open(account), *(part for pair in batches.items() for part in pair))


def settings(max_models: int = 100, **accounts: dict[str, Any]) -> Settings:
    plain = Settings()
    more = {name: Account.model_validate(fields) for name, fields in accounts.items()}
    metrics = plain.metrics.model_copy(update={"max_models": max_models})
    return plain.model_copy(update={"accounts": {**plain.accounts, **more}, "metrics": metrics})


def listed(store: Store, *bases: str) -> None:
    for n, base in enumerate(bases):
        store.connection.run("HSET", keys.ledger(base), "unpriced", 1)
        store.connection.run("ZADD", keys.LEDGERS, NOW + n, base)


# --- budgets by pool ---


def test_a_pool_has_its_use_and_the_limit_of_its_provider(store: Store) -> None:
    lane = "gemini:generate:gemini-2.5-flash"
    listed(store, lane)
    opened(store, "gemini", b1=f"3:400:1:gemini-2.5-flash|{lane}", b2=f"2:100:0:gemini-2.5-flash|{lane}")
    found = samples(page(store))
    assert found[USED, "gemini", "gemini-2.5-flash", "tokens"] == 500
    assert found[USED, "gemini", "gemini-2.5-flash", "requests"] == 5
    assert found[LIMIT, "gemini", "gemini-2.5-flash", "tokens"] == 3_000_000
    assert (LIMIT, "gemini", "gemini-2.5-flash", "requests") not in found
    assert found[USED, "gemini", "all", "tokens"] == 500


def test_a_limit_that_is_believed_for_a_while_is_the_limit_until_then(store: Store) -> None:
    lane = "gemini:generate:gemini-2.5-flash"
    listed(store, lane)
    store.connection.run("HSET", keys.account_believed("gemini"), "told|gemini-2.5-flash", f"1000:0:{NOW + 1}")
    assert samples(page(store))[LIMIT, "gemini", "gemini-2.5-flash", "tokens"] == 1000
    store.connection.run("HSET", keys.account_believed("gemini"), "told|gemini-2.5-flash", f"1000:0:{NOW}")
    assert samples(page(store))[LIMIT, "gemini", "gemini-2.5-flash", "tokens"] == 3_000_000


def test_models_beyond_the_limit_share_one_budget_without_a_limit(store: Store) -> None:
    lanes = [f"gemini:generate:gemini-{n}" for n in range(4)]
    listed(store, *lanes)
    opened(store, "gemini", **{f"b{n}": f"1:{10**n}:1:gemini-{n}|{lane}" for n, lane in enumerate(lanes)})
    found = samples(page(store, settings(max_models=2)))
    tokens = {name[2]: value for name, value in found.items() if name[0] == USED and name[1::2] == ("gemini", "tokens")}
    assert tokens == {"gemini-0": 1, "gemini-1": 10, "other": 1100, "all": 1111}
    assert (LIMIT, "gemini", "other", "tokens") not in found


def test_a_model_that_only_another_account_has_a_name_for_is_named_here_too(store: Store) -> None:
    listed(store, "gemini:generate:m")
    opened(store, "openai", b1="1:5:1:m|openai:chat:m")
    assert samples(page(store))[USED, "openai", "m", "tokens"] == 5


def test_a_pattern_that_is_shared_is_no_model_and_never_other(store: Store) -> None:
    opened(store, "openai", b1="7:5:1:text-embedding-*|openai:embeddings:text-embedding-3-small")
    found = samples(page(store, settings(max_models=1)))
    assert found[USED, "openai", "text-embedding-*", "requests"] == 7
    assert found[LIMIT, "openai", "text-embedding-*", "requests"] == 1_000_000


# --- when results vanish, and when a batch expires with all that it did ---


def record(account: str, **fields: Any) -> Batch:
    given: dict[str, Any] = {"id": "b1", "lane": LANE, "account": account, "state": "submitted", "trigger": "age"}
    return Batch(**(given | {"after": "0-0", "last": "0-0", "submitted_ms": NOW} | fields))


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ({"provider": "openai"}, 30),
        ({"provider": "anthropic"}, 29),
        ({"provider": "gemini"}, 42),
        ({"provider": "openai", "preset": "groq", "base_url": URL}, 30),
        ({"provider": "openai", "preset": "azure", "base_url": URL}, 30),
        ({"provider": "openai", "preset": "vllm", "base_url": URL}, 30),
    ],
    ids=["openai", "anthropic", "gemini", "groq", "azure", "vllm"],
)
def test_results_vanish_when_their_provider_says(fields: dict[str, Any], days: int) -> None:
    batch = record("main", state="ended", ended_ms=NOW + DAY)
    gone_ms = figures.results_gone_ms(batch, Account.model_validate(fields), now_ms=NOW + 20 * DAY)
    assert gone_ms == NOW + days * DAY


@pytest.mark.parametrize(
    ("fields", "days"),
    [({"provider": "openai"}, 2), ({"provider": "openai", "preset": "azure", "base_url": URL}, 14)],
    ids=["openai", "azure"],
)
def test_results_that_the_account_lets_expire_vanish_so_long_after_the_end(fields: dict[str, Any], days: int) -> None:
    account = Account.model_validate(fields | {"files_expire": days * DAY_S})
    batch = record("main", state="ended", ended_ms=NOW + DAY)
    late_ms = NOW + DAY + days * DAY // 4
    assert figures.results_gone_ms(batch, account, now_ms=late_ms) == NOW + DAY + days * DAY
    assert figures.results_gone_ms(batch, account, now_ms=late_ms - 1) == NOW + 30 * DAY


def test_a_batch_that_runs_has_no_results_that_its_account_could_let_expire() -> None:
    account = Account.model_validate({"provider": "openai", "files_expire": 3600})
    assert figures.results_gone_ms(record("main"), account, now_ms=NOW + DAY) == NOW + 30 * DAY


def test_what_was_not_submitted_has_no_results() -> None:
    account = Account(provider="openai")
    assert figures.results_gone_ms(record("main", state="cut", submitted_ms=0), account, now_ms=NOW) == 0


def put(store: Store, lane: str, name: str = "b1", /, **fields: Any) -> None:
    account = lane.partition(":")[0]
    given: dict[str, Any] = {
        "id": name,
        "lane": lane,
        "account": account,
        "state": "submitted",
        "trigger": "age",
        "after": "0-0",
    }
    given |= {"last": "0-0", "submitted_ms": NOW, "expires_ms": NOW + 2 * DAY} | fields
    store.connection.run("HSET", keys.batch(name), *(part for pair in given.items() for part in pair))
    store.connection.run("ZADD", keys.AGENDA_POLL, NOW, name)


EXPIRES = "batchline_batches_expire_timestamp_seconds"


@pytest.mark.parametrize(
    ("lane", "state", "expires_s"),
    [
        ("gemini:generate:m", "submitted", NOW / 1000 + 2 * DAY_S),
        ("gemini:generate:m", "ended", 0),
        ("openai:chat:m", "submitted", 0),
        ("anthropic:messages:m", "submitted", 0),
    ],
    ids=["gemini", "gemini that has ended", "openai keeps what was done", "anthropic keeps what was done"],
)
def test_an_expiry_is_told_where_it_loses_all_that_was_done(
    store: Store, lane: str, state: str, expires_s: float
) -> None:
    put(store, lane, state=state)
    account, endpoint, model = lane.split(":")
    assert samples(page(store))[EXPIRES, account, endpoint, model] == expires_s


# --- how long a batch is past the end of its window ---

OVERDUE = "batchline_batches_overdue_seconds"
HOUR = 3_600_000
WINDOWS_H: list[tuple[dict[str, Any], int]] = [
    ({"provider": "openai"}, 24),
    ({"provider": "anthropic"}, 24),
    ({"provider": "gemini"}, 48),
    ({"provider": "openai", "base_url": "https://batches.example/v1", "completion_window": "36h"}, 36),
    ({"provider": "openai", "preset": "groq", "base_url": URL}, 24),
    ({"provider": "openai", "preset": "groq", "base_url": URL, "completion_window": "7d"}, 168),
    ({"provider": "openai", "preset": "vllm", "base_url": URL}, 24),
    ({"provider": "openai", "preset": "vllm", "base_url": URL, "completion_window": "2h"}, 2),
    ({"provider": "openai", "preset": "azure", "base_url": URL}, 168),
]
each_window = pytest.mark.parametrize(
    ("fields", "hours"),
    WINDOWS_H,
    ids=[f"{each.get('preset', each['provider'])} {hours}h" for each, hours in WINDOWS_H],
)


@each_window
def test_the_window_of_the_account_counts_where_the_provider_told_no_expiry(fields: dict[str, Any], hours: int) -> None:
    batch = record("main", cut_ms=NOW - HOUR)
    assert figures.window_ends_ms(batch, Account.model_validate(fields)) == NOW + hours * HOUR


@each_window
def test_the_window_counts_from_the_cut_before_the_submission(fields: dict[str, Any], hours: int) -> None:
    batch = record("main", state="cut", cut_ms=NOW - HOUR, submitted_ms=0)
    assert figures.window_ends_ms(batch, Account.model_validate(fields)) == NOW + (hours - 1) * HOUR


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({"provider": "openai"}, 5),
        ({"provider": "anthropic"}, 5),
        ({"provider": "gemini"}, 5),
        ({"provider": "openai", "preset": "groq", "base_url": URL, "completion_window": "7d"}, 5),
        ({"provider": "openai", "preset": "vllm", "base_url": URL}, 5),
        ({"provider": "openai", "preset": "azure", "base_url": URL}, 168),
    ],
    ids=["openai", "anthropic", "gemini", "groq", "vllm", "azure does not end it then"],
)
def test_the_expiry_that_the_provider_told_counts_where_it_ends_the_batch(fields: dict[str, Any], hours: int) -> None:
    batch = record("main", expires_ms=NOW + 5 * HOUR)
    assert figures.window_ends_ms(batch, Account.model_validate(fields)) == NOW + hours * HOUR


@pytest.mark.parametrize(("told_h", "hours"), [(0, 24), (168, 168)], ids=["nothing told", "told"])
def test_a_batch_of_an_account_that_is_gone_has_what_was_told_or_a_day(told_h: int, hours: int) -> None:
    batch = record("gone", expires_ms=NOW + told_h * HOUR if told_h else 0)
    assert figures.window_ends_ms(batch, None) == NOW + hours * HOUR


def test_a_batch_without_any_time_has_no_window() -> None:
    assert figures.window_ends_ms(record("main", submitted_ms=0), Account(provider="openai")) == 0


@pytest.mark.parametrize("state", ["submitted", "ended"])
@pytest.mark.parametrize(("ago_ms", "overdue_s"), [(-1, 0), (0, 0), (1500, 1.5)], ids=["not yet", "now", "past it"])
def test_a_batch_is_overdue_from_the_end_of_its_window_until_it_is_settled(
    store: Store, state: str, ago_ms: int, overdue_s: float
) -> None:
    put(store, "openai:chat:m", state=state, submitted_ms=NOW - DAY, expires_ms=NOW - ago_ms)
    assert samples(page(store))[OVERDUE, "openai", "chat", "m"] == overdue_s


def test_of_the_batches_of_a_lane_the_one_that_is_overdue_longest_is_told(store: Store) -> None:
    ends_s = {"b1": 7200, "b2": 60, "b3": -600}
    for name, ago_s in ends_s.items():
        put(store, "openai:chat:m", name, expires_ms=NOW - ago_s * 1000)
    put(store, "openai:chat:other", "b4", expires_ms=NOW + HOUR)
    found = samples(page(store))
    assert found[OVERDUE, "openai", "chat", "m"] == 7200
    assert found[OVERDUE, "openai", "chat", "other"] == 0


def test_models_without_a_name_of_their_own_share_the_longest_time(store: Store) -> None:
    for n in range(3):
        put(store, f"openai:chat:m{n}", f"b{n}", expires_ms=NOW - n * HOUR)
    found = samples(page(store, settings(max_models=1)))
    assert found[OVERDUE, "openai", "chat", "other"] == 2 * 3600


def test_a_batch_of_three_days_is_not_overdue_in_a_window_of_seven(store: Store) -> None:
    put(store, "groq:chat:m", submitted_ms=NOW - 3 * DAY, expires_ms=NOW + 4 * DAY, cut_ms=NOW - 3 * DAY)
    found = samples(
        page(store, settings(groq={"provider": "openai", "preset": "groq", "base_url": URL, "completion_window": "7d"}))
    )
    assert found[OVERDUE, "groq", "chat", "m"] == 0
    assert found["batchline_oldest_batch_seconds", "groq", "chat", "m"] == 3 * DAY_S
