"""When a provider refuses a whole batch, only the guilty lose, and no attempt is used up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import NotFound, Permanent
from batchline.providers.protocol import Refusal

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"


def guilty_alone(bench: Any, *, lane: str = CHAT, text: str = "guilty", code: str = "bad_request") -> Any:
    """Let every create call be refused whose rows hold a text."""

    def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        rows.seek(0)
        if text.encode() in rows.read():
            raise Permanent("create was refused with 400", account=lane.split(":", 1)[0], call="create", code=code)
        rows.seek(0)
        return real(rows, job, timeout_s=timeout_s)

    provider = bench.first.openai if lane == CHAT else bench.first.anthropic
    provider.replace("create", create)
    return provider


@pytest.mark.usefixtures("unchecked")
def test_a_row_that_fails_validation_is_rejected_and_the_rest_goes_again(bench: Any) -> None:
    good = bench.ask_many(3)
    bench.add(CHAT, id="guilty", body='{"model":"gpt-5-mini"}')
    bench.sent.append("guilty")
    good += bench.ask_many(3)
    bench.drain()
    reply = bench.reply("guilty")
    assert (reply.status, reply.error.code, reply.error.provider_code) == (
        "failed",
        "rejected",
        "missing_required_parameter",
    )
    assert reply.error.retryable is False
    assert {bench.reply(request_id).attempts for request_id in good} == {1}
    assert bench.statuses() == {"succeeded": 6, "failed": 1}
    assert len(bench.batches()) == 1
    assert bench.created() == 2


@pytest.mark.usefixtures("unchecked")
def test_all_rows_that_fail_validation_are_rejected_at_once(bench: Any) -> None:
    for n in range(40):
        bench.add(CHAT, id=f"guilty{n}", body='{"model":"gpt-5-mini"}')
        bench.sent.append(f"guilty{n}")
    bench.ask_many(2)
    bench.drain()
    assert bench.statuses() == {"failed": 40, "succeeded": 2}
    assert bench.created() == 2


@pytest.mark.usefixtures("unchecked")
def test_a_batch_in_which_every_row_fails_validation_ends_without_another_create(bench: Any) -> None:
    bench.add(CHAT, id="guilty", body='{"model":"gpt-5-mini"}')
    bench.sent.append("guilty")
    bench.drain()
    assert bench.statuses() == {"failed": 1}
    assert bench.created() == 1


@pytest.mark.usefixtures("unchecked")
def test_a_crash_after_the_guilty_were_settled_costs_the_innocent_nothing(bench: Any, death: Any) -> None:
    bench.add(CHAT, id="guilty", body='{"model":"gpt-5-mini"}')
    bench.sent.append("guilty")
    bench.ask_many(3)
    bench.first.batches.break_before("again", death())
    bench.tick()
    bench.advance(10)
    with pytest.raises(death):
        bench.tick()
    bench.lapse()
    bench.advance(30)
    bench.drain(bench.worker("second"))
    assert bench.statuses() == {"failed": 1, "succeeded": 3}
    assert len(bench.batches()) == 1


def test_a_full_token_queue_is_waited_for_without_using_an_attempt(bench: Any) -> None:
    bench.start(enqueued_token_limits={"gpt-5-mini": 1_000}, latency_s=600)
    first = bench.ask("x" * 3_600)
    bench.tick()
    second = bench.ask("y" * 3_600)
    bench.tick()
    bench.advance(20)
    bench.tick()
    waiting = next(batch for batch in bench.batches() if batch.reason)
    assert (waiting.state, waiting.reason) == ("cut", "token_limit_exceeded")
    bench.drain(step_s=60)
    assert {bench.reply(request_id).attempts for request_id in (first, second)} == {1}
    assert bench.statuses() == {"succeeded": 2}


def full(real: Any, provider_id: str) -> Any:
    """Answer a poll as OpenAI does whose queue is in use by others of the organization."""
    message = "Enqueued token limit reached for gpt-5-mini. Limit: 2,000,000 enqueued tokens."
    refusal = Refusal(scope="busy", code="token_limit_exceeded", message=message, limit=2_000_000)
    return msgspec.structs.replace(real(provider_id), outcome="failed", refusal=refusal)


def unnamed(real: Any, provider_id: str) -> Any:
    """Answer a poll as a provider does whose refusals do not name the limit of its queue."""
    seen = real(provider_id)
    return msgspec.structs.replace(seen, refusal=seen.refusal and msgspec.structs.replace(seen.refusal, limit=None))


def waits(bench: Any) -> list[int]:
    """Return in how many seconds each batch in ``cut`` goes again."""
    return [(batch.next_ms - bench.now_ms) // 1000 for batch in bench.open_batches() if batch.state == "cut"]


def go_on(bench: Any, seconds: float) -> None:
    """Let time pass, then have what is due created, and see what its provider says of it."""
    bench.advance(seconds)
    bench.tick()
    bench.advance(10)
    bench.tick()


def test_a_batch_larger_than_the_whole_token_queue_is_halved_until_it_fits(bench: Any) -> None:
    bench.start(enqueued_token_limits={"gpt-5-mini": 20})
    bench.ask_many(30)
    bench.drain(rounds=400, step_s=60)
    assert bench.statuses() == {"succeeded": 30}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.bill()["double_executions"] == 0


@pytest.mark.parametrize("named", [True, False], ids=["limit named", "limit not named"])
def test_a_batch_that_finds_the_queue_full_behind_a_larger_one_is_not_halved(bench: Any, *, named: bool) -> None:
    bench.start(enqueued_token_limits={"gpt-5-mini": 100}, latency_s=10 * 3600)
    if not named:
        bench.first.openai.replace("poll", unnamed)
    bench.ask_many(20)
    go_on(bench, 0)
    bench.ask_many(19)
    for _ in range(40):
        go_on(bench, 600)
    assert sorted((batch.state, batch.requests) for batch in bench.open_batches()) == [("cut", 19), ("submitted", 20)]
    bench.drain(rounds=100, step_s=1800)
    assert bench.statuses() == {"succeeded": 39}


def test_a_batch_behind_others_is_not_asked_for_again_before_there_is_the_room_that_its_provider_named(
    bench: Any,
) -> None:
    bench.start(enqueued_token_limits={"gpt-5-mini": 20}, latency_s=10 * 3600)
    bench.ask("x")
    go_on(bench, 0)
    bench.ask_many(16)
    for _ in range(3):
        go_on(bench, 900)
    assert bench.created() == 2
    bench.drain(rounds=400, step_s=1800)
    assert bench.statuses() == {"succeeded": 17}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}


def test_each_time_the_queue_is_full_doubles_the_wait_up_to_a_quarter_of_an_hour(bench: Any) -> None:
    bench.first.openai.replace("poll", full)
    bench.ask("y" * 3_600)
    seen = []
    for _ in range(6):
        go_on(bench, 900)
        seen += waits(bench)
    assert seen == [60, 120, 240, 480, 900, 900]


def test_a_single_request_that_the_queue_never_takes_is_kept_reported_and_can_be_cancelled(bench: Any) -> None:
    bench.start(enqueued_token_limits={"gpt-5-mini": 1})
    bench.ask("hello", id="large")
    with capture_logs() as logs:
        for _ in range(10):
            go_on(bench, 900)
    assert (bench.owed(), bench.created()) == (1, 10)
    told = [event for event in logs if event["event"] == "batch.no_room"]
    assert [event["times"] for event in told] == list(range(3, 11))
    (batch,) = bench.open_batches()
    cancelling.cancel_batch(bench.first.context, batch.id)
    bench.drain()
    assert bench.reply("large").status == "cancelled"


def test_a_file_that_is_too_large_for_the_provider_is_halved_until_it_fits(bench: Any) -> None:
    bench.start(max_file_bytes=3_000)
    bench.ask_many(40)
    bench.drain()
    assert bench.statuses() == {"succeeded": 40}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.store.accounts.outage("openai").failures == 0
    assert bench.bill()["double_executions"] == 0


def test_a_batch_of_fewer_bytes_than_the_queue_has_tokens_is_halved_only_after_a_long_time(bench: Any) -> None:
    bench.first.openai.replace("poll", full)
    bench.ask_many(4)
    seen = []
    for _ in range(12):
        go_on(bench, 900)
        seen.append(len(bench.open_batches()))
    assert seen == [1] * 11 + [2]


def test_a_request_that_alone_is_too_large_a_file_is_rejected(bench: Any) -> None:
    bench.start(max_file_bytes=3_000)
    good = bench.ask_many(3)
    large = bench.ask("x" * 4_000)
    bench.drain()
    reply = bench.reply(large)
    assert (reply.status, reply.error.code) == ("failed", "rejected")
    assert "too large" in reply.error.message
    assert {bench.reply(request_id).status for request_id in good} == {"succeeded"}


@pytest.mark.parametrize("code", ["405", "301", "UnsupportedProtocol"])
def test_an_upload_to_a_wrong_address_refuses_no_request(bench: Any, code: str) -> None:
    wrong = Permanent("upload was refused", account="openai", call="upload", code=code)
    bench.first.openai.break_before("upload", wrong, NotFound("nobody", account="openai", call="upload", code="gone"))
    bench.ask_many(3)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert len(bench.batches()) == 1


def test_an_input_file_that_is_gone_is_uploaded_again(bench: Any) -> None:
    def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        bench.first.openai.delete_file(job.input_ref)
        bench.first.openai.replace("create", lambda real, *args, **named: real(*args, **named))
        return real(rows, job, timeout_s=timeout_s)

    bench.first.openai.replace("create", create)
    request_id = bench.ask("hello")
    bench.drain(step_s=60)
    assert bench.reply(request_id).attempts == 1
    assert bench.first.openai.calls["upload"] == 2


@pytest.mark.parametrize("lane", [CHAT, HAIKU])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_a_refused_create_is_halved_until_the_guilty_is_alone(bench: Any, lane: str, count: int) -> None:
    guilty_alone(bench, lane=lane)
    bench.ask_many(count // 2, lane)
    guilty = bench.ask("guilty", lane)
    bench.ask_many(count - count // 2, lane)
    bench.drain()
    reply = bench.reply(guilty, lane)
    assert (reply.status, reply.error.code, reply.error.provider_code) == ("failed", "rejected", "bad_request")
    assert bench.statuses() == {"succeeded": count, "failed": 1}
    assert {each.attempts for each in bench.all_replies().values() if each.status == "succeeded"} == {1}
    assert bench.bill()["double_executions"] == 0


def test_two_guilty_are_both_found(bench: Any) -> None:
    guilty_alone(bench)
    bench.ask("guilty one")
    bench.ask_many(6)
    bench.ask("guilty two")
    bench.drain()
    assert bench.statuses() == {"succeeded": 6, "failed": 2}


def test_guilty_riders_are_found_among_the_innocent(bench: Any) -> None:
    bench.ask_many(3)
    bench.ask("guilty [[fail-once]]")
    bench.ask("innocent [[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.owed() == 2
    guilty_alone(bench)
    bench.ask_many(3)
    bench.drain()
    assert bench.statuses() == {"succeeded": 7, "failed": 1}
    assert bench.bill()["double_executions"] == 0


def test_what_all_rows_share_is_not_halved(bench: Any) -> None:
    provider = guilty_alone(bench, text="question", code="model_not_found")
    bench.ask_many(8)
    bench.drain()
    assert bench.statuses() == {"failed": 8}
    assert provider.calls["create"] == 1


def test_an_upload_that_is_refused_for_good_waits_for_a_person_and_says_so(bench: Any) -> None:
    refused = Permanent("upload was refused with 404", account="openai", call="upload", code="404")
    bench.first.openai.break_before("upload", refused, refused)
    bench.ask_many(3)
    bench.tick()
    assert (bench.owed(), bench.store.accounts.outage("openai").message) == (3, "upload was refused with 404")
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}


@pytest.mark.usefixtures("unchecked")
def test_a_batch_that_is_refused_without_a_row_named_is_halved(bench: Any) -> None:
    def poll(real: Any, provider_id: str) -> Any:
        progress = real(provider_id)
        if progress.outcome == "failed":
            unknown = Refusal(scope="unknown", code="invalid_file", message="something is wrong")
            return msgspec.structs.replace(progress, refusal=unknown)
        return progress

    bench.first.openai.replace("poll", poll)
    bench.ask_many(5)
    bench.add(CHAT, id="guilty", body='{"model":"gpt-5-mini"}')
    bench.sent.append("guilty")
    bench.drain()
    assert bench.reply("guilty").error.code == "rejected"
    assert bench.statuses() == {"succeeded": 5, "failed": 1}
    assert bench.bill()["double_executions"] == 0
