"""Pruning between real runs: nothing that is owed is touched, figures never go back, and lanes come back to life."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from batchline.engine.pruning import Criteria, Pruned, prune
from batchline.errors import UsageError
from batchline.exporter import StoreCollector
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
DAY = 86_400


def pruned(bench: Any, *, really: bool = True, **criteria: float) -> Pruned:
    """Prune by these criteria, lanes idle for 30 days by default."""
    wanted = Criteria(**(criteria or {"idle_s": 30 * DAY}))
    return prune(bench.store, bench.settings, wanted, now_ms=bench.now_ms, really=really)


def enqueued(bench: Any) -> dict[tuple[str, ...], float]:
    """Return how many requests were ever enqueued, by account, endpoint and model."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings))
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "batchline_requests_enqueued_total"
    }


def test_a_lane_goes_when_it_was_idle_for_long_enough_and_answers_again_after(bench: Any) -> None:
    bench.ask_many(3)
    bench.drain()
    bench.advance(29 * DAY)
    assert (pruned(bench).lanes, pruned(bench).kept) == (0, {"recent": 1})
    bench.advance(2 * DAY)
    assert pruned(bench).lanes == 1
    assert bench.run("KEYS", "batchline:{*") == []
    again = bench.ask("back again")
    bench.drain()
    assert bench.reply(again).status == "succeeded"


def test_a_request_after_the_clock_went_back_is_answered_too(bench: Any) -> None:
    bench.ask("first")
    bench.drain()
    bench.advance(40 * DAY)
    pruned(bench)
    bench.now_ms -= 60 * DAY * 1000
    late = bench.ask("from the past")
    bench.drain()
    assert bench.reply(late).status == "succeeded"


def test_what_was_enqueued_never_goes_back(bench: Any) -> None:
    bench.ask_many(3)
    bench.ask("for a tenant", f"{CHAT}|tenant=acme")
    bench.drain()
    before = enqueued(bench)
    assert before["openai", "chat", "gpt-5-mini"] == 4
    bench.advance(31 * DAY)
    pruned(bench)
    assert enqueued(bench) == before
    bench.ask("one more")
    bench.drain()
    assert enqueued(bench)["openai", "chat", "gpt-5-mini"] == 5


def test_names_that_nobody_configured_stay_counted_without_a_ledger_of_their_own(bench: Any) -> None:
    for lane in ("nobody:chat:m", "no lane at all"):
        bench.add(lane, id=lane, body="{}")
    bench.drain()
    before = enqueued(bench)
    bench.advance(31 * DAY)
    assert pruned(bench).lanes == 2
    assert enqueued(bench) == before
    assert [account.base for account in bench.store.ledger.accounts()] == ["unknown:unknown:unknown"]


def test_a_lane_at_work_stays_and_is_answered(bench: Any) -> None:
    asked = bench.ask("one")
    bench.tick()
    bench.advance(31 * DAY)
    assert (pruned(bench).lanes, pruned(bench).kept) == (0, {"owed": 1})
    bench.drain()
    assert bench.reply(asked).status in {"succeeded", "failed"}


def test_a_lane_that_stood_in_no_set_is_worked_on_again(bench: Any) -> None:
    asked = bench.ask("one")
    bench.run("DEL", keys.LANES)
    assert pruned(bench, really=False).found == 1
    assert bench.run("EXISTS", keys.LANES) == 0
    assert pruned(bench).found == 1
    bench.drain()
    assert bench.reply(asked).status == "succeeded"


def test_only_what_is_asked_for_is_looked_at(bench: Any) -> None:
    bench.ask("[[fail]]")
    bench.set("retry", max_attempts=1)
    bench.drain()
    bench.advance(10 * DAY)
    assert pruned(bench, dead_s=11 * DAY) == Pruned(dead_letters=0)
    assert pruned(bench, really=False, dead_s=9 * DAY) == Pruned(dead_letters=1)
    assert pruned(bench, dead_s=9 * DAY) == Pruned(dead_letters=1)
    assert pruned(bench, dead_s=9 * DAY) == Pruned(dead_letters=0)


def test_a_lane_goes_with_its_last_dead_letter(bench: Any) -> None:
    bench.ask("[[fail]]")
    bench.set("retry", max_attempts=1)
    bench.drain()
    bench.advance(31 * DAY)
    assert pruned(bench).kept == {"dead": 1}
    done = pruned(bench, idle_s=30 * DAY, dead_s=30 * DAY)
    assert (done.dead_letters, done.lanes) == (1, 1)


def test_ledgers_of_days_go_and_the_ledger_of_all_time_stays(bench: Any) -> None:
    bench.ask("one")
    bench.drain()
    ledger = bench.ledger()
    bench.advance(3 * DAY)
    assert pruned(bench, really=False, days_s=2 * DAY).days == 1
    assert pruned(bench, days_s=2 * DAY).days == 1
    assert bench.run("KEYS", "batchline:day*") == []
    assert bench.ledger() == ledger


def test_a_lane_may_not_go_while_the_audit_could_still_ask_for_its_name(bench: Any) -> None:
    with pytest.raises(UsageError, match="audit_window"):
        pruned(bench, idle_s=bench.settings.reconcile.audit_window - 1)


def test_the_ledger_of_today_may_not_go(bench: Any) -> None:
    with pytest.raises(UsageError, match="1d or more"):
        pruned(bench, days_s=DAY - 1)
