"""Gemini's own payloads, read as data. Those marked "real" or "reference" are taken from Google's own pages."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from batchline.providers.failures import read_error
from batchline.providers.gemini import INLINE_BYTES
from batchline.providers.gemini_lines import (
    inline_item,
    inline_results,
    inline_size,
    key_of,
    parse_result,
    row,
    usage_of,
)
from batchline.providers.gemini_wire import (
    create_body,
    inline_items,
    listed_of,
    parse_operation,
    parse_page,
    progress_of,
    tag,
)
from batchline.providers.lines import BadLine
from batchline.providers.protocol import Job
from batchline.requests import Usage

# The reference's operation, with what it leaves open filled in.
REFERENCE = b'{"name":"batches/123","metadata":{"@type":"type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch","model":"models/gemini-3.8-flash","name":"batches/123","displayName":"d","inputConfig":{"fileName":"files/abc123"},"output":{"responsesFile":"files/batch-123"},"createTime":"2026-10-21T07:28:00.123456789Z","updateTime":"2026-10-21T08:00:00Z","endTime":"2026-10-21T08:28:00Z","batchStats":{"requestCount":"2","successfulRequestCount":"2","failedRequestCount":"0","pendingRequestCount":"0"},"state":"BATCH_STATE_SUCCEEDED"},"done":true,"response":{"@type":"type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput","responsesFile":"files/batch-123"}}'
REAL_LINE = '{"response":{"responseId":"6VFk…","usageMetadata":{"totalTokenCount":848,"promptTokensDetails":[{"modality":"TEXT","tokenCount":8}],"thoughtsTokenCount":829,"candidatesTokenCount":11,"promptTokenCount":8},"candidates":[{"content":{"role":"model","parts":[{"text":"…"}]},"finishReason":"STOP","index":0}],"modelVersion":"gemini-3.7-flash"},"key":"request_1"}'
INPUT_LINE = (
    '{"key":"request-1","request":{"contents":[{"parts":[{"text":"…"}]}],"generation_config":{"temperature":0.7}}}'
)
ERROR_LINE = b'{"key":"request-2","error":{"code":3,"message":"\xe2\x80\xa6"}}'
QUOTA = b'{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. \xe2\x80\xa6","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more about Gemini API quotas","url":"https://ai.google.dev/gemini-api/docs/rate-limits"}]}]}}'
INLINE_BODY = b'{"batch":{"inputConfig":{"requests":{"requests":[{"request":{"contents":[{"parts":[{"text":"hi"}],"role":"user"}],"systemInstruction":{"parts":[{"text":"sys"}]},"generationConfig":{"temperature":0.2,"maxOutputTokens":5}},"metadata":{"key":"r1"}}]}},"displayName":"d1"}}'
FILE_BODY = b'{"batch":{"inputConfig":{"fileName":"files/abc123"},"displayName":"d2"}}'
"""As the SDK sent it, without the webhook, which is not asked for here."""

JOB = Job(
    batch_id="b1", nonce="n1", endpoint="generate", model="m", rows=1, intent_ms=0, lane="gemini:generate:m|tenant=x"
)


def operation(state: str = "BATCH_STATE_RUNNING", *, stats: Any = None, **fields: Any) -> bytes:
    outer = {name: fields.pop(name) for name in ("done", "error", "response") if name in fields}
    metadata = {"state": state, "createTime": "2026-10-21T07:28:00Z", "batchStats": stats or {}} | fields
    return json.dumps({"name": "batches/1", "metadata": metadata} | outer).encode()


def test_the_references_operation_has_ended_with_its_file_and_its_counts() -> None:
    progress = progress_of(parse_operation(REFERENCE))
    assert (progress.provider_id, progress.outcome, progress.status) == ("batches/123", "completed", "SUCCEEDED")
    assert progress.results == ("files/batch-123",)
    assert (progress.total, progress.done, progress.ran) == (2, 2, 2)
    assert (progress.created_ms, progress.ended_ms) == (1_792_567_680_123, 1_792_571_280_000)
    assert progress.expires_ms - progress.created_ms == 48 * 3_600_000


def test_a_listed_operation_tells_its_file_and_its_counts() -> None:
    listed = listed_of(parse_operation(REFERENCE))
    assert (listed.input_ref, listed.total, listed.running, listed.dead) == ("files/abc123", 2, False, False)
    assert (listed.batch_id, listed.nonce, listed.lane) == ("", "", "")


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("UNSPECIFIED", None),
        ("PENDING", None),
        ("RUNNING", None),
        ("SUCCEEDED", "completed"),
        ("PARTIALLY_SUCCEEDED", "completed"),
        ("FAILED", "failed"),
        ("CANCELLED", "cancelled"),
        ("EXPIRED", "expired"),
        ("QUEUED", None),
        ("CANCELLING", None),
        ("PAUSED", None),
        ("UPDATING", None),
        ("NEVER_HEARD_OF", None),
    ],
)
def test_a_state_under_either_name_means(prefix: str, state: str, outcome: str | None) -> None:
    assert progress_of(parse_operation(operation(prefix + state))).outcome == outcome


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"done": True, "error": {"code": 1, "message": "cancelled"}}, "cancelled"),
        ({"done": True, "error": {"code": 13, "message": "boom"}}, "failed"),
        ({"done": True, "response": {"responsesFile": "files/o"}}, "completed"),
        ({"done": True}, None),  # a state that is known to run is believed
        ({"done": False, "error": {"code": 13}}, None),
    ],
)
def test_what_is_done_has_ended_whatever_its_state(fields: dict[str, Any], outcome: str | None) -> None:
    assert progress_of(parse_operation(operation("BATCH_STATE_RUNNING", **fields))).outcome == outcome


def test_a_cancelled_operation_without_results_has_nothing_to_wait_for() -> None:
    stats = {"requestCount": "5", "successfulRequestCount": "3"}
    content = operation("BATCH_STATE_CANCELLED", stats=stats, done=True, error={"code": 1, "message": "cancelled"})
    progress = progress_of(parse_operation(content))
    assert (progress.outcome, progress.results, progress.ran, progress.done) == ("cancelled", (), 0, 3)
    assert progress.refusal is None


def test_partial_results_of_a_cancelled_batch_are_read() -> None:
    content = operation(
        "BATCH_STATE_CANCELLED", stats={"successfulRequestCount": 3}, output={"responsesFile": "files/o"}
    )
    progress = progress_of(parse_operation(content))
    assert (progress.results, progress.ran) == (("files/o",), 3)


def test_an_expired_batch_that_has_results_all_the_same_is_read() -> None:
    content = operation(
        "BATCH_STATE_EXPIRED", stats={"successfulRequestCount": "3"}, output={"responsesFile": "files/o"}
    )
    progress = progress_of(parse_operation(content))
    assert (progress.outcome, progress.results, progress.ran) == ("expired", ("files/o",), 3)


def test_an_expired_batch_without_results_has_nothing_to_wait_for() -> None:
    progress = progress_of(parse_operation(operation("BATCH_STATE_EXPIRED", stats={"successfulRequestCount": "3"})))
    assert (progress.outcome, progress.results, progress.ran) == ("expired", (), 0)


@pytest.mark.parametrize(("stats", "ran"), [(None, 1), ({"requestCount": "7"}, 7), ({"failedRequestCount": "2"}, 2)])
@pytest.mark.parametrize("state", ["", "BATCH_STATE_UNSPECIFIED", "NEVER_HEARD_OF", "BATCH_STATE_SUCCEEDED"])
def test_what_is_done_and_tells_nothing_has_ended_and_its_results_are_looked_for(
    state: str, stats: dict[str, str] | None, ran: int
) -> None:
    progress = progress_of(parse_operation(operation(state, stats=stats, done=True)))
    assert (progress.outcome, progress.results, progress.ran) == ("completed", (), ran)


def test_the_reason_of_a_failed_batch_is_told() -> None:
    content = operation("BATCH_STATE_FAILED", done=True, error={"code": 3, "message": "boom"})
    refusal = progress_of(parse_operation(content)).refusal
    assert refusal is not None
    assert (refusal.scope, refusal.code, refusal.message) == ("unknown", "INVALID_ARGUMENT", "boom")


@pytest.mark.parametrize("error", [{"code": 8}, {"code": 429}, {"code": 429, "status": "RESOURCE_EXHAUSTED"}])
def test_a_batch_that_failed_for_its_quota_is_not_at_fault(error: dict[str, Any]) -> None:
    refusal = progress_of(parse_operation(operation("BATCH_STATE_FAILED", error=error))).refusal
    assert refusal is not None
    assert refusal.scope == "busy"


@pytest.mark.parametrize("fields", [{}, {"error": {}}, {"error": None}])
def test_a_batch_that_failed_without_a_word_is_refused_for_untold_reasons(fields: dict[str, Any]) -> None:
    refusal = progress_of(parse_operation(operation("BATCH_STATE_FAILED", **fields))).refusal
    assert refusal is not None
    assert (refusal.scope, refusal.code) == ("untold", "failed")


@pytest.mark.parametrize("code", [1, 2, 4, 10, 13, 14, 15, 16, 500, 503])
def test_a_batch_that_google_broke_down_over_is_not_refused(code: int) -> None:
    stats = {"requestCount": "5", "successfulRequestCount": "2"}
    content = operation("BATCH_STATE_FAILED", done=True, stats=stats, error={"code": code, "message": "boom"})
    progress = progress_of(parse_operation(content))
    assert (progress.outcome, progress.refusal, progress.results, progress.ran) == ("failed", None, (), 0)
    assert progress.reason.endswith(": boom")


GONE = "You do not have permission to access the File abcdefghijkl or it may not exist."


@pytest.mark.parametrize(
    ("error", "own", "told"),
    [
        ({"code": 7, "message": GONE}, "files/abcdefghijkl", ("busy", "invalid_file")),
        ({"code": 403, "message": GONE}, "files/abcdefghijkl", ("busy", "invalid_file")),
        ({"code": 5, "message": "Requested entity was not found."}, "files/in", ("busy", "invalid_file")),
        ({"code": 9, "message": "The File abcdefghijkl is not in an ACTIVE state."}, "files/abcdefghijkl", None),
        ({"code": 9, "message": "Precondition check failed."}, "", None),
        ({"code": 7, "message": "The caller does not have permission"}, "", ("busy", "PERMISSION_DENIED")),
        # What a row may name is its own fault.
        ({"code": 7, "message": GONE}, "files/another", ("unknown", "PERMISSION_DENIED")),
        ({"code": 7, "message": GONE}, "", ("unknown", "PERMISSION_DENIED")),
        ({"code": 7, "message": "CachedContent not found (or permission denied)"}, "files/in", ("unknown", None)),
        ({"code": 5, "message": "models/none is not found"}, "files/in", ("unknown", "model_not_found")),
        ({"message": "something without a code"}, "files/in", ("unknown", "failed")),
    ],
)
def test_a_batch_that_failed_for_its_file_waits_and_one_that_failed_for_a_rows_does_not(
    error: dict[str, Any], own: str, told: tuple[str, str | None] | None
) -> None:
    content = operation("BATCH_STATE_FAILED", error=error, inputConfig={"fileName": own} if own else None)
    refusal = progress_of(parse_operation(content)).refusal
    assert refusal is not None
    scope, code = told or ("busy", "FAILED_PRECONDITION")
    assert (refusal.scope, refusal.code) == (scope, code or refusal.code)


def test_a_time_at_the_edge_of_what_there_is_is_no_time() -> None:
    assert parse_operation(operation(createTime="0001-01-01T00:00:00")).created_ms == 0


def test_a_batch_that_failed_with_results_is_read_and_not_refused() -> None:
    content = operation("BATCH_STATE_FAILED", error={"code": 13}, output={"responsesFile": "files/o"})
    progress = progress_of(parse_operation(content))
    assert (progress.outcome, progress.refusal, progress.results) == ("completed", None, ("files/o",))


@pytest.mark.parametrize("where", ["response", "output"])
@pytest.mark.parametrize("name", ["inlinedResponses", "inlinedEmbedContentResponses"])
def test_results_inside_the_operation_are_read_from_the_operation(where: str, name: str) -> None:
    inside = {name: {"inlinedResponses": [{"response": {"a": 1}}, {"error": {"code": 3}}]}}
    read = parse_operation(operation("BATCH_STATE_SUCCEEDED", **{where: inside}))
    assert progress_of(read).results == ("batches/1",)
    assert [bytes(each) for each in inline_items(read)] == [b'{"response": {"a": 1}}', b'{"error": {"code": 3}}']


def test_fields_may_come_in_snake_case_and_counts_as_numbers() -> None:
    content = json.dumps(
        {
            "name": "batches/1",
            "metadata": {
                "state": "JOB_STATE_SUCCEEDED",
                "display_name": "batchline:b1:n1:l",
                "create_time": "2026-10-21T07:28:00Z",
                "batch_stats": {"request_count": 2, "successful_request_count": 1, "failed_request_count": 1},
                "input_config": {"file_name": "files/i"},
                "output": {"responses_file": "files/o"},
            },
        }
    )
    read = parse_operation(content.encode())
    assert (progress_of(read).ran, progress_of(read).results) == (2, ("files/o",))
    assert (listed_of(read).nonce, listed_of(read).input_ref) == ("n1", "files/i")


def test_nulls_are_as_good_as_nothing() -> None:
    content = b'{"name":"batches/1","done":null,"error":null,"response":null,"metadata":{"state":"BATCH_STATE_PENDING","output":null,"endTime":null,"batchStats":null}}'
    assert progress_of(parse_operation(content)).outcome is None


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"name":7}', b'{"name":"batches/1","metadata":7}'])
def test_what_is_no_operation_is_refused(content: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, BadLine)):
        parse_operation(content)


@pytest.mark.parametrize(
    ("content", "total"), [(b"{}", 0), (b'{"operations":[' + REFERENCE + b'],"nextPageToken":"t"}', 1)]
)
def test_a_page_of_the_list(content: bytes, total: int) -> None:
    operations, token = parse_page(content)
    assert (len(operations), token) == (total, "t" if total else "")


@pytest.mark.parametrize("lane", ["gemini:generate:gemini-3.8-flash|tenant=a/b", "g:embed:models/x:y@1", "", "x" * 200])
def test_a_batch_tells_its_tag_again(lane: str) -> None:
    name = tag(msgspec.structs.replace(JOB, lane=lane))
    listed = listed_of(parse_operation(operation(displayName=name)))
    assert (listed.batch_id, listed.nonce, listed.lane) == ("b1", "n1", lane)


@pytest.mark.parametrize("name", ["", "batchline", "batchline:b1:n1", "my batchline:b1:n1:l", "batchline:B1:n1:l"])
def test_a_display_name_that_is_not_ours_has_no_tag(name: str) -> None:
    assert listed_of(parse_operation(operation(displayName=name))).batch_id == ""


def test_a_row_of_a_file_is_the_documented_one() -> None:
    body = INPUT_LINE[len('{"key":"request-1","request":') : -1].encode()
    assert row("request-1", body) == INPUT_LINE.encode()
    assert key_of(INPUT_LINE.encode()) == "request-1"


@pytest.mark.parametrize("line", [b"{}", b'{"key":null}', b'{"key":""}', b'{"key":"a"', b'{"key":[]}', b"[]"])
def test_a_row_without_a_key_is_bad(line: bytes) -> None:
    with pytest.raises(BadLine):
        key_of(line)


def test_a_create_call_with_a_file_has_the_recorded_body() -> None:
    job = msgspec.structs.replace(JOB, input_ref="files/abc123")
    assert create_body(io.BytesIO(), job).replace(tag(job).encode(), b"d2") == FILE_BODY


def test_a_create_call_with_its_rows_has_the_recorded_body() -> None:
    request = json.loads(INLINE_BODY)["batch"]["inputConfig"]["requests"]["requests"][0]["request"]
    rows = io.BytesIO(row("r1", json.dumps(request, separators=(",", ":")).encode()) + b"\n")
    rows.seek(3)
    assert create_body(rows, JOB).replace(tag(JOB).encode(), b"d1") == INLINE_BODY


def test_rows_in_a_create_call_keep_their_order_and_their_bytes() -> None:
    bodies = [b'{"t":"\\",\\"request\\":"}', '{"t":"\u2028"}'.encode(), b"{}"]
    rows = b"".join(row(f"r{number}", body) + b"\n" for number, body in enumerate(bodies))
    made = create_body(io.BytesIO(rows), JOB)
    items = json.loads(made)["batch"]["inputConfig"]["requests"]["requests"]
    assert [item["metadata"]["key"] for item in items] == ["r0", "r1", "r2"]
    assert all(body in made for body in bodies)
    assert len(made) <= inline_size(len(rows), 3)


def test_a_create_calls_size_is_known_before_it_is_made() -> None:
    rows = b"".join(row("a" * 60, b"{}") + b"\n" for _ in range(1000))
    lane = msgspec.structs.replace(JOB, lane="l" * 200)
    made = len(create_body(io.BytesIO(rows), lane))
    assert made <= inline_size(len(rows), 1000) <= made + 2000
    assert INLINE_BYTES < 20_000_000


def test_what_is_no_row_of_ours_does_not_get_into_a_create_call() -> None:
    with pytest.raises(BadLine):
        inline_item(b'{"custom_id":"a"}')


def test_the_real_line_brings_its_body_unchanged_and_counts_thoughts() -> None:
    result = parse_result(REAL_LINE.encode())
    body = REAL_LINE[len('{"response":') : -len(',"key":"request_1"}')]
    assert (result.custom_id, result.kind, result.size) == ("request_1", "succeeded", len(REAL_LINE.encode()))
    assert bytes(result.body or b"") == body.encode()
    assert result.usage == Usage(input_tokens=8, output_tokens=840)


def test_the_documented_error_line_is_rejected() -> None:
    result = parse_result(ERROR_LINE)
    assert (result.custom_id, result.kind, result.code, result.message) == (
        "request-2",
        "rejected",
        "INVALID_ARGUMENT",
        "…",
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, "retryable"),
        (1, "cancelled"),
        (2, "retryable"),
        (3, "rejected"),
        (4, "retryable"),
        (5, "rejected"),
        (6, "rejected"),
        (7, "rejected"),
        (8, "retryable"),
        (9, "rejected"),
        (10, "retryable"),
        (11, "rejected"),
        (12, "rejected"),
        (13, "retryable"),
        (14, "retryable"),
        (15, "retryable"),
        (16, "retryable"),
        (17, "retryable"),
        (400, "rejected"),
        (401, "retryable"),
        (403, "rejected"),
        (404, "rejected"),
        (408, "retryable"),
        (409, "retryable"),
        (429, "retryable"),
        (499, "cancelled"),
        (500, "retryable"),
        (503, "retryable"),
        (504, "retryable"),
    ],
)
def test_a_code_of_grpc_or_of_http_decides(code: int, kind: str) -> None:
    line = json.dumps({"key": "a", "error": {"code": code, "message": "m"}})
    assert parse_result(line.encode()).kind == kind


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"code": 400, "status": "INVALID_ARGUMENT", "message": "m"}, "rejected", "INVALID_ARGUMENT"),
        ({"status": "UNAVAILABLE"}, "retryable", "UNAVAILABLE"),
        ({"status": "CANCELLED"}, "cancelled", "CANCELLED"),
        ({"code": "3"}, "rejected", "INVALID_ARGUMENT"),
        ({"code": 418}, "rejected", "418"),
        ({}, "retryable", "no_response"),
        ("text", "retryable", "no_response"),
        (None, "retryable", "no_response"),
    ],
)
def test_an_error_of_any_shape_is_read(error: Any, kind: str, code: str) -> None:
    for name in ("error", "status"):
        result = parse_result(json.dumps({"key": "a", name: error}).encode())
        assert (result.kind, result.code) == (kind, code)


def test_an_answer_that_a_filter_blocked_is_delivered_as_it_is() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}
    result = parse_result(json.dumps({"key": "a", "response": body}).encode())
    assert (result.kind, result.usage) == ("succeeded", Usage(input_tokens=7))
    assert msgspec.json.decode(result.body or b"") == body


def test_an_embedding_brings_its_vector_and_its_tokens() -> None:
    line = json.dumps({"key": "a", "response": {"embedding": {"values": [0.1, 0.2]}, "tokenCount": "5"}})
    result = parse_result(line.encode())
    assert (result.kind, result.usage) == ("succeeded", Usage(input_tokens=5))


def test_half_a_surrogate_pair_does_not_cost_a_paid_answer() -> None:
    result = parse_result(b'{"key":"a","response":{"t":"\\ud83d","usageMetadata":{"promptTokenCount":1}}}')
    assert result.usage == Usage(input_tokens=1)
    assert msgspec.json.decode(result.body or b"")["t"] == "\ufffd"


@pytest.mark.parametrize(
    "line",
    [
        b'{"response":{}}',
        b'{"key":"","response":{}}',
        b'{"key":null,"error":{"code":3}}',
        b'{"key":{},"response":{}}',
        REAL_LINE.encode()[:-1],
        b'{"key":"a","response":{"t":"\xff"}}',
        b"[]",
        b"7",
    ],
)
def test_a_line_that_is_not_as_promised_is_bad(line: bytes) -> None:
    with pytest.raises(BadLine):
        parse_result(line)


def item(key: str | None = None, **fields: Any) -> bytes:
    echo = {"metadata": {"key": key}} if key else {}
    return json.dumps({"response": {"t": 1}} | echo | fields).encode()


def ids(sent: Sequence[str], *items: bytes) -> list[str]:
    """Return the custom_ids that results get, ``-`` where nothing tells."""
    read = inline_results(sent, items)
    found = []
    for each in items:
        try:
            found.append(read(each).custom_id)
        except BadLine:
            found.append("-")
    return found


def test_results_inside_an_operation_belong_to_the_rows_in_their_order() -> None:
    items = [item(), item(response=None, error={"code": 8})]
    read = inline_results(["a", "b"], items)
    assert [read(items[0]).custom_id, read(items[1]).kind] == ["a", "retryable"]


@pytest.mark.parametrize("sent", [(), ("a", "b"), ("a", "b", "c")])
def test_an_echoed_key_names_the_row(sent: tuple[str, ...]) -> None:
    assert ids(sent, item("a"), item("b")) == ["a", "b"]


def test_an_echoed_key_names_the_row_also_out_of_order() -> None:
    assert ids(["a", "b"], item("b"), item("a")) == ["b", "a"]


def test_where_one_stands_out_of_order_no_other_is_known_by_its_place() -> None:
    assert ids(["a", "b", "c"], item("b"), item("a"), item()) == ["b", "a", "-"]


@pytest.mark.parametrize("sent", [(), ("a",), ("a", "b", "c")])
def test_without_an_echo_and_without_as_many_rows_nothing_is_guessed(sent: tuple[str, ...]) -> None:
    assert ids(sent, item(), item()) == ["-", "-"]


def test_a_torn_result_does_not_move_the_others() -> None:
    assert ids(["a", "b"], b'{"response":', item()) == ["-", "b"]


@pytest.mark.parametrize("metadata", [{}, {"key": None}, {"other": "x"}, "text", None])
def test_metadata_without_our_key_is_no_echo(metadata: Any) -> None:
    assert ids(["a"], item(metadata=metadata)) == ["a"]


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (
            {
                "usageMetadata": {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 64,
                    "candidatesTokenCount": 20,
                    "thoughtsTokenCount": 5,
                    "toolUsePromptTokenCount": 7,
                    "totalTokenCount": 132,
                }
            },
            Usage(input_tokens=107, output_tokens=25, cache_read_tokens=64),
        ),
        (
            {"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": "4"}},
            Usage(input_tokens=3, output_tokens=4),
        ),
        ({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": None}}, Usage(input_tokens=3)),
        ({"candidates": []}, Usage()),
        ({"embedding": {"values": []}, "usageMetadata": {"promptTokenCount": 2}}, Usage(input_tokens=2)),
        ({"embedding": {"values": []}}, None),
        ({"embedding": {"values": []}, "usageMetadata": {}, "tokenCount": "5"}, Usage(input_tokens=5)),
        ({"embedding": {"values": []}, "usageMetadata": {}}, None),
        ({"usageMetadata": {}}, None),
        ({"usageMetadata": {"candidatesTokenCount": 4}}, None),
        ({"usageMetadata": {"promptTokenCount": -1}}, None),
        ({"usageMetadata": {"promptTokenCount": "18446744073709551615"}}, None),
        ({"usageMetadata": {"promptTokenCount": 10**12, "toolUsePromptTokenCount": 1}}, None),
        ({"tokenCount": 10**12 + 1}, None),
        ({"usageMetadata": "many"}, None),
        ({"usageMetadata": {"promptTokenCount": "many"}}, None),
        ([], None),
    ],
)
def test_usage(body: Any, usage: Usage | None) -> None:
    assert usage_of(json.dumps(body).encode()) == usage


def test_the_real_quota_error_is_named_by_its_status() -> None:
    told = read_error(QUOTA)
    assert told.code == "RESOURCE_EXHAUSTED"
    assert told.message.startswith("You exceeded your current quota")
