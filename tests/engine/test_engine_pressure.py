"""Settling pauses while its replies have no room, and goes on by itself; nothing is lost and nothing is read in vain."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.store import keys

OUT = keys.reply_list("out")
LONG = "please sort this ticket " * 200


class Fill:
    """A store whose memory is used to this share."""

    def __init__(self, share: float) -> None:
        self.used = share

    def share(self) -> float:
        return self.used


@pytest.fixture
def fill(bench: Any) -> Fill:
    bench.first.store.memory = Fill(0.95)
    fill: Fill = bench.first.store.memory
    return fill


def end(bench: Any) -> list[dict[str, Any]]:
    """Submit what was asked, let it end, and try to settle it; returns what was logged."""
    bench.tick()
    bench.advance(10)
    with capture_logs() as logs:
        bench.tick()
    return [dict(entry) for entry in logs]


def states(bench: Any) -> list[str]:
    return [batch.state for batch in bench.batches()]


def paused(logs: list[dict[str, Any]]) -> list[str]:
    return [entry["reason"] for entry in logs if entry["event"] == "settle.paused"]


def test_a_callback_queue_over_its_cap_pauses_its_batch_until_it_is_read(bench: Any) -> None:
    bench.set("pressure", max_queue=3)
    bench.run("RPUSH", OUT, *"abcd")
    bench.ask_many(5, reply_to="out")
    assert "4 replies wait in the callback queue batchline:reply:out" in paused(end(bench))[0]
    assert (states(bench), bench.owed(), bench.run("LLEN", OUT)) == (["ended"], 5, 4)
    bench.run("DEL", OUT)
    bench.advance(30)
    bench.tick()
    assert states(bench) == ["settled"]
    assert bench.statuses() == {"succeeded": 5}


def test_a_callback_stream_counts_as_well(bench: Any) -> None:
    bench.set("pressure", max_queue=1)
    stream = keys.reply_stream("out")
    bench.run("XADD", stream, "*", "reply", "a")
    bench.run("XADD", stream, "*", "reply", "b")
    bench.ask("hello", reply_to="stream:out")
    assert paused(end(bench))
    assert states(bench) == ["ended"]


def test_while_its_queue_is_too_long_the_results_are_not_read_again(bench: Any) -> None:
    bench.set("pressure", max_queue=0)
    bench.run("RPUSH", OUT, "a")
    bench.ask("hello", reply_to="out")
    end(bench)
    for _ in range(5):
        bench.advance(30)
        bench.tick()
    assert bench.first.openai.calls["results"] == 1
    assert states(bench) == ["ended"]


def test_a_chunk_that_was_begun_is_finished_and_the_rest_waits(bench: Any) -> None:
    bench.set("pressure", max_queue=400)
    bench.ask_many(600, reply_to="out")
    assert paused(end(bench))
    assert (bench.run("LLEN", OUT), bench.owed()) == (500, 100)
    bench.run("RENAME", OUT, keys.reply_list("read"))
    bench.drain()
    assert bench.statuses() == {"succeeded": 600}


def test_a_paused_batch_does_not_hold_up_another(bench: Any) -> None:
    bench.set("pressure", max_queue=0)
    bench.run("RPUSH", OUT, "a")
    bench.ask("hello", reply_to="out")
    other = bench.ask("hello", "anthropic:messages:claude-haiku-4-5")
    end(bench)
    assert sorted(states(bench)) == ["ended", "settled"]
    assert bench.reply(other, "anthropic:messages:claude-haiku-4-5").status == "succeeded"


def test_a_store_that_is_almost_full_pauses_settling_until_it_has_room_again(bench: Any, fill: Fill) -> None:
    bench.ask_many(5)
    assert "95% of its maxmemory (pressure.pause_above is 90%)" in paused(end(bench))[0]
    assert (states(bench), bench.owed()) == (["ended"], 5)
    fill.used = 0.9
    bench.advance(10)
    bench.tick()
    assert bench.statuses() == {"succeeded": 5}


@pytest.mark.usefixtures("fill")
def test_answers_smaller_than_their_requests_make_room_and_go_on(bench: Any) -> None:
    bench.ask(LONG)
    assert not paused(end(bench))
    assert bench.statuses() == {"succeeded": 1}


@pytest.mark.usefixtures("fill")
def test_a_queue_whose_reader_keeps_up_goes_on(bench: Any) -> None:
    bench.ask_many(5, reply_to="out")
    assert not paused(end(bench))
    assert bench.statuses() == {"succeeded": 5}


@pytest.mark.usefixtures("fill")
def test_what_went_without_an_answer_is_sent_again_even_so(bench: Any) -> None:
    bench.ask("hello [[fail-once]]")
    assert not paused(end(bench))
    assert bench.batches()[0].retried == 1
