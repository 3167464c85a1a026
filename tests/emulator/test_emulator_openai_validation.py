"""OpenAI's asynchronous validation: one bad line, nothing is run, nothing is billed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchline.emulator.openai_lines import LineCheck

EMBEDDINGS = "/v1/embeddings"


def changed(line: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**line, **changes}.items() if value is not ...}


def test_a_bad_line_fails_the_whole_batch_and_nothing_is_run(sim: Any, chat: Any) -> None:
    bad = chat("b")
    del bad["body"]["messages"]
    batch = sim.run([chat("a"), bad])
    assert (batch.status, batch.output_file_id, batch.error_file_id, batch.model) == ("failed", None, None, None)
    assert batch.failed_at is not None
    assert batch.errors.data[0].model_dump() == {
        "code": "missing_required_parameter",
        "line": 2,
        "message": "Missing required parameter: 'messages'.",
        "param": "body.messages",
    }
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (0, 0, 0)
    assert sim.bill()["models"] == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{not json", "invalid_json_line"),
        (b"[]", "invalid_json_line"),
        (b"", "invalid_json_line"),
        (b"\xef\xbb\xbf{}", "invalid_json_line"),
        (b'{"custom_id":"\xff"}', "invalid_json_line"),
        (b'{"custom_id":NaN}', "invalid_json_line"),
        (b'{"custom_id":1e999}', "invalid_json_line"),
        (b"[" * 5_000, "invalid_json_line"),
        (b"{}", "missing_required_parameter"),
    ],
)
def test_a_line_that_is_no_json_object_is_named_by_its_number(chat: Any, raw: bytes, code: str) -> None:
    good = json.dumps(chat("a")).encode()
    checked = LineCheck("/v1/chat/completions").run([(1, good), (2, raw)])
    assert [(problem["code"], problem["line"]) for problem in checked.problems] == [(code, 2)]


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"custom_id": ...}, "missing_required_parameter", "custom_id"),
        ({"custom_id": 7}, "invalid_request", "custom_id"),
        ({"custom_id": "first"}, "duplicate_custom_id", "custom_id"),
        ({"method": ...}, "missing_required_parameter", "method"),
        ({"method": "GET"}, "invalid_request", "method"),
        ({"url": "/v1/responses"}, "url_mismatch", "url"),
        ({"body": ...}, "missing_required_parameter", "body"),
        ({"body": "text"}, "invalid_request", "body"),
        ({"body": {"messages": []}}, "missing_required_parameter", "body.model"),
        ({"body": {"model": "gpt-5-mini"}}, "missing_required_parameter", "body.messages"),
        ({"body": {"model": "gpt-4o-mini", "messages": []}}, "model_mismatch", "body.model"),
        ({"body": {"model": "gpt-5-mini", "messages": [], "stream": True}}, "invalid_request", "body.stream"),
    ],
)
def test_a_bad_field_is_named(chat: Any, changes: Any, code: str, param: str) -> None:
    lines = [chat("a", "first"), changed(chat("b", "second"), **changes)]
    raw = [(number, json.dumps(line).encode()) for number, line in enumerate(lines, start=1)]
    (problem,) = LineCheck("/v1/chat/completions").run(raw).problems
    assert (problem["code"], problem["param"], problem["line"]) == (code, param, 2)


def test_an_empty_file_fails(sim: Any) -> None:
    batch = sim.run([])
    assert (batch.status, batch.errors.data[0].code) == ("failed", "empty_file")


def test_more_than_50_000_requests_are_too_many(chat: Any) -> None:
    line = {"custom_id": "%d", "method": "POST", "url": "/v1/moderations", "body": {"input": "x"}}
    template = json.dumps(line)
    lines = [(n, (template % n).encode()) for n in range(1, 50_002)]
    assert LineCheck("/v1/moderations").run(lines[:-1]).problems == []
    (problem,) = LineCheck("/v1/moderations").run(lines).problems
    assert (problem["code"], problem["line"]) == ("too_many_tasks", None)


@pytest.mark.parametrize(("extra", "codes"), [(0, []), (1, ["too_many_tasks"])])
def test_a_batch_takes_50_000_embedding_inputs(extra: int, codes: list[str]) -> None:
    sizes = [25_000, 25_000 + extra]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": EMBEDDINGS, "body": {"model": "m", "input": ["x"] * size}}
        for n, size in enumerate(sizes)
    ]
    checked = LineCheck(EMBEDDINGS).run((n, json.dumps(line).encode()) for n, line in enumerate(lines, start=1))
    assert [problem["code"] for problem in checked.problems] == codes


def test_a_file_that_was_never_there_is_found_missing_later(sim: Any) -> None:
    created = sim.openai.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id="file-nowhere")
    sim.pass_time(10)
    failed = sim.openai.batches.retrieve(created.id)
    assert failed.errors.data[0].code == "invalid_request"
    assert failed.errors.data[0].message.startswith("Cannot find file file-nowhere")


def test_a_file_deleted_before_validation_is_not_found(start: Any, chat: Any) -> None:
    sim = start(validation_delay_s=1)
    batch_id = sim.submit([chat("a")])
    sim.openai.files.delete(sim.openai.batches.retrieve(batch_id).input_file_id)
    sim.pass_time(10)
    assert sim.openai.batches.retrieve(batch_id).errors.data[0].message.startswith("Cannot find file")


def test_a_file_deleted_after_validation_does_no_harm(start: Any, chat: Any) -> None:
    sim = start(validation_delay_s=0, latency_s=5)
    batch_id = sim.submit([chat("a")])
    sim.pass_time(1)
    sim.openai.files.delete(sim.openai.batches.retrieve(batch_id).input_file_id)
    sim.pass_time(9)
    assert sim.openai.batches.retrieve(batch_id).status == "completed"


def test_the_enqueued_token_limit_fails_a_batch_in_the_providers_words(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"gpt-5-mini": 2_000})
    first = sim.submit([chat("x" * 6_000)])
    sim.pass_time(0.1)
    second = sim.submit([chat("y" * 6_000)])
    other = sim.submit([chat("z" * 9_000, model="gpt-5.4-mini")])
    sim.pass_time(0.1)
    (problem,) = sim.openai.batches.retrieve(second).errors.data
    assert (problem.code, problem.line, problem.param) == ("token_limit_exceeded", None, None)
    assert problem.message == (
        "Enqueued token limit reached for gpt-5-mini in organization org-emulator. Limit: 2,000 enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    sim.pass_time(10)
    assert {sim.openai.batches.retrieve(batch).status for batch in (first, other)} == {"completed"}
    assert sim.run([chat("y" * 6_000)]).status == "completed"
