"""When a provider refuses a whole batch, only the guilty lose, and no attempt is used up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batchline.errors import Permanent
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


def test_all_rows_that_fail_validation_are_rejected_at_once(bench: Any) -> None:
    for n in range(40):
        bench.add(CHAT, id=f"guilty{n}", body='{"model":"gpt-5-mini"}')
        bench.sent.append(f"guilty{n}")
    bench.ask_many(2)
    bench.drain()
    assert bench.statuses() == {"failed": 40, "succeeded": 2}
    assert bench.created() == 2


def test_a_batch_in_which_every_row_fails_validation_ends_without_another_create(bench: Any) -> None:
    bench.add(CHAT, id="guilty", body='{"model":"gpt-5-mini"}')
    bench.sent.append("guilty")
    bench.drain()
    assert bench.statuses() == {"failed": 1}
    assert bench.created() == 1


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
    assert (bench.owed(), bench.store.batches.outage("openai").message) == (3, "upload was refused with 404")
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}


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
