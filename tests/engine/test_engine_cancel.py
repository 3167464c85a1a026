"""Cancel: what no batch carries is settled at once, what one carries is left out or settles with what its batch brings."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.engine import cancelling
from batchline.engine.cancelling import Cancelled
from batchline.errors import Retryable
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"


def cancel(bench: Any, request_id: str) -> str:
    """Cancel a request and return what became of it."""
    done = cancelling.cancel_request(bench.first.context, CHAT, request_id)
    return next((name for name in ("answered", "carried", "gone") if getattr(done, name)), "unknown")


def statuses(bench: Any, *ids: str) -> list[str]:
    return [bench.reply(request_id).status for request_id in ids]


def test_a_pending_request_is_settled_at_once(bench: Any) -> None:
    first, second = bench.ask("one"), bench.ask("two")
    assert cancel(bench, first) == "answered"
    reply = bench.reply(first)
    assert (reply.status, reply.error.code, reply.attempts) == ("cancelled", "cancelled", 0)
    bench.drain()
    assert statuses(bench, first, second) == ["cancelled", "succeeded"]
    assert bench.bill()["models"][0]["executed"] == 1


def test_an_answered_request_cannot_be_cancelled(bench: Any) -> None:
    request_id = bench.ask("one")
    bench.drain()
    assert cancel(bench, request_id) == "unknown"
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
    bench.drain(step_s=120)
    reply = bench.reply(request_id)
    assert (reply.status, reply.attempts) == ("cancelled", 1)
    assert bench.created() == 1


def test_a_cancelled_request_without_an_answer_is_settled_with_its_batch(bench: Any) -> None:
    request_id = bench.ask("one [[fail]]")
    bench.tick()
    cancel(bench, request_id)
    bench.advance(10)
    bench.tick()
    assert statuses(bench, request_id) == ["cancelled"]
    assert [(batch.state, batch.retried) for batch in bench.batches()] == [("settled", 0)]


def test_a_request_in_the_retry_pool_is_settled_at_once(bench: Any) -> None:
    request_id = bench.ask("one [[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert cancel(bench, request_id) == "answered"
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


def test_a_request_is_found_inside_its_id_window_by_its_entry_and_by_looking_through_the_lane(bench: Any) -> None:
    for how in ("window", "entry", "lane"):
        request_id = bench.ask(how)
        entry = bench.entry_of(request_id)
        if how == "window":
            bench.run("SET", keys.request_id(CHAT, request_id), f"{entry}:60000")
        assert cancel(bench, entry if how == "entry" else request_id) == "answered"
    assert bench.statuses() == {"cancelled": 3}


def test_an_id_that_was_enqueued_twice_is_cancelled_twice(bench: Any) -> None:
    bench.ask("one", id="same")
    bench.ask("one", id="same")
    assert cancelling.cancel_request(bench.first.context, CHAT, "same") == Cancelled(answered=2)
    assert [reply.status for reply in bench.queue(keys.reply_default(CHAT, "same"))] == ["cancelled"] * 2
    assert bench.owed() == 0


def test_a_request_that_is_cut_while_it_is_cancelled_is_left_to_its_batch(bench: Any) -> None:
    bench.first.deaf = True
    request_id = bench.ask("one")
    other = bench.worker("other")

    def cut_first(real: Any, *given: Any, **named: Any) -> Any:
        bench.tick()
        return real(*given, **named)

    other.settling.replace("settle", cut_first)
    assert cancelling.cancel_request(other.context, CHAT, request_id) == Cancelled(carried=1)
    bench.first.deaf = False
    bench.advance(30)
    bench.drain()
    assert statuses(bench, request_id) == ["cancelled"]
    assert bench.created() == 0


def cancel_batch(bench: Any) -> tuple[str, Cancelled]:
    (batch,) = bench.open_batches()
    return cancelling.cancel_batch(bench.first.context, batch.id)


def test_a_batch_in_cut_settles_all_as_cancelled_and_reaches_no_provider(bench: Any) -> None:
    bench.first.deaf = True
    bench.ask_many(3)
    bench.tick()
    assert cancel_batch(bench) == ("cut", Cancelled(carried=3))
    bench.first.deaf = False
    bench.drain()
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created() == 0


@pytest.mark.parametrize("lane", ["openai:chat:gpt-5-mini", "anthropic:messages:claude-haiku-4-5"])
def test_what_is_cancelled_after_it_was_rendered_is_not_created(bench: Any, lane: str) -> None:
    bench.ask_many(3, lane)
    store = bench.first.context.store

    def cancelled_meanwhile(batch: Any, **given: Any) -> Any:
        if not batch.cancel_ms:
            cancel_batch(bench)
        return intent(batch, **given)

    intent = store.batches.intent
    store.batches.intent = cancelled_meanwhile
    bench.drain()
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created(lane.partition(":")[0]) == 0
    assert bench.first.openai.calls["delete_file"] == bench.first.openai.calls["upload"]


def test_a_cancelled_batch_delivers_what_was_done_and_cancels_the_rest(bench: Any) -> None:
    bench.start(latency_s=100)
    bench.ask_many(4)
    bench.tick()
    bench.advance(50)
    assert cancel_batch(bench) == ("submitted", Cancelled(carried=4))
    bench.drain()
    found = bench.statuses()
    assert found["succeeded"] == bench.bill()["models"][0]["executed"]
    assert found["cancelled"] == 4 - found["succeeded"] > 0
    assert bench.first.openai.calls["cancel"] == 1
    assert bench.created() == 1


def test_a_cancel_is_asked_for_again_until_the_provider_has_heard(bench: Any) -> None:
    bench.start(latency_s=1000)
    bench.ask("one")
    bench.tick()
    bench.advance(30)
    lost = Retryable("no answer", account="openai", call="cancel")
    bench.first.openai.break_before("cancel", lost, lost)
    cancel_batch(bench)
    bench.drain()
    assert bench.statuses() == {"cancelled": 1}
    assert bench.first.openai.calls["cancel"] == 3


def test_a_provider_that_has_heard_is_not_asked_again(bench: Any) -> None:
    bench.start(latency_s=1000, cancel_delay_s=300)
    bench.ask("one")
    bench.tick()
    bench.advance(30)
    cancel_batch(bench)
    bench.drain()
    assert bench.first.openai.calls["cancel"] == 1


def test_a_batch_that_is_cancelled_while_it_is_polled_is_polled_again_at_once(bench: Any) -> None:
    bench.start(latency_s=10_000)
    bench.ask("one")
    bench.tick()
    bench.advance(5_000)

    def cancelled_meanwhile(real: Any, provider_id: str) -> Any:
        progress = real(provider_id)
        if not bench.first.openai.calls["cancel"]:
            cancel_batch(bench)
        return progress

    bench.first.openai.replace("poll", cancelled_meanwhile)
    bench.tick()
    bench.tick()
    assert bench.first.openai.calls["cancel"] == 1


def test_a_batch_whose_create_is_unknown_is_cancelled_when_it_is_found(bench: Any, death: Any) -> None:
    bench.start(latency_s=1000)
    bench.first.openai.break_after("create", death())
    bench.ask("one")
    with pytest.raises(death):
        bench.tick()
    assert cancel_batch(bench)[0] == "submitting"
    bench.lapse()
    bench.advance(200)
    bench.drain()
    assert bench.statuses() == {"cancelled": 1}
    assert bench.first.openai.calls["cancel"] == 1
    assert bench.created() == 1


def test_what_was_adopted_without_proof_is_never_cancelled(bench: Any) -> None:
    bench.start(latency_s=100)
    request_id = bench.ask("one")
    bench.tick()
    (batch,) = bench.open_batches()
    bench.run("HSET", keys.batch(batch.id), "proven", 0)
    cancel_batch(bench)
    bench.drain()
    assert bench.first.openai.calls["cancel"] == 0
    assert statuses(bench, request_id) == ["succeeded"]


@pytest.mark.parametrize(("batch_id", "state"), [("nothing", "gone"), ("settled", "settled")])
def test_a_batch_that_is_over_is_left_alone(bench: Any, batch_id: str, state: str) -> None:
    bench.ask("one")
    bench.drain()
    (batch,) = bench.batches()
    found = batch.id if batch_id == "settled" else batch_id
    assert cancelling.cancel_batch(bench.first.context, found) == (state, Cancelled())


def test_a_lane_is_cancelled_wherever_its_requests_are(bench: Any) -> None:
    bench.start(latency_s=1000)
    bench.ask_many(2)
    bench.tick()
    bench.advance(30)
    bench.ask_many(3)
    other = bench.ask("other", "openai:chat:gpt-5-nano")
    assert cancelling.cancel_lane(bench.first.context, CHAT) == Cancelled(answered=3, carried=2)
    late = bench.ask("late")
    bench.drain(rounds=80)
    replies = bench.all_replies()
    assert [replies[each].status for each in (other, late)] == ["succeeded"] * 2
    assert bench.statuses() == {"cancelled": 5, "succeeded": 2}


def test_requests_in_the_retry_pool_of_a_lane_are_cancelled(bench: Any) -> None:
    bench.ask("one [[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert cancelling.cancel_lane(bench.first.context, CHAT) == Cancelled(answered=1)
    assert bench.statuses() == {"cancelled": 1}
