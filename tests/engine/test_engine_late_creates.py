"""What a create may still do that nobody waits for: one that comes late, or while others run, is never paid for twice."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest

from batchline.engine import submitter
from batchline.errors import Ambiguous, Retryable
from batchline.providers.protocol import Created, Found, Job
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
CLAUDE = "anthropic:messages:claude-haiku-4-5"


class Monotonic:
    """The submitter's own clock, which a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr(submitter, "time", SimpleNamespace(monotonic=lambda: self.now))


def lost(account: str) -> Ambiguous:
    """Return the error of a create whose reply was lost."""
    return Ambiguous("no answer", account=account, call="create")


def check(bench: Any, lane: str, asked: int, *, created: int = 1) -> None:
    assert bench.statuses() == {"succeeded": asked}
    assert bench.bill()["double_executions"] == 0
    assert bench.created(lane.split(":", 1)[0]) == created


def test_an_intent_that_is_not_durable_is_followed_by_no_create(bench: Any) -> None:
    def unacknowledged(intent: Any, *args: Any, **named: Any) -> str:
        assert intent(*args, **named) == "durable"
        return "not_durable"

    bench.ask_many(3)
    bench.first.batches.replace("intent", unacknowledged)
    bench.tick()
    (batch,) = bench.batches()
    assert (batch.state, batch.reason, bench.created()) == ("cut", "not_durable", 0)
    assert bench.first.openai.calls["create"] == 0
    bench.first.batches.replace("intent", lambda intent, *args, **named: intent(*args, **named))
    bench.drain()
    check(bench, CHAT, 3)


@pytest.mark.parametrize("lane", [CHAT, CLAUDE])
def test_a_worker_that_was_frozen_after_its_intent_does_not_create(
    bench: Any, monkeypatch: pytest.MonkeyPatch, lane: str
) -> None:
    clock = Monotonic(monkeypatch)

    def frozen(intent: Any, *args: Any, **named: Any) -> Any:
        answer = intent(*args, **named)
        clock.now += bench.settings.lease_seconds + 1
        return answer

    bench.ask_many(3, lane)
    bench.first.batches.replace("intent", frozen)
    bench.tick()
    assert bench.first.lost
    assert bench.created(lane.split(":", 1)[0]) == 0
    bench.lapse()
    bench.advance(60)
    bench.drain(bench.worker("second"))
    check(bench, lane, 3)


def test_a_create_is_told_until_when_it_may_leave(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Monotonic(monkeypatch)
    asked: list[Job] = []

    def create(_: Any, __: Any, job: Job, **___: Any) -> Any:
        asked.append(job)
        raise Retryable("not now", account="anthropic", call="create")

    bench.ask("one", CLAUDE)
    bench.first.anthropic.replace("create", create)
    bench.tick()
    (job,) = asked
    assert clock.now < job.send_by < clock.now + bench.settings.lease_seconds + bench.settings.create_timeout


def test_after_the_file_is_deleted_the_list_is_read_again_after_its_lag(bench: Any) -> None:
    listed_ms = [0]

    def find(real: Any, job: Job) -> Found:
        found: Found = real(job)
        return found if listed_ms[0] and bench.now_ms >= listed_ms[0] else Found()

    bench.first.openai.replace("find", find)
    bench.first.openai.break_after("create", lost("openai"))
    bench.ask_many(3)
    bench.tick()
    bench.lapse()
    bench.advance(bench.settings.reconcile.listing_lag + 1)
    bench.tick()
    assert bench.first.openai.calls["delete_file"] == 1
    listed_ms[0] = bench.now_ms + int(bench.settings.reconcile.listing_lag * 1000)
    bench.drain(step_s=1, rounds=200)
    check(bench, CHAT, 3)


def test_a_candidate_is_not_judged_while_another_create_with_as_many_rows_runs(bench: Any) -> None:
    first, second = bench.first, bench.worker("second")
    first.anthropic.break_before("create", lost("anthropic"))
    bench.ask_many(3, CLAUDE)
    bench.tick()
    (waiting,) = bench.open_batches()
    # A batch that was disowned is reconciled without an open intent: others with as many rows are created meanwhile.
    bench.run("DEL", keys.account_intents("anthropic"))
    seen: list[tuple[str, str]] = []

    def meanwhile(create: Any, *args: Any, **named: Any) -> Created:
        created: Created = create(*args, **named)
        first.anthropic.replace("create", lambda create, *args, **named: create(*args, **named))
        bench.run("HSET", keys.batch(waiting.id), "next_ms", 0)
        second.submit(waiting.id)
        seen.extend((batch.id, batch.state) for batch in bench.open_batches())
        return created

    first.anthropic.replace("create", meanwhile)
    bench.ask_many(3, CLAUDE)
    bench.tick()
    assert (waiting.id, "reconciling") in seen
    bench.lapse()
    bench.drain()
    check(bench, CLAUDE, 6, created=2)


def test_orphans_are_looked_for_again_every_so_often(bench: Any) -> None:
    bench.ask("one")
    bench.drain()
    bench.tick()
    looks = bench.first.openai.calls["recent"]
    bench.tick()
    assert bench.first.openai.calls["recent"] == looks
    bench.run("DEL", keys.audit_turn("openai"))  # as after `reconcile.audit_every`
    bench.tick()
    assert bench.first.openai.calls["recent"] == looks + 1


@pytest.mark.parametrize("lane", [CHAT, CLAUDE])
def test_a_batch_whose_worker_died_in_its_create_is_looked_for_before_anything_else(
    bench: Any, death: Any, lane: str
) -> None:
    provider, second = lane.split(":", 1)[0], bench.worker("second")
    getattr(bench.first, provider).break_after("create", death())
    bench.ask_many(3, lane)
    with pytest.raises(death):
        bench.tick()
    bench.lapse()
    (batch,) = bench.batches()
    for _ in range(3):
        bench.advance(30)
        second.submit(batch.id)
    assert getattr(second, provider).calls["create"] == 0
    assert [batch.state for batch in bench.batches()] == ["submitted"]


@pytest.mark.parametrize("lane", [CHAT, CLAUDE])
@pytest.mark.parametrize("ahead_s", [150, 3600])
def test_a_create_by_a_worker_whose_clock_is_ahead_is_found(bench: Any, lane: str, ahead_s: int) -> None:
    account = lane.split(":", 1)[0]
    bench.start(latency_s=4 * 3600)
    getattr(bench.first, account).break_after("create", lost(account))
    bench.ask_many(3, lane)
    bench.first.deaf = True
    bench.tick()
    (batch,) = bench.batches()
    ahead = dataclasses.replace(bench.first.context, clock=lambda: bench.now_ms + ahead_s * 1000)
    submitter.submit(ahead, batch.id)
    bench.run("HSET", keys.batch(batch.id), "asked_ms", bench.now_ms)  # the store's clock is right
    bench.lapse()
    bench.advance(ahead_s + 10)
    second = bench.worker("second")
    for _ in range(30):
        bench.tick(second)
        bench.advance(30)
    bench.advance(4 * 3600)
    bench.drain(second)
    check(bench, lane, 3)
