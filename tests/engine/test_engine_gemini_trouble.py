"""What Gemini does wrong by itself: no request pays for it, and none is refused for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from batchline.providers.gemini import GeminiProvider
from batchline.providers.protocol import AccountAccess, Options

GENERATE = "gemini:generate:gemini-2.5-flash"
OTHER = "gemini:generate:gemini-2.5-pro"
NOT_ACTIVE = "The File abc is not in an ACTIVE state and usage is not allowed."


def refused(code: int, status: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "status": status, "message": message}}, status_code=code)


def creates_are_refused(bench: Any, times: int, message: str = NOT_ACTIVE) -> list[int]:
    """Let so many creates be refused for a file that is not ready; returns the list of what is left."""
    left = [times]

    def fault(method: str, path: str) -> Response | None:
        if method != "POST" or "batchGenerateContent" not in path or not left[0]:
            return None
        left[0] -= 1
        return refused(400, "FAILED_PRECONDITION", message)

    bench.wire.fault = fault
    return left


def polls_tell(bench: Any, times: int, error: dict[str, Any] | None = None, **metadata: Any) -> None:
    """Let so many looks at a batch tell this of it."""
    left = [times]

    def fault(method: str, path: str) -> Response | None:
        if method != "GET" or "/batches/" not in path or not left[0]:
            return None
        left[0] -= 1
        told = {"name": "batches/" + path.rpartition("/")[2], "metadata": metadata, "done": True}
        return JSONResponse(told | ({"error": error} if error else {}))

    bench.wire.fault = fault


def files_fail(bench: Any, *, over: int) -> set[str]:
    """Let Google fail to process files of more bytes; returns which, as it goes."""
    failed = set()

    def fault(method: str, path: str) -> Response | None:
        if method != "GET" or "/files/" not in path or ":" in path:
            return None
        name = path.rpartition("/")[2]
        if bench.emulator.gemini_files.path(name).stat().st_size <= over:
            return None
        failed.add(name)
        error = {"code": 3, "message": "line 1 is not valid"}
        return JSONResponse({"name": f"files/{name}", "state": "FAILED", "error": error})

    bench.wire.fault = fault
    return failed


def attempts(bench: Any) -> set[int]:
    return {reply.attempts for reply in bench.all_replies().values()}


# --- a file that is not ready ---


def test_a_batch_is_created_once_its_file_is_ready(bench: Any) -> None:
    bench.start(gemini_file_delay_s=60)
    access = AccountAccess(name="gemini", key=lambda: "sk-test", base_url=bench.wire.url, options=Options())
    bench.services["gemini"] = GeminiProvider(access, sleep=bench.advance)
    bench.ask_many(8, GENERATE)
    with capture_logs() as logs:
        bench.drain()
    assert bench.statuses() == {"succeeded": 8}
    assert (bench.created("gemini"), attempts(bench)) == (1, {1})
    assert "batch.refused" not in {event["event"] for event in logs}


def test_a_file_that_google_cannot_process_is_one_batchs_trouble_and_not_its_accounts(bench: Any) -> None:
    bench.start(gemini_file_delay_s=1)
    access = AccountAccess(name="gemini", key=lambda: "sk-test", base_url=bench.wire.url, options=Options())
    bench.services["gemini"] = GeminiProvider(access, sleep=bench.advance)
    uploads = files_fail(bench, over=10_000)
    bench.ask("x" * 20_000, GENERATE)
    with capture_logs() as logs:
        for n in range(60):
            bench.ask(f"well {n}", OTHER)
            bench.tick()
            bench.advance(10)
    events = [event["event"] for event in logs]
    assert "account.trouble" not in events
    assert len(bench.batches()) - len(bench.open_batches()) > 10
    assert 3 <= len(uploads) <= 5
    assert "batch.not_ready" in events
    assert "line 1 is not valid" in next(event["reason"] for event in logs if event["event"] == "batch.not_ready")


@pytest.mark.parametrize("rows", [1, 8])
def test_a_create_from_a_file_that_is_not_ready_goes_again_whole_and_uses_no_attempt(bench: Any, rows: int) -> None:
    left = creates_are_refused(bench, 2)
    bench.ask_many(rows, GENERATE)
    bench.drain(step_s=60)
    assert bench.statuses() == {"succeeded": rows}
    assert (bench.created("gemini"), attempts(bench), left) == (1, {1}, [0])


def test_a_create_that_is_never_ready_is_reported_with_what_gemini_says(bench: Any) -> None:
    creates_are_refused(bench, 4)
    bench.ask_many(2, GENERATE)
    with capture_logs() as logs:
        bench.drain(rounds=60, step_s=60)
    told = [event for event in logs if event["event"] == "batch.not_ready"]
    assert [event["times"] for event in told] == [3, 4]
    assert all(NOT_ACTIVE in event["reason"] for event in told)
    assert "batch.halved" not in {event["event"] for event in logs}


def test_a_project_that_is_not_served_is_its_accounts_trouble(bench: Any) -> None:
    creates_are_refused(bench, 1, "User location is not supported for the API use.")
    bench.ask("hello", GENERATE)
    with capture_logs() as logs:
        bench.drain()
    assert "account.trouble" in {event["event"] for event in logs}
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": 1}, {1})


# --- batches that failed ---


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("code", [4, 13, 14])
def test_a_batch_that_google_broke_down_over_goes_again_with_an_attempt_used(bench: Any, rows: int, code: int) -> None:
    bench.ask_many(rows, GENERATE)
    bench.tick()
    polls_tell(bench, 1, {"code": code, "message": "Internal error"}, state="BATCH_STATE_FAILED")
    with capture_logs() as logs:
        bench.drain()
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": rows}, {2})
    assert "batch.halved" not in {event["event"] for event in logs}
    assert bench.ledger(GENERATE)["retries:provider_error"] == rows


def test_after_the_last_attempt_a_request_fails_with_what_google_said(bench: Any) -> None:
    bench.set("retry", max_attempts=2)
    request_id = bench.ask("hello", GENERATE)
    bench.tick()
    polls_tell(bench, 2, {"code": 13, "message": "Internal error"}, state="BATCH_STATE_FAILED")
    bench.drain()
    reply = bench.reply(request_id, GENERATE)
    assert (reply.status, reply.error.code, reply.attempts) == ("failed", "provider_error", 2)
    assert reply.error.message.endswith("INTERNAL: Internal error")


@pytest.mark.parametrize("code", [5, 7])
@pytest.mark.parametrize("rows", [1, 8])
def test_a_batch_that_failed_for_its_file_goes_again_without_an_attempt_used(bench: Any, rows: int, code: int) -> None:
    bench.ask_many(rows, GENERATE)
    bench.tick()
    (batch,) = bench.open_batches()
    name = batch.input_ref.removeprefix("files/")
    error = {"code": code, "message": f"You do not have permission to access the File {name} or it may not exist."}
    polls_tell(bench, 1, error, state="BATCH_STATE_FAILED", inputConfig={"fileName": batch.input_ref})
    bench.drain(step_s=60)
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": rows}, {1})
    assert bench.created("gemini") == 2


# --- ends of other kinds ---


def test_an_expired_batch_that_has_results_is_read_and_only_the_rest_goes_again(bench: Any) -> None:
    bench.ask_many(3, GENERATE)
    bench.tick()
    (batch,) = bench.open_batches()
    bench.advance(5)
    answered = json.loads(operation_of(bench, batch.provider_id))
    results = bench.emulator.gemini_files.path(answered["response"]["responsesFile"].removeprefix("files/"))
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:2]))
    metadata = answered["metadata"] | {"state": "BATCH_STATE_EXPIRED", "batchStats": {"successfulRequestCount": "2"}}
    polls_tell(bench, 1, {"code": 4, "message": "expired"}, **metadata)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert sorted(reply.attempts for reply in bench.all_replies().values()) == [1, 1, 2]
    assert bench.ledger(GENERATE)["retries:expired"] == 1


def operation_of(bench: Any, name: str) -> bytes:
    """Return a batch's operation as the emulator tells it."""
    with bench.providers["gemini"]._calling("poll") as http:
        return bytes(http.ask("get", name))


