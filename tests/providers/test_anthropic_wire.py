"""Anthropic's own payloads, read as data."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from batchline.providers.anthropic import RequestsBody
from batchline.providers.anthropic_wire import parse_batch, parse_result, progress_of, usage_of
from batchline.providers.lines import BadLine
from batchline.requests import Usage

RUNNING = b'{"id":"msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d","type":"message_batch","processing_status":"in_progress","request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},"ended_at":null,"created_at":"2024-09-24T18:37:24.100435Z","expires_at":"2024-09-25T18:37:24.100435Z","cancel_initiated_at":null,"results_url":null}'
SUCCEEDED = '{"custom_id":"my-second-request","result":{"type":"succeeded","message":{"id":"msg_014V…","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"Hello again!"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":36}}}}'.encode()
ERRORED = b'{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"},"request_id":null}}}'


def batch(**fields: Any) -> bytes:
    return json.dumps(json.loads(RUNNING) | fields).encode()


def errored(kind: str) -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": "m"}}
    return json.dumps({"custom_id": "c", "result": {"type": "errored", "error": error}}).encode()


def test_the_documented_batch_is_running() -> None:
    progress = progress_of(parse_batch(RUNNING))
    assert (progress.outcome, progress.status, progress.results) == (None, "in_progress", ())
    assert (progress.total, progress.done, progress.created_ms) == (2, 0, 1_727_203_044_100)
    assert progress.expires_ms - progress.created_ms == 24 * 3600 * 1000


def test_an_ended_batch_has_its_results_url() -> None:
    counts = {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 1}
    ended = {"processing_status": "ended", "ended_at": "2024-09-24T19:00:00Z", "results_url": "https://x/results"}
    progress = progress_of(parse_batch(batch(request_counts=counts, **ended)))
    assert (progress.outcome, progress.results) == ("completed", ("https://x/results",))
    assert (progress.total, progress.done, progress.ended_ms) == (3, 3, 1_727_204_400_000)


def test_an_ended_batch_without_an_address_has_its_results_where_they_always_are() -> None:
    progress = progress_of(parse_batch(batch(processing_status="ended", results_url=None)))
    assert progress.results == (f"/v1/messages/batches/{progress.provider_id}/results",)


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "soon", "", {}, True, 10**30],
)
def test_a_time_that_is_none_is_not_told(moment: Any) -> None:
    assert progress_of(parse_batch(batch(created_at=moment))).created_ms == 0


def test_what_expired_or_was_cancelled_was_not_run() -> None:
    counts = {"processing": 0, "succeeded": 4, "errored": 3, "canceled": 2, "expired": 1}
    progress = progress_of(parse_batch(batch(request_counts=counts, processing_status="ended")))
    assert (progress.done, progress.ran) == (10, 7)


def test_an_ended_batch_that_was_asked_to_stop_is_cancelled_and_keeps_its_results() -> None:
    progress = progress_of(
        parse_batch(
            batch(processing_status="ended", cancel_initiated_at="2024-09-24T18:50:00+00:00", results_url="https://x/r")
        )
    )
    assert (progress.outcome, progress.results) == ("cancelled", ("https://x/r",))


@pytest.mark.parametrize("status", ["in_progress", "canceling", "never_heard_of"])
def test_a_batch_runs_until_it_has_ended(status: str) -> None:
    assert progress_of(parse_batch(batch(processing_status=status))).outcome is None


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        parse_batch(b'{"data":[],"has_more":false}')


def test_the_documented_success_brings_its_message_unchanged() -> None:
    result = parse_result(SUCCEEDED)
    assert (result.custom_id, result.kind, result.size) == ("my-second-request", "succeeded", len(SUCCEEDED))
    assert json.loads(bytes(result.body or b""))["content"][0]["text"] == "Hello again!"
    assert result.usage == Usage(input_tokens=11, output_tokens=36)


def test_the_documented_invalid_request_is_rejected() -> None:
    result = parse_result(ERRORED)
    assert (result.custom_id, result.kind, result.code) == ("b", "rejected", "invalid_request_error")
    assert result.message == "max_tokens: Field required"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"custom_id":"c","result":{"type":"expired"}}', "expired"),
        (b'{"custom_id":"d","result":{"type":"canceled"}}', "cancelled"),
        (b'{"custom_id":"e","result":{"type":"never_heard_of"}}', "retryable"),
        (b'{"custom_id":"e","result":{"type":"errored"}}', "retryable"),
        (b'{"custom_id":"e","result":{"type":"succeeded"}}', "retryable"),
    ],
)
def test_what_was_not_run(content: bytes, kind: str) -> None:
    assert parse_result(content).kind == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("invalid_request_error", "rejected"),
        ("not_found_error", "rejected"),
        ("request_too_large", "rejected"),
        ("authentication_error", "retryable"),
        ("permission_error", "retryable"),
        ("billing_error", "retryable"),
        ("rate_limit_error", "retryable"),
        ("timeout_error", "retryable"),
        ("api_error", "retryable"),
        ("overloaded_error", "retryable"),
        ("conflict_error", "retryable"),
    ],
)
def test_the_type_of_an_error_decides(error: str, kind: str) -> None:
    assert parse_result(errored(error)).kind == kind


@pytest.mark.parametrize(
    "content",
    [
        b'{"result":{"type":"expired"}}',
        b'{"custom_id":"","result":{"type":"expired"}}',
        b'{"custom_id":"c"}',
        SUCCEEDED[:-1],
        SUCCEEDED[:90],
        b'{"custom_id":"c","result":{"type":"succeeded","message":{"t":"\xff"}}}',
    ],
)
def test_a_line_that_is_not_as_promised_is_bad(content: bytes) -> None:
    with pytest.raises(BadLine):
        parse_result(content)


def test_what_a_compaction_used_is_counted_beside_the_sums() -> None:
    used = {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11}
    compaction = {"type": "compaction", "input_tokens": 100, "output_tokens": 200, "cache_read_input_tokens": 300}
    entries = [compaction, {"type": "message"} | used, {"type": "advisor_message", "model": "m"} | used]
    message = {"usage": used | {"iterations": entries}}
    assert usage_of(json.dumps(message).encode()) == Usage(
        input_tokens=3 + 7 + 11 + 100 + 300, output_tokens=205, cache_read_tokens=307, cache_write_tokens=11
    )


def test_all_input_is_counted_cached_or_not() -> None:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2},
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
        "server_tool_use": None,
        "service_tier": "batch",
    }
    body = json.dumps({"usage": usage}).encode()
    assert usage_of(body) == Usage(input_tokens=115, output_tokens=7, cache_read_tokens=100, cache_write_tokens=5)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 2**64 - 1},
        {"output_tokens": -1},
        {"cache_read_input_tokens": 10**12 + 1},
        {"input_tokens": 10**12, "cache_read_input_tokens": 1},
        {"iterations": [{"type": "compaction", "input_tokens": 10**12}] * 2},
    ],
)
def test_counts_beyond_belief_are_not_known(usage: dict[str, Any]) -> None:
    assert usage_of(json.dumps({"usage": usage}).encode()) is None


@pytest.mark.parametrize("body", [b'{"usage":{"input_tokens":"many"}}', b'{"usage":[]}'])
def test_usage_of_an_unknown_shape_is_not_known(body: bytes) -> None:
    assert usage_of(body) is None


@pytest.mark.parametrize("content", [b'{"a":1}\n{"a":2}\n', b'{"a":1}\n{"a":2}', b'{"a":1}\n'])
def test_the_streamed_body_is_a_list_of_the_rows_and_knows_its_length(content: bytes) -> None:
    body = RequestsBody(io.BytesIO(content), deadline=1.0, clock=lambda: 0.0)
    sent = b"".join(body)
    assert json.loads(sent) == {"requests": [json.loads(row) for row in content.splitlines()]}
    assert (body.length, body.complete) == (len(sent), True)


def test_the_streamed_body_stops_at_its_deadline_and_is_known_to_be_torn() -> None:
    times = iter([0.0, 0.0, 2.0])
    body = RequestsBody(io.BytesIO(b"x" * 1_000_000), deadline=1.0, clock=lambda: next(times))
    with pytest.raises(TimeoutError):
        list(body)
    assert not body.complete


def test_a_file_that_became_shorter_is_not_sent_as_whole() -> None:
    rows = io.BytesIO(b'{"a":1}\n{"a":2}\n')
    body = RequestsBody(rows, deadline=1.0, clock=lambda: 0.0)
    rows.truncate(8)
    with pytest.raises(EOFError):
        list(body)
    assert not body.complete
