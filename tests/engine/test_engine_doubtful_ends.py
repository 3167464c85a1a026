"""An end that one look would call final is looked at again: nothing is sent again or given up for what may be a hiccup."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs
from tests.engine.test_engine_short_results import CHAT, HOUR, MINUTE, ended, only, served, torn

from batchline.engine import cancelling
from batchline.errors import Permanent, Retryable
from batchline.providers.protocol import Refusal
from batchline.store import keys

NO_FILE = {"error": {"message": "No such File object", "type": "invalid_request_error"}}


def down(bench: Any) -> None:
    """Let the provider be away for two hours."""
    gone = Retryable("down", account="openai", call="poll", code="503")
    bench.first.openai.break_before("poll", *[gone] * 8)
    for _ in range(8):
        bench.advance(15 * MINUTE)
        bench.tick()


def errors(bench: Any, *, steps: int, step_s: float) -> list[str]:
    """Let time pass; return the events of all errors."""
    with capture_logs() as logs:
        for _ in range(steps):
            bench.tick()
            bench.advance(step_s)
    return [entry["event"] for entry in logs if entry["log_level"] == "error"]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, {"message": "You have exceeded your file storage quota.", "type": "invalid_request_error", "code": None}),
        (405, {"message": "not here", "type": "invalid_request_error", "code": "method_not_supported"}),
    ],
    ids=["a full store of files", "no such method"],
)
def test_an_upload_refused_for_the_account_rejects_no_request(bench: Any, status: int, told: Any) -> None:
    bench.wire.fault = lambda method, path: (
        JSONResponse({"error": told}, status) if method == "POST" and path.endswith("/files") else None
    )
    bench.ask_many(3)
    for _ in range(5):
        bench.tick()
        bench.advance(60)
    assert bench.owed() == 3
    bench.wire.fault = None
    bench.advance(300)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}


def test_rows_of_nobody_do_not_stand_for_rows_that_were_run(bench: Any) -> None:
    ended(bench)

    def strange(lines: list[bytes]) -> list[bytes]:
        theirs = [json.dumps(json.loads(line) | {"custom_id": f"x-{n}"}).encode() for n, line in enumerate(lines[2:])]
        return [*lines[:2], *theirs]

    served(bench, strange, times=1)
    bench.tick()
    assert bench.ledger().get("retries:missing", 0) == 0
    bench.drain()
    assert sum(bench.bill()["executions"].values()) == 4


def test_an_orphan_that_runs_and_whose_file_is_gone_holds_creates_up_until_it_has_ended(bench: Any) -> None:
    bench.start(latency_s=2 * HOUR)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    bench.advance(60)
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id), keys.walk(CHAT))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    bench.run("HDEL", keys.account_open("openai"), batch.id)
    bench.run("DEL", keys.AUDITED)
    bench.providers["openai"].delete_file(batch.input_ref)
    for _ in range(200):
        bench.tick()
        bench.advance(5 * MINUTE)
        bench.lapse()
        if not bench.owed():
            break
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


def test_a_torn_line_in_one_file_does_not_hide_the_other(bench: Any) -> None:
    bench.ask("plain")
    slow = bench.ask("slow [[expire-once]]")
    bench.tick()
    bench.advance(25 * HOUR)
    (batch,) = bench.open_batches()
    output, _ = bench.providers["openai"].poll(batch.provider_id).results
    bench.wire.fault = lambda _, path: (
        Response(b'{"custom_id": "torn\n') if path.endswith(f"/{output}/content") else None
    )
    for _ in range(20):
        bench.tick()
        bench.advance(10 * MINUTE)
    assert bench.reply(slow).status == "succeeded"


def test_an_outage_is_no_look_at_short_results(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2], times=2)
    bench.tick()
    down(bench)
    bench.drain()
    assert sum(bench.bill()["executions"].values()) == 4


def test_an_outage_is_no_look_at_unreadable_results(bench: Any) -> None:
    ended(bench)
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    served(bench, lambda lines: [lines[0][:40], *lines[1:]], times=2)
    bench.tick()
    down(bench)
    bench.drain()
    assert bench.statuses() == {"succeeded": 4}


def test_results_that_are_not_found_twice_are_not_given_up_for_an_earlier_cancel(bench: Any) -> None:
    ended(bench)
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    seen: list[str] = []

    def fault(_: str, path: str) -> Response | None:
        if path.endswith("/content") and len(seen) < 2:
            seen.append(path)
            return JSONResponse(NO_FILE, 404)
        return None

    bench.wire.fault = fault
    bench.drain(step_s=900)
    assert bench.statuses() == {"succeeded": 4}


def test_results_that_cannot_be_read_raise_an_alarm(bench: Any) -> None:
    ended(bench)
    torn(bench)
    assert "result.unreadable" in errors(bench, steps=30, step_s=HOUR)


def test_a_file_that_its_provider_never_finds_raises_an_alarm(bench: Any) -> None:
    refusal = Refusal(scope="busy", code="invalid_file", message="Cannot find file file-1")
    bench.first.openai.replace(
        "poll", lambda real, batch: msgspec.structs.replace(real(batch), outcome="failed", refusal=refusal)
    )
    bench.ask_many(2)
    assert "batch.file_not_found" in errors(bench, steps=60, step_s=10 * MINUTE)


def test_a_create_refused_for_its_missing_file_rejects_no_request(bench: Any) -> None:
    told = "create: answered 400: Cannot find file file-1, or project proj-1 does not have access to it."
    refused = Permanent(told, account="openai", call="create", code="invalid_request_error")
    bench.first.openai.break_before("create", refused, refused)
    bench.ask_many(3)
    bench.drain(rounds=60)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


def test_a_full_queue_is_counted_whatever_comes_between(bench: Any) -> None:
    refusal = Refusal(scope="busy", code="token_limit_exceeded", message="full")
    bench.first.openai.replace(
        "poll", lambda real, batch: msgspec.structs.replace(real(batch), outcome="failed", refusal=refusal)
    )
    calls: list[int] = []

    def create(real: Any, *args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) % 2 == 0:
            raise Retryable("slow down", account="openai", call="create", code="429")
        return real(*args, **named)

    bench.first.openai.replace("create", create)
    bench.ask("one")
    assert "batch.no_room" in errors(bench, steps=60, step_s=10 * MINUTE)
