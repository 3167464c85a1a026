"""After a create whose reply was lost: found again and adopted, or shown absent and created again; never two."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.errors import Ambiguous
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LANES = [CHAT, HAIKU]


def check(bench: Any, asked: int) -> None:
    assert bench.statuses() == {"succeeded": asked}
    assert bench.bill()["double_executions"] == 0
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}


def provider_of(worker: Any, lane: str) -> Any:
    return worker.openai if lane == CHAT else worker.anthropic


def lost_reply(lane: str) -> Ambiguous:
    return Ambiguous("the reply was lost; it may have happened", account=lane.split(":", 1)[0], call="create")


@pytest.mark.parametrize("lane", LANES)
def test_a_batch_whose_create_lost_its_reply_is_found_and_adopted(bench: Any, lane: str) -> None:
    asked = bench.ask_many(5, lane)
    provider_of(bench.first, lane).break_after("create", lost_reply(lane))
    with capture_logs() as logs:
        bench.tick()
        assert [batch.state for batch in bench.batches()] == ["reconciling"]
        bench.advance(5)
        bench.tick()
    assert [batch.state for batch in bench.batches()] == ["submitted"]
    assert [event["how"] for event in logs if event["event"] == "batch.submitted"] == ["adopted"]
    bench.drain()
    check(bench, len(asked))
    assert bench.created(lane.split(":", 1)[0]) == 1


@pytest.mark.parametrize("lane", LANES)
def test_a_batch_that_is_absent_is_created_again_only_after_the_waiting_time(bench: Any, lane: str) -> None:
    account = lane.split(":", 1)[0]
    asked = bench.ask_many(5, lane)
    provider_of(bench.first, lane).break_before("create", lost_reply(lane))
    bench.tick()
    (batch,) = bench.batches()
    bench.run("HSET", keys.batch(batch.id), "call_until", bench.now_ms + 150_000)
    for _ in range(20):
        bench.advance(10)
        bench.tick()
    assert (bench.created(account), [b.state for b in bench.batches()]) == (0, ["reconciling"])
    bench.advance(15)
    bench.tick()
    if account == "openai":  # its input file is deleted first, and the list is read once more after another lag
        assert (bench.created(account), [b.state for b in bench.batches()]) == (0, ["reconciling"])
        bench.advance(60)
        bench.tick()
    assert [b.reason for b in bench.batches()] == ["absent"]
    bench.drain()
    check(bench, len(asked))
    assert bench.created(account) == 1


def test_a_batch_that_appears_late_in_the_list_is_adopted(bench: Any) -> None:
    bench.ask_many(5)
    bench.first.openai.break_after("create", lost_reply(CHAT))
    hidden = [3]

    def find(real: Any, job: Any) -> Any:
        hidden[0] -= 1
        found = real(job)
        return type(found)() if hidden[0] >= 0 else found

    bench.first.openai.replace("find", find)
    bench.tick()
    bench.drain(step_s=15)
    check(bench, 5)
    assert bench.created() == 1


def test_a_candidate_that_belongs_to_another_batch_of_ours_is_not_adopted(bench: Any) -> None:
    bench.start(latency_s=7200)
    bench.ask_many(3, HAIKU)
    bench.tick()
    more = bench.ask_many(3, HAIKU)
    bench.first.anthropic.break_before("create", lost_reply(HAIKU))
    bench.tick()
    bench.lapse()
    bench.advance(61)
    bench.tick()
    bench.advance(1)
    bench.tick()
    assert bench.created("anthropic") == 2
    bench.drain(step_s=600)
    check(bench, 3 + len(more))


def test_of_two_candidates_the_one_that_is_not_ours_already_is_adopted(bench: Any) -> None:
    bench.start(latency_s=7200)
    bench.ask_many(3, HAIKU)
    bench.tick()
    bench.ask_many(3, HAIKU)
    bench.first.anthropic.break_after("create", lost_reply(HAIKU))
    bench.tick()
    bench.advance(5)
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["submitted"] * 2
    bench.drain(step_s=600)
    check(bench, 6)
    assert bench.created("anthropic") == 2


def test_an_account_that_holds_adopts_nothing_without_proof(bench: Any) -> None:
    bench.set("account", on_ambiguous="hold")
    bench.ask_many(3, HAIKU)
    bench.first.anthropic.break_after("create", lost_reply(HAIKU))
    bench.tick()
    bench.lapse()
    for _ in range(20):
        bench.advance(60)
        bench.tick()
    assert [batch.state for batch in bench.batches()] == ["reconciling"]
    assert bench.created("anthropic") == 1


def test_a_reconciler_that_cannot_ask_the_provider_asks_again(bench: Any) -> None:
    bench.ask_many(3)
    bench.first.openai.break_after("create", lost_reply(CHAT))
    bench.first.openai.break_before("find", *[lost_reply(CHAT)] * 2)
    bench.tick()
    bench.drain()
    check(bench, 3)
    assert bench.created() == 1


def test_while_one_batch_is_reconciled_the_next_is_cut_and_sent(bench: Any) -> None:
    bench.ask("first")
    bench.first.openai.break_before("create", lost_reply(CHAT))
    bench.tick()
    bench.ask("second")
    bench.tick()
    assert {batch.state for batch in bench.batches()} == {"reconciling", "submitted"}
