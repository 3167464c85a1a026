"""Labels of metrics: named by the configuration, bounded in number, and never given to somebody else later."""

from __future__ import annotations

import pytest

from batchline import labels
from batchline.figures import Depth, Figures
from batchline.labels import OTHER, UNKNOWN
from batchline.metrics import sum_up
from batchline.settings import Settings
from batchline.store.accounts import AccountFacts
from batchline.store.ledger import Account
from batchline.store.server import ServerFacts

MINI, NANO, HAIKU = "openai:chat:gpt-5-mini", "openai:chat:gpt-5-nano", "anthropic:messages:claude-haiku-4-5"


def settings(max_models: int = 100) -> Settings:
    plain = Settings()
    return plain.model_copy(update={"metrics": plain.metrics.model_copy(update={"max_models": max_models})})


def read(ledgers: dict[str, dict[str, int]], depths: dict[str, Depth] | None = None) -> Figures:
    """Return figures with these ledgers, first used first, and depths."""
    server = ServerFacts(
        product="Valkey",
        version="9",
        role="master",
        used=1,
        limit=0,
        policy="noeviction",
        append_only=True,
        fsync="always",
        last_write_ok=True,
        last_rewrite_ok=True,
        replicas=0,
    )
    return Figures(
        depths=depths or {},
        ledger={base: Account(base=base, fields=fields) for base, fields in ledgers.items()},
        accounts=(AccountFacts(name="openai"),),
        ticks={},
        server=server,
        batches=(),
        lanes=0,
        lanes_aside=0,
        undelivered=0,
    )


@pytest.mark.parametrize(
    "base",
    [
        "nobody:chat:gpt-5-mini",
        "openai:messages:gpt-5-mini",
        "anthropic:chat:claude-haiku-4-5",
        "unknown:unknown:unknown",
        "no lane at all",
        "openai",
        "",
        "{x}",
        "openai:chat:\udcff",
    ],
)
def test_what_is_not_configured_is_unknown(base: str) -> None:
    assert labels.assign(settings(), [base]) == {base: UNKNOWN}


def test_a_configured_lane_has_its_own_names() -> None:
    assert labels.assign(settings(), ["openai:chat:ft:gpt-5-mini:acme"]) == {
        "openai:chat:ft:gpt-5-mini:acme": ("openai", "chat", "ft:gpt-5-mini:acme")
    }


def test_models_beyond_the_limit_are_other_under_their_own_account_and_endpoint() -> None:
    assert labels.assign(settings(1), [MINI, NANO, HAIKU]) == {
        MINI: ("openai", "chat", "gpt-5-mini"),
        NANO: ("openai", "chat", OTHER),
        HAIKU: ("anthropic", "messages", OTHER),
    }


def test_a_model_of_two_endpoints_counts_once() -> None:
    both = ["openai:chat:gpt-5-mini", "openai:responses:gpt-5-mini", NANO]
    assert [each[2] for each in labels.assign(settings(2), both).values()] == ["gpt-5-mini", "gpt-5-mini", "gpt-5-nano"]


def test_what_is_unknown_takes_no_place() -> None:
    assert labels.assign(settings(1), ["nobody:chat:x", MINI])[MINI] == ("openai", "chat", "gpt-5-mini")


def test_the_first_models_keep_their_names_whatever_comes_later() -> None:
    bases = [f"openai:chat:model-{n}" for n in range(10)]
    for count in range(1, 11):
        assigned = labels.assign(settings(4), bases[:count])
        assert [assigned[base][2] for base in bases[:count]] == [f"model-{n}" if n < 4 else OTHER for n in range(count)]


def test_what_waits_to_be_listed_has_its_name_while_there_is_room_for_all() -> None:
    bases = [MINI, NANO]
    assert [each[2] for each in labels.assign(settings(2), [], bases).values()] == ["gpt-5-mini", "gpt-5-nano"]
    assert [each[2] for each in labels.assign(settings(2), [MINI], [NANO]).values()] == ["gpt-5-mini", "gpt-5-nano"]


def test_at_the_limit_only_what_is_listed_has_a_name() -> None:
    found = labels.assign(settings(2), [MINI], [NANO, HAIKU])
    assert [each[2] for each in found.values()] == ["gpt-5-mini", OTHER, OTHER]


def test_what_waits_under_a_model_that_has_its_name_has_it_too() -> None:
    responses = "openai:responses:gpt-5-mini"
    assert labels.assign(settings(1), [MINI], [responses, NANO])[responses] == ("openai", "responses", "gpt-5-mini")


def test_counters_of_other_add_up() -> None:
    ledgers = {f"openai:chat:model-{n}": {"unpriced": 10**n} for n in range(4)}
    sheet = sum_up(read(ledgers), settings(2))
    assert {label[2]: series.ledger["unpriced"] for label, series in sheet.items()} == {
        "model-0": 1,
        "model-1": 10,
        OTHER: 1100,
    }


def test_no_count_is_lost_or_told_twice() -> None:
    ledgers = {f"{account}:chat:model-{n}": {"unpriced": 1} for n in range(7) for account in ("openai", "nobody")}
    sheet = sum_up(read(ledgers), settings(3))
    assert sum(series.ledger["unpriced"] for series in sheet.values()) == 14


def test_a_counter_stays_where_it_is_when_a_new_model_comes() -> None:
    ledgers = {"openai:chat:zebra": {"unpriced": 5}}
    waiting = {"openai:chat:ant": Depth(pending=1)}
    before = sum_up(read(ledgers), settings(1))
    after = sum_up(read(ledgers, waiting), settings(1))
    label = ("openai", "chat", "zebra")
    assert (before[label].ledger["unpriced"], after[label].ledger["unpriced"]) == (5, 5)
    assert after["openai", "chat", OTHER].depth.pending == 1


def test_depths_of_other_add_up_and_the_oldest_is_the_oldest_of_all() -> None:
    depths = {
        "openai:chat:a": Depth(pending=1, oldest_pending_ms=500),
        "openai:chat:b": Depth(pending=2, oldest_pending_ms=300, results_gone_ms=9_000),
        "openai:chat:c": Depth(pending=4, oldest_pending_ms=0, results_gone_ms=7_000, stuck=1),
    }
    series = sum_up(read({"openai:chat:first": {}}, depths), settings(1))["openai", "chat", OTHER]
    depth = series.depth
    assert (depth.pending, depth.oldest_pending_ms, depth.results_gone_ms, depth.stuck) == (7, 300, 7_000, 1)
