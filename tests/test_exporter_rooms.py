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
    opened(store, "openai", b1="7:5:1:all|openai:embeddings:text-embedding-3-small")
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
        ({"provider": "openai", "preset": "groq"}, 30),
        ({"provider": "openai", "preset": "azure"}, 30),
        ({"provider": "openai", "preset": "vllm"}, 30),
        ({"provider": "openai", "preset": "groq", "files_expire": DAY_S}, 30),
    ],
    ids=["openai", "anthropic", "gemini", "groq", "azure", "vllm", "groq takes no wish"],
)
def test_results_vanish_when_their_provider_says(fields: dict[str, Any], days: int) -> None:
    batch = record("main", state="ended", ended_ms=NOW + DAY)
    gone_ms = figures.results_gone_ms(batch, Account.model_validate(fields), now_ms=NOW + 20 * DAY)
    assert gone_ms == NOW + days * DAY


@pytest.mark.parametrize(
    ("fields", "days"),
    [({"provider": "openai"}, 2), ({"provider": "openai", "preset": "azure"}, 14)],
    ids=["openai", "azure takes 14 days at the least"],
)
def test_results_that_the_account_lets_expire_vanish_so_long_after_the_end(fields: dict[str, Any], days: int) -> None:
    account = Account.model_validate(fields | {"files_expire": 2 * DAY_S})
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


def put(store: Store, lane: str, **fields: Any) -> None:
    account = lane.partition(":")[0]
    given: dict[str, Any] = {
        "id": "b1",
        "lane": lane,
        "account": account,
        "state": "submitted",
        "trigger": "age",
        "after": "0-0",
    }
    given |= {"last": "0-0", "submitted_ms": NOW, "expires_ms": NOW + 2 * DAY} | fields
    store.connection.run("HSET", keys.batch("b1"), *(part for pair in given.items() for part in pair))
    store.connection.run("ZADD", keys.AGENDA_POLL, NOW, "b1")


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
