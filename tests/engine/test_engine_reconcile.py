"""After an ambiguous create: proof, candidates, fences, and what a wrong adoption costs."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

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

    bench.first.openai.replace("create", twice)
    bench.ask("one")
    bench.tick()
    bench.advance(10)
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.provider_id == created[0].provider_id
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


def test_on_hold_nothing_is_adopted_and_nothing_sent_again(bench: Any) -> None:
    bench.set("account", on_ambiguous="hold")
    bench.first.anthropic.break_after("create", lost("anthropic"))
    bench.ask("one", CLAUDE)
    for _ in range(10):
        bench.tick()
        bench.advance(60)
    (batch,) = bench.open_batches()
    assert batch.state == "reconciling"
    assert bench.created("anthropic") == 1


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
