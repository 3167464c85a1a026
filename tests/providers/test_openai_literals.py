"""Every literal example that the project's notes on OpenAI's wire have, one case of the parser or call it belongs to each.

"Real" ones were seen on the live API, "recorded" ones were sent by the SDK, the others stand in the documentation. Together's
answers are not of this shape (a created batch is nested in ``job``): they belong to no parser here.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from batchline.errors import Ambiguous, Permanent
from batchline.lanes import parse_lane
from batchline.providers.lines import decode_line
from batchline.providers.openai import OpenAIProvider
from batchline.providers.openai_lines import parse_result, usage_of
from batchline.providers.openai_wire import (
    INPUT_LINE,
    in_our_words,
    listed_of,
    parse_batch,
    progress_of,
    refusal_of,
    told_limit,
)
from batchline.providers.presets import OPENAI
from batchline.providers.protocol import AccountAccess, Job, Options, RowRefusal
from batchline.requests import Usage

if TYPE_CHECKING:
    from tests.providers.conftest import Stage

CREATE_BODY = b'{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"file-1","metadata":{"k":"v"},"output_expires_after":{"anchor":"created_at","seconds":3600}}'
COMPLETED = b'{"id":"batch_6abc00d919e081908a2139a6f0445973","object":"batch","endpoint":"/v1/chat/completions","model":"gpt-6-luna","input_file_id":"file-WSWT79PMeoPcEJ3trFKmpQ","completion_window":"24h","status":"completed","output_file_id":"file-V7XpECC2hkGU5DSKJpNEDr","error_file_id":null,"errors":null,"created_at":1790705881,"in_progress_at":1790705882,"finalizing_at":1790706017,"completed_at":1790706019,"expires_at":1790792281,"failed_at":null,"expired_at":null,"cancelling_at":null,"cancelled_at":null,"request_counts":{"completed":19,"failed":0,"total":19},"metadata":{"davka":"2","beh":"test"},"usage":{"input_tokens":25214,"input_tokens_details":{"cached_tokens":0},"output_tokens":12974,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":38188}}'
REFUSED = b'{"id":"batch_6abc00afd0748190b3fefb477db8e5c5","status":"failed","output_file_id":null,"error_file_id":null,"errors":{"object":"list","data":[{"code":"missing_required_parameter","line":1,"message":"Missing required parameter: \'messages\'.","param":"body.messages"}]},"failed_at":1790705840,"request_counts":{"completed":0,"failed":0,"total":0},"metadata":{"davka":"1","beh":"test"}}'
INPUT = b'{"custom_id":"request-1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-...","messages":[...],"max_tokens":1000}}'
SUCCESS = b'{"id":"batch_req_123","custom_id":"request-2","response":{"status_code":200,"request_id":"req_123","body":{...chat.completion with "usage"...}},"error":null}'
REJECTED = b'{"id":"batch_req_YTpodqz4ZJ8arId5Bm73lIEt","custom_id":"request-5","response":{"status_code":400,"request_id":"0538a1cc8f8f8500bbe07250e6aa2b26","body":{"error":{"message":"This model\'s maximum context length is 128000 tokens. However, you requested 1000024 tokens (...)","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}},"error":null}'
EXPIRED = b'{"id":"batch_req_123","custom_id":"request-3","response":null,"error":{"code":"batch_expired","message":"This request could not be executed before the completion window expired."}}'
EMBEDDINGS = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[...]}],"model":..,"usage":{"prompt_tokens":8,"total_tokens":8}}'
TOO_LARGE = b'{"error":{"message":"File is too large.","type":"invalid_request_error","param":null,"code":null}}'
QUEUE_FULL = '{"code":"token_limit_exceeded","line":null,"message":"Enqueued token limit reached for gpt-4o-mini in organization org-… Limit: 2,000,000 enqueued tokens. Please try again once some in_progress batches have been completed.","param":null}'
TWO_MILLION = 2_000_000

JOB = Job(
    batch_id="b1",
    nonce="n1",
    endpoint="chat",
    model="m",
    rows=2,
    intent_ms=1_790_000_000_000,
    lane="openai:chat:m",
    input_ref="file-1",
)


def whole(example: bytes, **parts: bytes) -> bytes:
    """Fill in what the notes leave out of an example with dots."""
    for place, text in parts.items():
        dots = {"messages": b"[...]", "body": b'{...chat.completion with "usage"...}', "model": b".."}[place]
        assert example.count(dots) >= 1
        example = example.replace(dots, text, 1)
    return example


def openai(stage: Stage, **options: Any) -> OpenAIProvider:
    access = AccountAccess(name="acme", key=lambda: "k", base_url=f"{stage.url}/v1", options=Options(**options))
    return OpenAIProvider(access, now=lambda: 0.0)


def failed(*errors: object) -> bytes:
    batch = {"id": "batch_1", "status": "failed", "errors": {"object": "list", "data": list(errors)}}
    return json.dumps(batch).encode()


def test_the_recorded_create_body_is_what_a_create_sends_but_for_the_tag(stage: Stage) -> None:
    stage.says({"id": "batch_1", "status": "validating"})
    openai(stage, files_expire_s=3600).create(io.BytesIO(), JOB, timeout_s=30)
    (asked,) = stage.asked
    tag = b'{"batchline_batch":"b1","batchline_nonce":"n1","batchline_lane":"openai:chat:m"}'
    assert asked.body == CREATE_BODY.replace(b'{"k":"v"}', tag)
    assert asked.headers["authorization"].startswith("Bearer ")
    assert asked.headers["content-type"] == "application/json"
    assert not [name for name in asked.headers if "idempotency" in name]


def test_the_real_completed_batch() -> None:
    batch = in_our_words(parse_batch(COMPLETED), OPENAI.statuses)
    progress, listed = progress_of(batch), listed_of(batch)
    assert (progress.status, progress.outcome, progress.results) == (
        "completed",
        "completed",
        ("file-V7XpECC2hkGU5DSKJpNEDr",),
    )
    assert (progress.total, progress.done, progress.ran) == (19, 19, 19)
    assert (progress.created_ms, progress.ended_ms, progress.expires_ms) == (
        1_790_705_881_000,
        1_790_706_019_000,
        1_790_792_281_000,
    )
    assert (listed.input_ref, listed.batch_id, listed.running, listed.dead) == (
        "file-WSWT79PMeoPcEJ3trFKmpQ",
        "",
        False,
        False,
    )


def test_the_real_validation_failure() -> None:
    batch = parse_batch(REFUSED)
    refusal = refusal_of(batch, lambda lines: dict.fromkeys(lines, "row-1"))
    message = "Missing required parameter: 'messages'."
    assert refusal.rows == (RowRefusal(custom_id="row-1", code="missing_required_parameter", message=message),)
    assert (refusal.scope, refusal.limit) == ("rows", None)
    assert (progress_of(batch).outcome, progress_of(batch).ran) == ("failed", 0)
    assert listed_of(batch).dead


def test_the_documented_input_line_is_how_a_row_is_written_and_read_back() -> None:
    line = whole(INPUT, messages=b"[]")
    body = b'{"model":"gpt-...","messages":[],"max_tokens":1000}'
    provider = OpenAIProvider(AccountAccess(name="acme", key=lambda: "k"))
    assert provider.render("request-1", "chat", body) == line
    assert decode_line(line, INPUT_LINE).custom_id == "request-1"


def test_the_documented_success_line() -> None:
    body = b'{"id":"chatcmpl-1","object":"chat.completion","usage":{"prompt_tokens":7,"completion_tokens":2}}'
    result = parse_result(whole(SUCCESS, body=body))
    assert (result.custom_id, result.kind) == ("request-2", "succeeded")
    assert bytes(result.body or b"") == body
    assert result.usage == Usage(input_tokens=7, output_tokens=2)


def test_the_real_rejected_line() -> None:
    result = parse_result(REJECTED)
    assert (result.custom_id, result.kind, result.code) == ("request-5", "rejected", "context_length_exceeded")
    assert result.message.startswith("This model's maximum context length is 128000 tokens.")
    assert result.body is None


def test_the_documented_expired_line() -> None:
    result = parse_result(EXPIRED)
    assert (result.custom_id, result.kind, result.code) == ("request-3", "expired", "batch_expired")
    assert result.message == "This request could not be executed before the completion window expired."


def test_the_embeddings_body() -> None:
    body = whole(EMBEDDINGS, messages=b"[0.25,-1]", model=b'"text-embedding-3-small"')
    assert usage_of(body) == Usage(input_tokens=8)


def test_the_documented_cache_options_leave_as_they_came() -> None:
    body: dict[str, Any] = {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    }
    provider = OpenAIProvider(AccountAccess(name="acme", key=lambda: "k"))
    OpenAIProvider.facts(Options()).check(parse_lane("openai:chat:gpt-6-luna"), body)
    assert json.loads(provider.render("a", "chat", json.dumps(body).encode()))["body"] == body


def test_the_answer_to_a_file_that_is_too_large(stage: Stage) -> None:
    stage.refuses(400)
    stage.answers[0] = type(stage.answers[0])(status=400, body=TOO_LARGE)
    with pytest.raises(Permanent, match="File is too large") as caught:
        openai(stage).upload(io.BytesIO(b"{}"), JOB)
    assert (caught.value.code, caught.value.status) == ("invalid_request_error", 400)


def test_the_real_full_queue_is_a_failed_batch_that_names_the_limit() -> None:
    error = json.loads(QUEUE_FULL)
    refusal = refusal_of(parse_batch(failed(error)), lambda _: {})
    assert (refusal.scope, refusal.code, refusal.limit) == ("busy", "token_limit_exceeded", TWO_MILLION)
    assert told_limit(error["message"]) == TWO_MILLION


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("Limit: 90000 enqueued tokens.", 90_000),
        ("limit:5,000.", 5_000),
        ("Limit: 2M enqueued tokens", None),
        ("Limit: 1.5B enqueued tokens", None),
        ("Limit: 1,500K", None),
        ("Limit: 0 enqueued tokens", None),
        ("The enqueued token limit is reached", None),
        ("", None),
    ],
)
def test_a_limit_is_read_only_where_it_is_a_plain_number(message: str, limit: int | None) -> None:
    assert told_limit(message) == limit


@pytest.mark.parametrize("code", ["invalid_request", "invalid_file"])
def test_the_real_missing_file_is_not_the_batchs_fault(code: str) -> None:
    error = {"code": code, "line": None, "message": "Cannot find file file-…", "param": None}
    assert refusal_of(parse_batch(failed(error)), lambda _: {}).scope == "busy"


def test_the_real_torn_line_names_its_row() -> None:
    error = {"code": "invalid_json_line", "line": 1, "message": "This line is not parseable as valid JSON."}
    refusal = refusal_of(parse_batch(failed(error)), lambda lines: dict.fromkeys(lines, "row"))
    assert (refusal.scope, refusal.rows[0].code) == ("rows", "invalid_json_line")


def test_the_real_batch_that_completed_with_nothing_but_failures_has_its_error_file_as_results() -> None:
    counts = {"completed": 0, "failed": 9, "total": 9}
    told = {"status": "completed", "output_file_id": None, "error_file_id": "file-e", "request_counts": counts}
    progress = progress_of(parse_batch(json.dumps({"id": "batch_1"} | told).encode()))
    assert (progress.outcome, progress.results, progress.ran) == ("completed", ("file-e",), 9)


def test_the_real_expired_batch_counts_what_expired_in_its_total_only() -> None:
    counts = {"total": 10, "completed": 1, "failed": 0}
    told = {"status": "expired", "output_file_id": "file-o", "request_counts": counts}
    progress = progress_of(parse_batch(json.dumps({"id": "batch_1"} | told).encode()))
    assert (progress.outcome, progress.total, progress.ran, progress.results) == ("expired", 10, 1, ("file-o",))


def test_a_create_that_is_one_of_three_by_default_is_one_here(stage: Stage) -> None:
    stage.refuses(500)
    with pytest.raises(Ambiguous):
        openai(stage).create(io.BytesIO(), JOB, timeout_s=30)
    assert len(stage.asked) == 1
