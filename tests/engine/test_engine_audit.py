"""The orphan audit: what a store that was rolled back forgot is found at the provider and not paid for again."""

from __future__ import annotations

import io
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.engine import auditor
from batchline.errors import Retryable
from batchline.providers.protocol import Job
from batchline.store import keys

CLAUDE = "anthropic:messages:claude-haiku-4-5"
CHAT = "openai:chat:gpt-5-mini"


def forget_everything(bench: Any, lane: str, account: str) -> None:
    """Roll the store back to before the cut: batch, claim, agenda, room and the walk are as they were then."""
    for batch in bench.open_batches():
        bench.run("DEL", keys.batch(batch.id), keys.provider_batch(account, batch.provider_id))
        bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    bench.run("DEL", keys.account_open(account), keys.walk(lane))
    bench.run("HSET", keys.AUDITED, account, "the store before")


def forget_the_intent(bench: Any, account: str) -> None:
    """Roll the store back to just before the intent: the batch stands in cut."""
    (batch,) = bench.open_batches()
    bench.run("HDEL", keys.batch(batch.id), "nonce", "rows", "input_ref", "intent_ms", "provider_id", "submitted_ms")
    bench.run("HSET", keys.batch(batch.id), "state", "cut", "next_ms", 0)
    bench.run("DEL", keys.provider_batch(account, batch.provider_id))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    bench.run("ZADD", keys.AGENDA_ACCUMULATE, 0, batch.id)
    bench.run("HSET", keys.AUDITED, account, "the store before")


def test_an_account_is_audited_before_its_first_create_and_then_only_when_the_store_is_another(bench: Any) -> None:
    bench.ask("one")
    bench.drain()
    audits = bench.first.openai.calls["recent"]
    bench.ask("two")
    bench.drain()
    assert bench.first.openai.calls["recent"] == audits
    bench.run("HSET", keys.AUDITED, "openai", "another store")
    bench.ask("three")
    bench.drain()
    assert bench.first.openai.calls["recent"] == audits + 1


def replace_the_store(bench: Any) -> None:
    """Let the store be another one than it was: it restarted, or a replica took over."""
    (identity,) = bench.run("HKEYS", keys.IDENTITY)
    bench.run("DEL", keys.IDENTITY)
    bench.run("HSET", keys.IDENTITY, b"before " + identity, 0)
    bench.run("HSET", keys.AUDITED, "openai", "the store before")


def test_a_store_that_was_never_another_lets_create_at_once(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    assert bench.created() == 1


def test_nothing_is_created_before_an_audit_can_see_all_that_a_replaced_store_forgot(bench: Any) -> None:
    bench.start(listing_lag_s=50)
    bench.ask_many(5)
    bench.tick()
    forget_everything(bench, CHAT, "openai")
    replace_the_store(bench)
    bench.advance(20)
    bench.tick()
    assert bench.created() == 1
    bench.drain()
    assert bench.statuses() == {"succeeded": 5}
    assert bench.created() == 1


def test_after_the_wait_a_replaced_store_creates_as_before(bench: Any) -> None:
    bench.ask("one")
    bench.drain()
    replace_the_store(bench)
    bench.ask("two")
    bench.tick()
    settings = bench.first.context.settings
    bench.advance(settings.lease_seconds + settings.create_timeout + settings.reconcile.listing_lag - 1)
    bench.tick()
    assert bench.created() == 1
    bench.advance(31)
    bench.tick()
    assert bench.created() == 2


def test_a_batch_whose_intent_was_forgotten_is_taken_up_where_it_is(bench: Any) -> None:
    bench.ask_many(5)
    bench.tick()
    forget_the_intent(bench, "openai")
    bench.drain()
    assert bench.statuses() == {"succeeded": 5}
    assert bench.created() == 1


def test_a_batch_that_was_forgotten_whole_is_adopted_and_its_requests_are_not_sent_again(bench: Any) -> None:
    bench.ask_many(5)
    bench.tick()
    forget_everything(bench, CHAT, "openai")
    auditor.before_create(bench.first.context, "openai")
    bench.drain()
    assert bench.statuses() == {"succeeded": 5}
    assert bench.created() == 1
    assert bench.ledger()["settled:succeeded:batch"] == 5


def test_a_forgotten_batch_without_a_tag_is_found_by_its_results(bench: Any) -> None:
    bench.ask_many(3, CLAUDE)
    bench.tick()
    forget_everything(bench, CLAUDE, "anthropic")
    bench.advance(60)
    auditor.audit_in_turn(bench.first.context, "anthropic")
    for batch in bench.store.batches.records(bench.store.batches.open_ids()):
        bench.first.poll(batch.id)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created("anthropic") == 1


def test_a_second_batch_of_a_settled_attempt_is_cancelled_and_counted(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    (batch,) = bench.open_batches()
    job_key = keys.provider_batch("openai", batch.provider_id)
    bench.drain()
    bench.run("DEL", job_key)
    bench.run("HSET", keys.batch(batch.id), "provider_id", "another")
    assert auditor.audit(bench.first.context, "openai") == 1
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}


def test_a_second_batch_that_still_runs_is_cancelled_and_counted(bench: Any) -> None:
    bench.start(latency_s=600)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.open_batches()
    made = bench.providers["openai"].create(
        io.BytesIO(),
        Job(
            batch_id=batch.id,
            nonce=batch.nonce,
            endpoint="chat",
            model="gpt-5-mini",
            rows=3,
            intent_ms=bench.now_ms,
            lane=CHAT,
            input_ref=batch.input_ref,
        ),
        timeout_s=30,
    )
    cancelled: list[str] = []

    def cancel(real: Any, provider_id: str) -> None:
        cancelled.append(provider_id)
        real(provider_id)

    bench.first.openai.replace("cancel", cancel)
    with capture_logs() as logs:
        auditor.audit(bench.first.context, "openai")
    bench.tick()
    assert cancelled == [made.provider_id]
    assert [event["log_level"] for event in logs if event["event"] == "batch.duplicate"] == ["error"]
    assert bench.run("HKEYS", keys.account_duplicates("openai")) == [made.provider_id.encode()]
    bench.drain(step_s=300)
    assert bench.statuses() == {"succeeded": 3}


def test_batches_of_other_applications_are_left_alone(bench: Any) -> None:
    bench.ask("one")
    bench.drain()
    provider = bench.providers["openai"]
    with provider._calling("create") as client:
        client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-none")
    assert auditor.audit(bench.first.context, "openai") == 0
    assert bench.first.openai.calls["cancel"] == 0


def test_a_provider_that_cannot_be_audited_holds_up_creates_and_loses_nothing(bench: Any) -> None:
    bench.first.openai.break_before("recent", Retryable("away", account="openai", call="recent"))
    bench.ask("one")
    bench.tick()
    assert bench.created() == 0
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_what_the_store_knows_is_no_orphan(bench: Any, kind: str) -> None:
    bench.ask_many(2, CHAT if kind == "openai" else CLAUDE)
    bench.drain()
    assert auditor.audit(bench.first.context, kind) == 0
