"""After an ambiguous create: proof, candidates, fences, and what a wrong adoption costs."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import Ambiguous
from batchline.providers.protocol import Created, Found
from batchline.store import keys

CLAUDE = "anthropic:messages:claude-haiku-4-5"


def lost(account: str = "openai") -> Ambiguous:
    """Return the error of a create whose reply was lost."""
    return Ambiguous("no answer", account=account, call="create")


def test_of_two_batches_with_our_tag_the_oldest_is_kept_and_the_other_cancelled(bench: Any) -> None:
    created: list[Created] = []

    def twice(create: Any, *args: Any, **named: Any) -> Created:
        created.append(create(*args, **named))
        bench.now_ms += 1000
        created.append(create(*args, **named))
        raise lost()

    bench.start(latency_s=600)
    bench.first.openai.replace("create", twice)
    bench.ask("one")
    bench.tick()
    bench.advance(10)
    bench.tick()
    (batch, other) = bench.open_batches()
    assert (batch.provider_id, batch.duplicate) == (created[0].provider_id, False)
    assert (other.provider_id, other.duplicate) == (created[1].provider_id, True)
    assert bench.first.openai.calls["cancel"] == 1
    assert bench.run("HLEN", keys.account_duplicates("openai")) == 1


def test_a_wrong_adoption_is_undone_at_its_first_results_and_never_paid_twice(bench: Any) -> None:
    bench.ask("of another application", CLAUDE)
    bench.drain()
    (foreign,) = bench.store.batches.records(bench.store.batches.settled_ids(1))
    bench.run("DEL", keys.provider_batch("anthropic", foreign.provider_id))
    bench.first.anthropic.break_after("create", lost("anthropic"))
    bench.first.anthropic.replace("find", lambda find, job: _with(find(job), foreign.provider_id, job.intent_ms))
    bench.ask("ours", CLAUDE)
    with capture_logs() as logs:
        bench.drain()
    (disowned,) = [event for event in logs if event["event"] == "batch.disowned"]
    assert (disowned["provider_batch"], disowned["log_level"]) == (foreign.provider_id, "error")
    assert bench.statuses() == {"succeeded": 2}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.created("anthropic") == 2
    assert bench.first.anthropic.calls["cancel"] == 0


def _with(found: Found, provider_id: str, intent_ms: int) -> Found:
    """Put a foreign batch among the candidates, nearer to the intent than ours."""
    return Found(candidates=(Created(provider_id=provider_id, created_ms=intent_ms), *found.candidates))


def hold(bench: Any, lane: str = CLAUDE, *, created: bool) -> None:
    """Let the answer of a create be lost on an account that is set to hold, and look for it for ten minutes."""
    bench.set("account", on_ambiguous="hold")
    account = lane.partition(":")[0]
    provider = bench.first.anthropic if account == "anthropic" else bench.first.openai
    (provider.break_after if created else provider.break_before)("create", lost(account))
    bench.ask_many(3, lane)
    bench.tick()
    bench.lapse()
    for _ in range(10):
        bench.tick()
        bench.advance(60)


@pytest.mark.parametrize("created", [True, False])
def test_on_hold_nothing_is_adopted_and_nothing_sent_again(bench: Any, created: bool) -> None:
    with capture_logs() as logs:
        hold(bench, created=created)
    (batch,) = bench.open_batches()
    assert batch.state == "reconciling"
    assert bench.created("anthropic") == int(created)
    held = [event for event in logs if event["event"] == "batch.held"]
    assert {len(event["candidates"]) for event in held} == {int(created)}
    assert "cancel it" in held[0]["reason"]


@pytest.mark.parametrize("created", [True, False])
def test_what_is_proven_needs_no_person_on_hold(bench: Any, created: bool) -> None:
    hold(bench, "openai:chat:gpt-5-mini", created=created)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


@pytest.mark.parametrize("created", [True, False])
def test_a_held_batch_goes_on_when_the_account_is_set_to_adopt(bench: Any, created: bool) -> None:
    hold(bench, created=created)
    bench.set("account", on_ambiguous="adopt")
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created("anthropic") == 1


@pytest.mark.parametrize("created", [True, False])
def test_a_held_batch_that_is_cancelled_is_answered_and_never_sent_again(bench: Any, created: bool) -> None:
    hold(bench, created=created)
    (batch,) = bench.open_batches()
    cancelling.cancel_batch(bench.first.context, batch.id)
    bench.drain()
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created("anthropic") == int(created)
    assert bench.first.anthropic.calls["cancel"] == 0


def test_a_held_batch_is_not_given_up_while_its_create_may_be_running(bench: Any) -> None:
    bench.set("account", on_ambiguous="hold")
    bench.first.anthropic.break_before("create", lost("anthropic"))
    bench.ask("one", CLAUDE)
    bench.tick()
    (batch,) = bench.open_batches()
    cancelling.cancel_batch(bench.first.context, batch.id)
    bench.run("HSET", keys.batch(batch.id), "call_until", bench.now_ms + 300_000)
    for _ in range(5):
        bench.advance(60)
        bench.tick()
    assert (bench.owed(), [each.state for each in bench.open_batches()]) == (1, ["reconciling"])
    bench.lapse()
    bench.drain()
    assert bench.statuses() == {"cancelled": 1}


def test_the_input_file_is_deleted_before_a_batch_is_called_absent(bench: Any) -> None:
    bench.first.openai.break_before("create", lost())
    bench.ask("one")
    bench.tick()
    (batch,) = bench.open_batches()
    bench.lapse()
    bench.advance(120)
    bench.tick()
    assert bench.first.openai.calls["delete_file"] == 1
    (batch,) = bench.open_batches()
    assert (batch.state, batch.fenced_ms) == ("reconciling", bench.now_ms)
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}
    assert bench.created() == 1


def test_without_tags_a_twin_of_an_unresolved_batch_leaves_a_row_out(bench: Any) -> None:
    bench.set("account", on_ambiguous="hold")
    bench.first.anthropic.break_after("create", lost("anthropic"))
    bench.ask_many(3, CLAUDE)
    bench.tick()
    bench.ask_many(3, CLAUDE)
    for _ in range(5):
        bench.tick()
        bench.advance(60)
    rows = sorted(batch.rows for batch in bench.store.batches.records(bench.store.batches.settled_ids(10)))
    assert rows == [1, 2]
