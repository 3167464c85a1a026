"""A second provider batch for one attempt: it is asked to stop, its answers serve who still waits, the rest of its cost is waste."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.engine.test_engine_figures import scrape, total

from batchline.engine import auditor
from batchline.errors import Ambiguous, Retryable
from batchline.providers.protocol import Created
from batchline.store import keys

CHAT, CLAUDE = "openai:chat:gpt-5-mini", "anthropic:messages:claude-haiku-4-5"
GENERATE = "gemini:generate:gemini-2.5-flash"
HOUR = 3600


def create_twice(bench: Any, kind: str = "openai", apart_ms: int = 1000, *, fail: bool = True) -> list[Created]:
    """Let the next create call make two batches; ``fail``: nobody is told of either."""
    created: list[Created] = []
    provider = getattr(bench.first, kind)

    def twice(create: Any, *args: Any, **named: Any) -> Created:
        if created:
            answer: Created = create(*args, **named)
            return answer
        created.append(create(*args, **named))
        bench.now_ms += apart_ms
        created.append(create(*args, **named))
        if fail:
            raise Ambiguous("no answer", account=kind, call="create")
        return created[0]

    provider.replace("create", twice)
    return created


def billed(bench: Any) -> int:
    return sum(row["paid_nano_usd"] for row in bench.bill()["models"])


def duplicate_of(bench: Any, created: Created) -> Any:
    (found,) = (batch for batch in bench.batches() if batch.provider_id == created.provider_id)
    return found


def adds_up(bench: Any, lane: str = CHAT) -> int:
    """Return the waste of duplicates; what was paid and wasted must be what the provider bills."""
    ledger = bench.ledger(lane)
    unmatched, twice = (int(ledger.get(f"wasted_nano:{why}", 0)) for why in ("unmatched", "duplicate"))
    assert ledger["paid_nano:batch"] + unmatched + twice == billed(bench)
    assert unmatched == 0
    return twice


@pytest.mark.parametrize("lane", [CHAT, GENERATE])
def test_what_a_duplicate_did_before_it_stopped_is_waste_of_its_own_kind(bench: Any, lane: str) -> None:
    account = lane.partition(":")[0]
    created = create_twice(bench, account)
    bench.ask_many(3, lane)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert adds_up(bench, lane) == bench.ledger(lane)["paid_nano:batch"] > 0
    assert {duplicate_of(bench, each).twin for each in created} == {batch.id for batch in bench.batches()}
    samples = scrape(bench)
    assert round(total(samples, "batchline_wasted_usd_total", "duplicate") * 1e9) == adds_up(bench, lane)
    assert total(samples, "batchline_duplicate_batches_total", account) == 1


def test_a_duplicate_that_runs_is_asked_to_stop(bench: Any) -> None:
    bench.start(latency_s=600)
    created = create_twice(bench)
    bench.ask_many(3)
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.first.openai.calls["cancel"] == 1
    bench.drain(step_s=300)
    assert bench.statuses() == {"succeeded": 3}
    assert duplicate_of(bench, created[1]).outcome == "cancelled"
    assert duplicate_of(bench, created[0]).outcome == "completed"
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    adds_up(bench)


def test_a_stop_that_was_lost_is_asked_for_again(bench: Any) -> None:
    bench.start(latency_s=6000)
    bench.first.openai.break_before("cancel", Retryable("no", account="openai", call="cancel"))
    created = create_twice(bench)
    bench.ask_many(3)
    bench.tick()
    bench.advance(10)
    bench.tick()
    bench.advance(1000)
    bench.tick()
    assert bench.first.openai.calls["cancel"] == 2
    assert duplicate_of(bench, created[0]).state == "submitted"


def test_the_answers_of_a_duplicate_serve_who_still_waits(bench: Any) -> None:
    created = create_twice(bench)
    bench.ask_many(3)
    bench.tick()
    bench.advance(10)
    bench.first.openai.break_before("find", Retryable("later", account="openai", call="find"))
    bench.tick()
    first_poll = bench.first.openai.calls["poll"]
    bench.first.openai.replace("poll", lambda poll, ref: _running(poll(ref), ref == created[0].provider_id))
    for _ in range(20):
        bench.advance(30)
        bench.tick()
    assert bench.first.openai.calls["poll"] > first_poll
    assert bench.statuses() == {"succeeded": 3}
    assert duplicate_of(bench, created[1]).paid_nano > 0
    bench.first.openai.replace("poll", lambda poll, ref: poll(ref))
    bench.drain(step_s=1000)
    assert bench.statuses() == {"succeeded": 3}
    assert adds_up(bench) == duplicate_of(bench, created[0]).waste_nano > 0


def _running(progress: Any, still: bool) -> Any:
    return msgspec.structs.replace(progress, outcome=None, status="in_progress") if still else progress


def test_a_duplicate_that_only_the_audit_finds_is_waste_of_the_same_kind(bench: Any) -> None:
    created = create_twice(bench, fail=False)
    bench.ask_many(3)
    with capture_logs() as logs:
        bench.drain()
        bench.first.audit("openai")
        bench.drain()
    assert [event["provider_batch"] for event in logs if event["event"] == "batch.duplicate"] == [
        created[1].provider_id
    ]
    assert bench.statuses() == {"succeeded": 3}
    assert adds_up(bench) > 0
    assert auditor.audit(bench.first.context, "openai") == 0


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "open"])
def test_one_without_a_tag_is_known_by_its_results(bench: Any, settled: bool) -> None:
    created = create_twice(bench, "anthropic", fail=False)
    bench.ask_many(3, CLAUDE)
    if settled:
        bench.drain()
    else:
        bench.tick()
        bench.advance(5)
    assert auditor.audit(bench.first.context, "anthropic") == 1
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert adds_up(bench, CLAUDE) > 0
    assert duplicate_of(bench, created[1]).duplicate
    assert bench.run("HLEN", keys.account_duplicates("anthropic")) == 1
    assert bench.first.anthropic.calls["cancel"] == 0


def test_requests_that_a_duplicate_was_stopped_with_are_not_sent_again(bench: Any) -> None:
    bench.start(latency_s=600)
    create_twice(bench)
    bench.ask_many(3)
    bench.drain(step_s=300)
    assert bench.created() == 2
    assert bench.ledger().get("retries:cancelled", 0) == 0


def test_a_worker_that_dies_between_both_leaves_the_duplicate_to_the_audit(bench: Any) -> None:
    create_twice(bench)
    bench.ask_many(3)
    bench.tick()
    bench.advance(10)
    second = bench.worker("second")
    real = second.store.orphans.adopt
    second.store.orphans.adopt = _dies
    with pytest.raises(SystemExit):
        second.tick()
    second.store.orphans.adopt = real
    bench.lapse()
    bench.drain()
    auditor.audit(bench.first.context, "openai")
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert adds_up(bench) > 0


def _dies(*_: Any, **__: Any) -> bool:
    raise SystemExit


def test_the_results_of_a_duplicate_are_deleted_and_the_input_once(bench: Any) -> None:
    create_twice(bench)
    bench.ask_many(3)
    bench.drain()
    assert len(bench.run("ZRANGE", keys.FILES, 0, -1)) == 3
    bench.advance(HOUR)
    bench.tick()
    assert bench.emulator.files.listed() == []


def test_a_duplicate_is_an_orphan_until_it_is_settled(bench: Any) -> None:
    bench.start(latency_s=600)
    create_twice(bench)
    bench.ask("one")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert total(scrape(bench), "batchline_orphan_batches", "openai") == 1
    bench.drain(step_s=300)
    assert total(scrape(bench), "batchline_orphan_batches", "openai") == 0
