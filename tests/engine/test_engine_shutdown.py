"""A worker that is asked to end hands back between two writes, and another goes on at once; a create is never left."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.engine.shutdown import Shutdown, watched
from batchline.errors import Stopping

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
ASKED = 1_200
"""More than two chunks of results."""


def asking(bench: Any) -> Any:
    """Return a replacement of a method after whose effect the first worker is asked to end."""

    def call(real: Any, *args: Any, **named: Any) -> Any:
        answer = real(*args, **named)
        bench.first.shutdown.ask()
        return answer

    return call


def handed_back(bench: Any) -> bool:
    """Tick the first worker; returns whether it handed a batch back that another may take at once."""
    with capture_logs() as logs:
        bench.tick()
    (batch,) = bench.batches()
    events = [entry["event"] for entry in logs]
    return "batch.handed_back" in events and (batch.lease_until, batch.next_ms) == (0, bench.now_ms)


def go_on(bench: Any) -> None:
    """Let a second worker do the rest, without any lease having lapsed."""
    bench.drain(bench.worker("second"), step_s=10)


def check(bench: Any, asked: int) -> None:
    assert bench.statuses() == {"succeeded": asked}
    assert bench.bill()["double_executions"] == 0
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.store.accounts.outage("openai").failures == 0


def test_a_long_settling_is_handed_back_between_two_chunks(bench: Any) -> None:
    bench.ask_many(ASKED)
    bench.tick()
    bench.advance(10)
    bench.first.settling.replace("settle", asking(bench))
    assert handed_back(bench)
    (batch,) = bench.batches()
    assert (batch.state, batch.succeeded) == ("ended", 500)
    go_on(bench)
    check(bench, ASKED)
    assert bench.batches()[0].waste_nano == 0


def test_a_long_rendering_is_handed_back_between_two_pages(bench: Any) -> None:
    bench.ask_many(ASKED)

    def carried(real: Any, *args: Any, **named: Any) -> Any:
        for page in real(*args, **named):
            yield page
            bench.first.shutdown.ask()

    bench.first.settling.replace("carried", carried)
    assert handed_back(bench)
    assert bench.first.openai.calls["upload"] == 0
    go_on(bench)
    check(bench, ASKED)


def test_an_upload_is_broken_off_and_is_no_trouble_of_the_account(bench: Any) -> None:
    bench.ask_many(20)

    def upload(real: Any, rows: Any, job: Any) -> Any:
        bench.first.shutdown.ask()
        return real(rows, job)

    bench.first.openai.replace("upload", upload)
    assert handed_back(bench)
    assert bench.first.openai.calls["create"] == 0
    go_on(bench)
    check(bench, 20)


def test_what_was_uploaded_is_handed_back_before_the_intent(bench: Any) -> None:
    bench.ask_many(20)
    bench.first.openai.replace("upload", asking(bench))
    assert handed_back(bench)
    assert bench.batches()[0].state == "cut"
    go_on(bench)
    check(bench, 20)
    assert bench.created() == 1


@pytest.mark.parametrize("lane", [CHAT, HAIKU])
def test_between_intent_and_submitted_the_step_is_finished(bench: Any, lane: str) -> None:
    bench.ask_many(20, lane)
    bench.first.batches.replace("intent", asking(bench))
    assert not handed_back(bench)
    assert bench.batches()[0].state == "submitted"
    go_on(bench)
    check(bench, 20)
    assert bench.created(lane.split(":", 1)[0]) == 1


def test_a_step_that_only_begins_is_handed_back_untouched(bench: Any) -> None:
    bench.ask_many(5)
    bench.first.shutdown.ask()
    assert handed_back(bench)
    assert bench.first.openai.calls["upload"] == 0
    second = bench.worker("second")
    bench.tick(second)
    bench.advance(10)
    assert handed_back(bench)
    assert bench.first.openai.calls["poll"] == 0
    bench.drain(second)
    check(bench, 5)


def test_the_end_waits_for_what_must_be_finished() -> None:
    shutdown, begun, over = Shutdown(), threading.Event(), threading.Event()

    def step() -> None:
        with shutdown.finishing():
            begun.set()
            over.wait(10)

    thread = threading.Thread(target=step)
    thread.start()
    begun.wait(10)
    assert not shutdown.wait_finished(0)
    over.set()
    assert shutdown.wait_finished(10)
    thread.join()


def test_a_watched_file_reads_as_it_is_until_the_worker_is_asked_to_end() -> None:
    shutdown = Shutdown()
    file = watched(io.BytesIO(b"x" * 100_000), shutdown.check)
    assert len(file.read(60_000)) == 60_000
    shutdown.ask()
    with pytest.raises(Stopping):
        file.read()
