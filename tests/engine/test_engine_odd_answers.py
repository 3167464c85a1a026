"""A service that fails by itself, or answers in another shape than promised: no request pays for it, and no account stops."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse
from structlog.testing import capture_logs
from tests.engine.front import Front, lane_of, serve
from tests.engine.test_engine_short_results import CHAT, HAIKU, ended, served

LANES = [CHAT, HAIKU]
NO_COUNTS = {"total": 0, "completed": 0, "failed": 0}
WORDLESS = {
    "status": "failed",
    "output_file_id": None,
    "error_file_id": None,
    "errors": None,
    "request_counts": NO_COUNTS,
}


def deep(line: bytes) -> bytes:
    """Return a result line whose answer is nested more deeply than anything reads."""
    told = json.loads(line)
    body = told["response"]["body"] if "response" in told else told["result"]["message"]
    body["x"] = "@"
    return json.dumps(told).encode().replace(b'"@"', b"[" * 2_000 + b"]" * 2_000)


def fails_wordlessly(front: Front, *, times: int) -> None:
    """Let so many batches be failed by their service, which says nothing about it."""
    failed: set[str] = set()

    def told(batch: Any) -> Any:
        if batch["status"] == "validating" or (batch["id"] not in failed and len(failed) == times):
            return batch
        failed.add(batch["id"])
        return batch | WORDLESS

    front.batch = told


def rewrites_create(bench: Any, **fields: Any) -> None:
    """Let the next create be carried out, and its answer tell other fields."""
    app, left = bench.wire.app, [1]

    async def front(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] != "POST" or not scope["path"].endswith("/batches") or not left[0]:
            await app(scope, receive, send)
            return
        left[0] -= 1
        parts: list[Any] = []

        async def said(message: Any) -> None:
            parts.append(message)

        await app(scope, receive, said)
        body = json.loads(b"".join(part.get("body", b"") for part in parts[1:]))
        await JSONResponse(body | fields)(scope, receive, send)

    bench.wire.app = front


@pytest.mark.parametrize("lane", LANES)
def test_one_answer_that_is_nested_too_deeply_holds_up_no_other(bench: Any, lane: str) -> None:
    ended(bench, lane)
    served(bench, lambda lines: [deep(lines[0]), *lines[1:]])
    bench.tick()
    assert bench.owed() == 1


def test_a_batch_that_failed_without_a_word_is_no_fault_of_its_request(bench: Any) -> None:
    fails_wordlessly(serve(bench, "vllm"), times=1)
    bench.ask_many(1, lane_of("vllm"))
    bench.drain(step_s=60)
    (reply,) = bench.all_replies().values()
    assert (reply.status, reply.attempts) == ("succeeded", 2)


def test_a_request_whose_batches_all_fail_without_a_word_is_not_rejected(bench: Any) -> None:
    fails_wordlessly(serve(bench, "vllm"), times=100)
    bench.ask_many(1, lane_of("vllm"))
    bench.drain(step_s=60)
    (reply,) = bench.all_replies().values()
    assert (reply.error.code, reply.error.retryable) == ("provider_error", True)


def test_a_batch_of_several_that_failed_without_a_word_is_halved(bench: Any) -> None:
    fails_wordlessly(serve(bench, "vllm"), times=1)
    bench.ask_many(4, lane_of("vllm"))
    bench.drain(step_s=60)
    assert bench.statuses() == {"succeeded": 4}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.created() == 3


def test_answers_of_a_failed_batch_are_read_whatever_its_counts_say(bench: Any) -> None:
    front = serve(bench, "vllm")
    first: set[str] = set()

    def told(batch: Any) -> Any:
        if batch["status"] == "completed" and first <= {batch["id"]}:
            first.add(batch["id"])
            return batch | {"status": "failed", "request_counts": NO_COUNTS}
        return batch

    front.batch = told
    bench.ask_many(4, lane_of("vllm"))
    bench.drain(step_s=60)
    assert bench.statuses() == {"succeeded": 4}
    assert (bench.created(), bench.bill()["double_executions"]) == (1, 0)


@pytest.mark.parametrize("lane", LANES)
def test_a_create_that_names_no_id_is_looked_for(bench: Any, lane: str) -> None:
    rewrites_create(bench, id="")
    bench.ask_many(2, lane)
    bench.drain(step_s=120)
    assert bench.statuses() == {"succeeded": 2}
    assert bench.bill()["double_executions"] == 0


@pytest.mark.parametrize("field", ["data", "has_more"])
def test_a_list_with_a_null_stops_no_account(bench: Any, field: str) -> None:
    def fault(method: str, path: str) -> JSONResponse | None:
        if method != "GET" or not path.endswith(("/batches", "/files")):
            return None
        return JSONResponse({"object": "list", "data": [], "has_more": False} | {field: None})

    bench.wire.fault = fault
    bench.ask_many(2, CHAT)
    bench.drain(step_s=600)
    assert bench.statuses() == {"succeeded": 2}


@pytest.mark.parametrize("odd", [{"bytes": "12"}, {"bytes": 12.5}, {"created_at": {}}])
def test_a_file_of_another_shape_in_the_list_stops_no_account(bench: Any, odd: dict[str, Any]) -> None:
    file = {"id": "f1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch"}

    def fault(method: str, path: str) -> JSONResponse | None:
        if method != "GET" or not path.endswith("/files"):
            return None
        return JSONResponse({"object": "list", "data": [file | odd], "has_more": False})

    bench.wire.fault = fault
    bench.ask_many(2, CHAT)
    with capture_logs() as logs:
        bench.drain(step_s=600)
    assert bench.statuses() == {"succeeded": 2}
    assert [each["event"] for each in logs if each["log_level"] in {"warning", "error"}] == []