def test_a_batch_that_is_done_and_tells_nothing_is_looked_at_for_an_hour_and_goes_again(bench: Any) -> None:
    bench.ask_many(2, GENERATE)
    bench.tick()
    polls_tell(bench, 10**6, state="BATCH_STATE_UNSPECIFIED")
    with capture_logs() as logs:
        for _ in range(5):
            bench.advance(600)
            bench.tick()
        assert bench.created("gemini") == 1
        assert "result.short" in {event["event"] for event in logs}
        for _ in range(5):
            bench.advance(600)
            bench.tick()
    bench.wire.fault = None
    bench.drain()
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": 2}, {2})


def test_results_that_come_after_a_batch_was_done_are_read(bench: Any) -> None:
    bench.ask_many(2, GENERATE)
    bench.tick()
    polls_tell(bench, 2, state="BATCH_STATE_UNSPECIFIED")
    bench.drain()
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": 2}, {1})
    assert bench.created("gemini") == 1


def test_a_refusal_that_the_sdk_cannot_read_does_not_stop_a_worker(bench: Any) -> None:
    bench.ask("hello", GENERATE)
    bench.tick()
    left = [1]

    def fault(method: str, path: str) -> Response | None:
        if method != "GET" or "/batches/" not in path or not left[0]:
            return None
        left[0] -= 1
        return Response(b'{"error":{"code":%s}}' % (b"9" * 4_301), status_code=500, media_type="application/json")

    bench.wire.fault = fault
    bench.drain()
    assert (bench.statuses(), attempts(bench)) == ({"succeeded": 1}, {1})
