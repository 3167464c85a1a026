"""A batch without progress is reported, and nothing is given up for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from starlette.responses import Response
from structlog.testing import capture_logs

from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
LANES = [CHAT, "anthropic:messages:claude-haiku-4-5"]
NEVER_S = 80_000.0


@pytest.fixture
def slow(bench: Any) -> Any:
    """A house whose provider takes its time; a batch is stuck after an hour."""
    bench.start(latency_s=NEVER_S)
    bench.set("stuck", after=3600.0)
    return bench


def events(bench: Any, name: str) -> list[Any]:
    """Tick and return the log events of a name."""
    with capture_logs() as logs:
        bench.tick()
    return [entry for entry in logs if entry["event"] == name]


def start(bench: Any, lane: str = CHAT) -> None:
    """Ask, submit, and poll once."""
    bench.ask_many(3, lane)
    bench.tick()
    bench.advance(10)
    bench.tick()


@pytest.mark.parametrize("lane", LANES)
def test_a_batch_without_progress_is_reported_at_each_poll(slow: Any, lane: str) -> None:
    start(slow, lane)
    slow.advance(3500)
    assert not events(slow, "batch.stuck")
    for _ in range(2):
        slow.advance(900)
        (stuck,) = events(slow, "batch.stuck")
        assert (stuck["log_level"], stuck["done"], stuck["action"]) == ("error", 0, "wait")
    (batch,) = slow.batches()
    assert batch.stuck_since == batch.progress_ms > 0
    assert slow.first.openai.calls["cancel"] + slow.first.anthropic.calls["cancel"] == 0


def test_progress_ends_the_alarm(slow: Any) -> None:
    start(slow)
    slow.advance(4500)
    assert events(slow, "batch.stuck")
    slow.first.openai.replace("poll", lambda real, batch: msgspec.structs.replace(real(batch), done=1))
    slow.advance(900)
    assert not events(slow, "batch.stuck")
    (batch,) = slow.batches()
    assert (batch.stuck_since, batch.done, batch.progress_ms) == (0, 1, slow.now_ms)


def test_where_it_is_set_a_stuck_batch_is_cancelled_and_the_rest_goes_again(slow: Any) -> None:
    slow.set("stuck", action="cancel")
    start(slow)
    slow.advance(4500)
    assert events(slow, "batch.stuck")
    assert slow.first.openai.calls["cancel"] == 1
    slow.advance(900)
    slow.tick()
    batch = slow.batches()[0]
    assert (batch.state, batch.outcome) == ("settled", "cancelled")
    assert batch.succeeded + batch.retried == 3
    slow.set("stuck", after=1e9)
    slow.drain(step_s=9_000)
    assert slow.statuses() == {"succeeded": 3}
    assert {reply.attempts for reply in slow.all_replies().values()} <= {1, 2}


def test_a_stuck_batch_that_was_adopted_without_proof_is_reported_and_not_cancelled(slow: Any) -> None:
    slow.set("stuck", action="cancel")
    start(slow)
    (batch,) = slow.open_batches()
    slow.run("HSET", keys.batch(batch.id), "proven", 0)
    slow.advance(4500)
    assert events(slow, "batch.stuck")
    assert slow.first.openai.calls["cancel"] == 0


def test_a_provider_that_cannot_cancel_now_is_asked_again_at_the_next_poll(slow: Any) -> None:
    slow.set("stuck", action="cancel")
    start(slow)
    slow.wire.fault = lambda _, path: Response(status_code=503) if path.endswith("/cancel") else None
    slow.advance(4500)
    slow.tick()
    slow.wire.fault = None
    slow.advance(900)
    slow.tick()
    assert slow.first.openai.calls["cancel"] == 2
