"""OpenAI's own payloads, read as data. Objects and lines marked "real" were seen on the live API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from batchline.providers.lines import BadLine
from batchline.providers.openai_lines import parse_result, usage_of
from batchline.providers.openai_wire import (
    FILE_PAGE,
    Batch,
    BatchPage,
    Query,
    pages,
    parse_batch,
    progress_of,
    refusal_of,
    upload_of,
)
from batchline.requests import Usage

COMPLETED = b'{"id":"batch_6abc00d919e081908a2139a6f0445973","object":"batch","endpoint":"/v1/chat/completions","model":"gpt-6-luna","input_file_id":"file-WSWT79PMeoPcEJ3trFKmpQ","completion_window":"24h","status":"completed","output_file_id":"file-V7XpECC2hkGU5DSKJpNEDr","error_file_id":null,"errors":null,"created_at":1790705881,"in_progress_at":1790705882,"finalizing_at":1790706017,"completed_at":1790706019,"expires_at":1790792281,"failed_at":null,"expired_at":null,"cancelling_at":null,"cancelled_at":null,"request_counts":{"completed":19,"failed":0,"total":19},"metadata":{"davka":"2","beh":"test"},"usage":{"input_tokens":25214,"input_tokens_details":{"cached_tokens":0},"output_tokens":12974,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":38188}}'
REFUSED = b'{"id":"batch_6abc00afd0748190b3fefb477db8e5c5","status":"failed","output_file_id":null,"error_file_id":null,"errors":{"object":"list","data":[{"code":"missing_required_parameter","line":1,"message":"Missing required parameter: \'messages\'.","param":"body.messages"}]},"failed_at":1790705840,"request_counts":{"completed":0,"failed":0,"total":0},"metadata":{"davka":"1","beh":"test"}}'
REJECTED = b'{"id":"batch_req_YTpodqz4ZJ8arId5Bm73lIEt","custom_id":"request-5","response":{"status_code":400,"request_id":"0538a1cc8f8f8500bbe07250e6aa2b26","body":{"error":{"message":"This model\'s maximum context length is 128000 tokens. However, you requested 1000024 tokens (...)","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}},"error":null}'
EXPIRED = b'{"id":"batch_req_123","custom_id":"request-3","response":null,"error":{"code":"batch_expired","message":"This request could not be executed before the completion window expired."}}'
FULL = {
    "code": "token_limit_exceeded",
    "line": None,
    "message": "Enqueued token limit reached for gpt-4o-mini in organization org-x. Limit: 2,000,000 enqueued tokens. "
    "Please try again once some in_progress batches have been completed.",
    "param": None,
}


def batch(**fields: Any) -> bytes:
    return json.dumps({"id": "batch_1", "status": "in_progress", "created_at": 1_790_000_000} | fields).encode()


def failed(*errors: dict[str, Any]) -> bytes:
    return batch(status="failed", input_file_id="file-in", errors={"object": "list", "data": list(errors)})


def line(status: int, body: Any, **fields: Any) -> bytes:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return json.dumps({"id": "batch_req_1", "custom_id": "c1", "response": response, "error": None} | fields).encode()


def no_file(lines: frozenset[int]) -> Mapping[int, str]:
    return {}


def read_all(*listed: list[str], by_offset: bool = False) -> tuple[list[str], list[Query]]:
    """Return the ids that a list brings whose pages come again and again, and what was asked for."""
    asked: list[Query] = []

    def read(after: Query) -> BatchPage:
        ids = listed[len(asked) % len(listed)]
        asked.append(after)
        assert len(asked) < 100
        return BatchPage(data=[Batch(id=each, status="completed") for each in ids], has_more=True)

    return [each.id for page in pages(read, by_offset=by_offset) for each in page.data or ()], asked


@pytest.mark.parametrize("by_offset", [True, False])
@pytest.mark.parametrize("listed", [[["a", "b"]], [["a", "b"], ["c"]], [["a"], ["b"], ["c"]]])
def test_a_list_ends_with_the_first_page_that_brings_nothing_new(listed: list[list[str]], by_offset: bool) -> None:
    ids, asked = read_all(*listed, by_offset=by_offset)
    assert ids == [each for page in listed for each in page]
    assert len(asked) == len(listed) + 1


def test_a_list_that_moves_while_it_is_read_is_read_on() -> None:
    """Others are made meanwhile: a page begins with what stood in the one before."""
    ids, asked = read_all(["c", "b"], ["b", "a"], [], by_offset=True)
    assert ids == ["c", "b", "b", "a"]
    assert asked == [{}, {"after": 2}, {"after": 4}]


def test_the_real_completed_batch_has_ended_with_its_output_file() -> None:
    progress = progress_of(parse_batch(COMPLETED))
    assert (progress.outcome, progress.status) == ("completed", "completed")
    assert progress.results == ("file-V7XpECC2hkGU5DSKJpNEDr",)
    assert (progress.total, progress.done, progress.ran) == (19, 19, 19)
    assert (progress.created_ms, progress.ended_ms, progress.expires_ms) == (
        1_790_705_881_000,
        1_790_706_019_000,
        1_790_792_281_000,
    )


def test_a_completed_batch_may_have_only_an_error_file() -> None:
    content = batch(
        status="completed", error_file_id="file-e", request_counts={"completed": 0, "failed": 9, "total": 9}
    )
    progress = progress_of(parse_batch(content))
    assert (progress.outcome, progress.results, progress.done) == ("completed", ("file-e",), 9)


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "never_heard_of"])
def test_a_batch_runs_until_its_status_is_a_known_end(status: str) -> None:
    assert progress_of(parse_batch(batch(status=status))).outcome is None


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_both_files_are_results_however_a_batch_ended(status: str) -> None:
    content = batch(status=status, output_file_id="file-o", error_file_id="file-e")
    progress = progress_of(parse_batch(content))
    assert (progress.outcome, progress.results) == (status, ("file-o", "file-e"))


@pytest.mark.parametrize(
    ("told", "size"),
    [(12, 12), (12.0, 12), (12.5, 12), (None, 0), ("12", 0), (True, 0), ({}, 0), ([1], 0), (-1, 0), (10**30, 0)],
)
def test_a_size_of_another_shape_is_not_told_and_breaks_no_list_of_files(told: Any, size: int) -> None:
    odd, plain = {"id": "f1", "bytes": told, "created_at": 1}, {"id": "f2", "bytes": 7, "created_at": 1}
    page = FILE_PAGE.decode(json.dumps({"data": [odd, plain, {"id": "f3"}]}).encode())
    assert [upload_of(each).size for each in page.data or ()] == [size, 7, 0]


@pytest.mark.parametrize(
    ("told", "ms"),
    [
        (5, 5_000),
        (5.5, 5_500),
        ("1970-01-01T00:00:05Z", 5_000),
        ({}, 0),
        ([5], 0),
        (True, 0),
        ("soon", 0),
        (10**30, 0),
        (None, 0),
    ],
)
def test_a_time_of_another_shape_is_not_told_and_breaks_no_list(told: Any, ms: int) -> None:
    page = FILE_PAGE.decode(json.dumps({"data": [{"id": "f1", "created_at": told}]}).encode())
    assert [upload_of(each).created_ms for each in page.data or ()] == [ms]
    progress = progress_of(parse_batch(batch(created_at=told, expires_at=told, completed_at=told)))
    assert {progress.created_ms, progress.expires_ms, progress.ended_ms} == {ms}


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        parse_batch(b'{"object":"list","data":[]}')


def test_the_real_refusal_names_its_row_by_its_custom_id() -> None:
    refusal = refusal_of(parse_batch(REFUSED), lambda lines: {n: f"row-{n}" for n in lines})
    assert (refusal.scope, refusal.code) == ("rows", "missing_required_parameter")
    assert [(r.custom_id, r.code, r.message) for r in refusal.rows] == [
        ("row-1", "missing_required_parameter", "Missing required parameter: 'messages'.")
    ]
    assert "messages" not in refusal.message


def test_a_full_queue_is_not_the_batchs_fault() -> None:
    refusal = refusal_of(parse_batch(failed(FULL)), no_file)
    assert (refusal.scope, refusal.code) == ("busy", "token_limit_exceeded")


def test_a_file_that_is_not_found_is_to_be_uploaded_again() -> None:
    error = {"code": "invalid_request", "line": None, "message": "Cannot find file file-abc", "param": None}
    assert refusal_of(parse_batch(failed(error)), no_file).scope == "busy"


@pytest.mark.parametrize(
    "errors",
    [
        ({"code": "model_not_found", "line": None, "message": "no such model"},),
        ({"code": "x", "line": 0, "message": "m"},),
        ({"code": None, "line": 3, "message": None},),
    ],
)
def test_a_refusal_that_names_no_row_is_unknown(errors: tuple[dict[str, Any], ...]) -> None:
    assert refusal_of(parse_batch(failed(*errors)), no_file).scope == "unknown"


def test_a_failed_batch_without_errors_gives_no_reason() -> None:
    assert refusal_of(parse_batch(batch(status="failed")), no_file).scope == "untold"
    assert refusal_of(parse_batch(failed()), no_file).scope == "untold"


def test_what_is_said_about_a_row_is_not_said_about_the_batch() -> None:
    error = {"code": "invalid_request", "line": 2, "message": "bad value 'my secret prompt'"}
    assert "secret" not in refusal_of(parse_batch(failed(error)), no_file).message


def test_the_real_rejected_line_is_decided_by_its_status() -> None:
    result = parse_result(REJECTED)
    assert (result.custom_id, result.kind, result.code) == ("request-5", "rejected", "context_length_exceeded")
    assert result.message.startswith("This model's maximum context length")
    assert result.body is None


def test_the_documented_expired_line_is_expired() -> None:
    result = parse_result(EXPIRED)
    assert (result.custom_id, result.kind, result.code) == ("request-3", "expired", "batch_expired")


def test_the_documented_success_brings_its_body_unchanged() -> None:
    body = '{"id":"chatcmpl-1", "usage": {"prompt_tokens":7,"completion_tokens":2}}'
    row = (
        '{"id":"batch_req_123","custom_id":"request-2","response":{"status_code":200,"request_id":"req_123","body":'
        + body
        + '},"error":null}'
    )
    result = parse_result(row.encode())
    assert (result.custom_id, result.kind, result.size) == ("request-2", "succeeded", len(row))
    assert bytes(result.body or b"") == body.encode()
    assert result.usage == Usage(input_tokens=7, output_tokens=2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "succeeded"),
        (201, "succeeded"),
        (400, "rejected"),
        (401, "retryable"),
        (402, "retryable"),
        (403, "rejected"),
        (404, "rejected"),
        (408, "retryable"),
        (409, "retryable"),
        (413, "rejected"),
        (422, "rejected"),
        (429, "retryable"),
        (500, "retryable"),
        (503, "retryable"),
        (0, "retryable"),
        (302, "retryable"),
    ],
)
def test_the_status_of_a_line_decides(status: int, kind: str) -> None:
    assert parse_result(line(status, {"error": {"message": "m", "code": "c"}})).kind == kind


@pytest.mark.parametrize("body", [None, "", "text", [], {"error": "text"}, {"error": None}, {"error": {"code": 7}}])
def test_an_error_body_of_any_shape_is_rejected_by_its_status(body: Any) -> None:
    result = parse_result(line(400, body))
    assert result.kind == "rejected"
    assert result.code
    assert result.message


def test_a_success_without_a_body_is_no_answer() -> None:
    assert parse_result(line(200, None)).kind == "retryable"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "batch_expired", "message": "m"}, "expired"),
        ({"code": "batch_cancelled", "message": "m"}, "cancelled"),
        ({"code": "server_error", "message": "m"}, "retryable"),
        (None, "retryable"),
    ],
)
def test_a_line_without_response_was_not_run(error: Any, kind: str) -> None:
    content = json.dumps({"custom_id": "c", "response": None, "error": error}).encode()
    assert parse_result(content).kind == kind


@pytest.mark.parametrize(
    "error",
    [
        {"message": "the model is not served", "code": 400},
        {"object": "error", "message": "the model is not served", "type": "BadRequestError", "code": "400"},
        {"error": {"message": "the model is not served", "code": 400}},
    ],
)
def test_an_error_beside_a_response_without_a_body_is_read_for_its_reason(error: Any) -> None:
    # vLLM's run-batch "on error sets error and no body".
    result = parse_result(line(400, None, error=error))
    assert (result.kind, result.code, result.message) == ("rejected", "400", "the model is not served")


@pytest.mark.parametrize("error", ["failed", 7, ["a"], {"code": {"a": 1}}])
def test_an_error_of_no_known_shape_tears_no_line(error: Any) -> None:
    assert parse_result(line(200, {"id": "x"}, error=error)).kind == "succeeded"
    content = json.dumps({"custom_id": "c", "response": None, "error": error}).encode()
    assert (parse_result(content).kind, parse_result(content).code) == ("retryable", "")


def test_a_response_decides_even_beside_an_error() -> None:
    assert parse_result(line(200, {"id": "x"}, error={"code": "batch_expired", "message": "m"})).kind == "succeeded"


@pytest.mark.parametrize(
    "content",
    [
        b'{"id":"batch_req_1","response":null,"error":null}',
        b'{"custom_id":"","response":null,"error":null}',
        b'{"custom_id":null,"response":null}',
        REJECTED[:-1],
        REJECTED[: len(REJECTED) // 2],
        b'{"custom_id":"c","response":{"status_code":"200","body":{}}}',
        b'{"custom_id":"c","response":{"status_code":200,"body":{"t":"\xff"}}}',
    ],
)
def test_a_line_that_is_not_as_promised_is_bad(content: bytes) -> None:
    with pytest.raises(BadLine):
        parse_result(content)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                }
            },
            Usage(input_tokens=100, output_tokens=20, cache_read_tokens=64, cache_write_tokens=8),
        ),
        (
            {
                "usage": {
                    "input_tokens": 50,
                    "output_tokens": 9,
                    "input_tokens_details": {
                        "cached_tokens": 10,
                        "cache_write_tokens": 3,
                        "cache_write_tokens_details": {"ttl_30m_tokens": 3, "ttl_12h_tokens": 0},
                    },
                    "output_tokens_details": {"reasoning_tokens": 1},
                }
            },
            Usage(input_tokens=50, output_tokens=9, cache_read_tokens=10, cache_write_tokens=3),
        ),
        (
            {"object": "list", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            Usage(input_tokens=8),
        ),
        (
            {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None}},
            Usage(input_tokens=3, output_tokens=4),
        ),
        ({"id": "modr-1", "results": [{"flagged": False}]}, Usage()),
        ({"usage": None}, Usage()),
        ({"usage": "many"}, None),
        ({"usage": {"prompt_tokens": 2**64 - 1, "completion_tokens": 1}}, None),
        ({"usage": {"prompt_tokens": 10**12 + 1, "completion_tokens": 1}}, None),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": -1}}, None),
        ({"usage": {"input_tokens": 3, "output_tokens": 4, "input_tokens_details": {"cached_tokens": -1}}}, None),
        ({"usage": {"input_tokens": 3, "output_tokens": 10**30}}, None),
    ],
)
def test_usage(body: Any, usage: Usage | None) -> None:
    assert usage_of(json.dumps(body).encode()) == usage
