"""Cancel: what no batch carries is settled at once, what one carries is left out or settles with what its batch brings."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.engine import answers
from batchline.engine.context import target
from batchline.engine.entries import read_envelope

CHAT = "openai:chat:gpt-5-mini"


def cancel(bench: Any, request_id: str) -> str:
    """Do as a caller of cancel does: ask, and settle at once what is pending."""
    entry = bench.entry_of(request_id)
    said: str = bench.store.intake.cancel(CHAT, entry)
    if said == "pending":
        where = target(bench.settings, CHAT)
        (owed,) = bench.store.settling.owed(CHAT, [entry])
        answer = answers.cancelled(read_envelope(owed, where.lane), None, now_ms=bench.now_ms, sent=False)
        bench.store.settling.settle(where.lane, [answer], batch=None, route="batch", now_ms=bench.now_ms)
    return said


def statuses(bench: Any, *ids: str) -> list[str]:
    return [bench.reply(request_id).status for request_id in ids]


def test_a_pending_request_is_settled_at_once(bench: Any) -> None:
    first, second = bench.ask("one"), bench.ask("two")
    assert cancel(bench, first) == "pending"
    reply = bench.reply(first)
    assert (reply.status, reply.error.code, reply.attempts) == ("cancelled", "cancelled", 0)
    bench.drain()
    assert statuses(bench, first, second) == ["cancelled", "succeeded"]
    assert bench.bill()["models"][0]["executed"] == 1


def test_an_answered_request_cannot_be_cancelled(bench: Any) -> None:
    request_id = bench.ask("one")
    bench.drain()
    assert cancel(bench, request_id) == "gone"
    assert statuses(bench, request_id) == ["succeeded"]


def test_a_carried_request_is_left_out_when_its_batch_is_rendered(bench: Any) -> None:
    bench.first.deaf = True
    first, second = bench.ask("one"), bench.ask("two")
    bench.tick()
    assert cancel(bench, first) == "carried"
    bench.first.deaf = False
    bench.advance(30)
    bench.drain()
    assert statuses(bench, first, second) == ["cancelled", "succeeded"]
    assert bench.bill()["models"][0]["executed"] == 1


def test_a_request_at_the_provider_still_gets_its_answer(bench: Any) -> None:
    request_id = bench.ask("one")
    bench.tick()
    assert cancel(bench, request_id) == "carried"
    bench.drain()
    assert statuses(bench, request_id) == ["succeeded"]


@pytest.mark.parametrize("marker", ["[[fail]]", "[[missing]]", "[[expire]]"])
def test_a_request_at_the_provider_that_gets_no_answer_is_cancelled_and_not_sent_again(bench: Any, marker: str) -> None:
    request_id = bench.ask(f"one {marker}")
    bench.tick()
    cancel(bench, request_id)
    bench.drain()
    reply = bench.reply(request_id)
    assert (reply.status, reply.attempts) == ("cancelled", 1)
    assert bench.created() == 1


def test_a_request_in_the_retry_pool_is_settled_at_once(bench: Any) -> None:
    request_id = bench.ask("one [[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert cancel(bench, request_id) == "pending"
    reply = bench.reply(request_id)
    assert (reply.status, reply.attempts) == ("cancelled", 1)
    bench.drain()
    assert bench.created() == 1


def test_a_batch_of_which_all_is_cancelled_reaches_no_provider(bench: Any) -> None:
    bench.first.deaf = True
    asked = bench.ask_many(3)
    bench.tick()
    for request_id in asked:
        cancel(bench, request_id)
    bench.first.deaf = False
    bench.advance(30)
    bench.drain()
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created() == 0
