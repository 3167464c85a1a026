"""What an audit would find is told without being done: whose a provider batch is, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.emulator.foreign import Foreign, add_foreign
from batchline.engine import auditor, orphans
from batchline.errors import Ambiguous
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
CLAUDE = "anthropic:messages:claude-haiku-4-5"
HOUR = 3600


def look(bench: Any, account: str = "openai") -> list[tuple[str, str]]:
    """Look, make sure that nothing was changed, and return state and action of each orphan."""
    before = everything(bench)
    found = orphans.look(bench.first.context, account)
    assert everything(bench) == before
    assert bench.first.openai.calls["cancel"] + bench.first.anthropic.calls["cancel"] == 0
    return [(each.state, each.action) for each in found]


def everything(bench: Any) -> dict[bytes, bytes]:
    return {key: bench.run("DUMP", key) for key in bench.run("KEYS", "*")}


def forget(bench: Any, *, record: bool = True) -> Any:
    """Let the store forget that it claimed its one batch, and the whole record."""
    (batch,) = bench.batches()
    bench.run("DEL", keys.provider_batch(batch.account, batch.provider_id))
    if record:
        bench.run("DEL", keys.batch(batch.id))
        bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    return batch


@pytest.mark.parametrize("lane", [CHAT, CLAUDE])
def test_what_both_know_is_no_orphan(bench: Any, lane: str) -> None:
    bench.ask("one", lane)
    bench.tick()
    assert look(bench, lane.split(":", 1)[0]) == []


def test_a_batch_that_was_forgotten_whole_is_to_be_adopted(bench: Any) -> None:
    bench.ask_many(3)
    bench.tick()
    batch = forget(bench)
    assert look(bench) == [("running", "adopt")]
    (found,) = orphans.look(bench.first.context, "openai")
    assert (found.account, found.provider_id, found.batch, found.lane) == ("openai", batch.provider_id, batch.id, CHAT)
    assert found.created_ms == bench.now_ms
    bench.advance(60)
    assert look(bench) == [("ended", "adopt")]
    assert auditor.audit(bench.first.context, "openai") == 1
    assert look(bench) == []


def test_one_whose_intent_was_forgotten_is_to_be_adopted(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    batch = forget(bench, record=False)
    bench.run("HSET", keys.batch(batch.id), "state", "cut", "nonce", "", "provider_id", "")
    assert look(bench) == [("running", "adopt")]


def test_a_second_batch_of_an_attempt_is_to_be_cancelled_while_it_runs(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    batch = forget(bench, record=False)
    bench.run("HSET", keys.batch(batch.id), "provider_id", "another")
    assert [action for state, action in look(bench) if state == "running"] == ["cancel, then adopt what it did"]
    bench.advance(60)
    assert [action for state, action in look(bench) if state == "ended"] == ["adopt what it did"]
    assert auditor.audit(bench.first.context, "openai") == 1
    assert bench.first.openai.calls["cancel"] == 0


@pytest.mark.usefixtures("unchecked")
def test_a_batch_that_was_refused_as_a_whole_is_nobodys_loss(bench: Any) -> None:
    bench.add(CHAT, id="wrong", body='{"model": "gpt-5-mini"}')
    bench.tick()
    forget(bench)
    bench.advance(60)
    assert look(bench) == []
    assert auditor.audit(bench.first.context, "openai") == 0


def test_what_the_reconciler_looks_for_is_left_to_it(bench: Any) -> None:
    bench.first.openai.break_after("create", Ambiguous("lost", account="openai", call="create"))
    bench.ask("one")
    bench.tick()
    assert look(bench) == [("running", "leave to the reconciler")]


def test_a_batch_without_a_tag_is_told_once_it_has_ended(bench: Any) -> None:
    bench.ask_many(3, CLAUDE)
    bench.tick()
    forget(bench)
    assert look(bench, "anthropic") == []
    bench.advance(60)
    assert look(bench, "anthropic") == [("ended", "adopt")]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_batches_of_other_applications_are_not_shown(bench: Any, kind: Any) -> None:
    add_foreign(bench.emulator, Foreign(provider=kind, count=3, total=2))
    assert look(bench, kind) == []
    bench.advance(60)
    assert look(bench, kind) == []


@pytest.mark.parametrize("lane", [CHAT, CLAUDE])
def test_a_submitted_batch_that_its_provider_does_not_know_is_shown_with_its_fate(bench: Any, lane: str) -> None:
    bench.ask_many(3, lane)
    bench.tick()
    (batch,) = bench.batches()
    account = batch.account
    bench.emulator.jobs._jobs.pop(batch.provider_id)
    assert look(bench, account) == [("unknown", "poll on")]
    (found,) = orphans.look(bench.first.context, account)
    assert (found.batch, found.provider_id, found.rows) == (batch.id, batch.provider_id, 3)
    bench.run("HSET", keys.batch(batch.id), "unknown_since", bench.now_ms)
    bench.advance(26 * HOUR)
    assert look(bench, account) == [("unknown", "poll on, cancel it to give it up")]


def test_an_unknown_batch_of_another_account_is_not_shown(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    bench.emulator.jobs._jobs.clear()
    assert look(bench, "anthropic") == []
