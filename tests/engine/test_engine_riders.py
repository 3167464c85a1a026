"""Retries ride along with the next batch of their lane, and no stream of new requests keeps them waiting."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"


def failed_once(bench: Any, count: int = 1) -> list[str]:
    """Bring requests into the retry pool."""
    asked = [bench.ask(f"{n} [[fail-once]]") for n in range(count)]
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.run("ZCARD", keys.retry(CHAT)) == count
    return asked


def test_a_retry_rides_along_with_the_next_batch(bench: Any) -> None:
    (retried,) = failed_once(bench)
    bench.ask("new")
    bench.tick()
    batch = bench.open_batches()[0]
    assert (batch.requests, batch.riders, batch.rows) == (1, 1, 2)
    bench.drain()
    assert bench.reply(retried).attempts == 2
    assert bench.created() == 2


def test_a_retry_waits_for_its_backoff(bench: Any) -> None:
    failed_once(bench)
    ((_, not_before),) = bench.run("ZRANGE", keys.retry(CHAT), 0, -1, "WITHSCORES")
    wait_s = (not_before - bench.now_ms) / 1000
    assert 15 <= wait_s <= 30
    bench.advance(wait_s - 0.01)
    bench.tick()
    assert bench.open_batches() == []
    bench.advance(0.02)
    bench.tick()
    assert [batch.riders for batch in bench.open_batches()] == [1]


def test_a_retry_alone_makes_a_batch_of_its_own(bench: Any) -> None:
    bench.set("flush", max_age=0.0)
    (retried,) = failed_once(bench)
    bench.drain()
    assert (bench.reply(retried).status, bench.created()) == ("succeeded", 2)


def test_all_retries_of_a_batch_ride_together(bench: Any) -> None:
    asked = failed_once(bench, 1_100)
    bench.drain()
    assert bench.created() == 2
    assert {bench.reply(request_id).attempts for request_id in asked} == {2}


def test_a_full_lane_does_not_starve_retries(bench: Any) -> None:
    bench.set("flush", max_requests=5)
    (retried,) = failed_once(bench)
    waited = 0
    while not bench.queue(keys.reply_default(CHAT, retried)):
        bench.ask_many(5)
        bench.tick()
        bench.advance(10)
        waited += 10
        assert waited < 300
    assert bench.reply(retried).attempts == 2


def test_riders_fill_a_batch_up_to_its_most_requests(bench: Any) -> None:
    bench.set("flush", max_requests=4)
    failed_once(bench, 3)
    bench.advance(60)
    bench.ask_many(2)
    bench.tick()
    assert max(batch.rows for batch in bench.batches()) <= 4
    bench.drain()
    assert bench.statuses() == {"succeeded": 5}


def test_a_batch_with_riders_that_is_too_large_is_split(bench: Any, monkeypatch: Any) -> None:
    from batchline.providers.openai import LIMITS, OpenAIProvider  # noqa: PLC0415
    from batchline.providers.protocol import Limits  # noqa: PLC0415

    asked = failed_once(bench, 4)
    bench.advance(60)
    asked += bench.ask_many(4)
    small = Limits(max_requests=LIMITS.max_requests, max_bytes=700, max_inputs=LIMITS.max_inputs)
    monkeypatch.setattr(OpenAIProvider, "limits", small)
    bench.drain()
    assert bench.statuses() == {"succeeded": len(asked)}
    assert bench.bill()["double_executions"] == 0
    assert {bench.reply(request_id).attempts for request_id in asked[:4]} == {2}


def test_a_late_answer_settles_a_request_that_waits_in_the_retry_pool(bench: Any) -> None:
    """The provider, which counts nothing, first leaves a row out, and brings it when the results are read once more."""
    short = [True]

    def results(real: Any, progress: Any, _sent: Any) -> Any:
        rows = list(real(progress))
        yield from rows[1:] if short[0] else rows

    bench.first.openai.replace("results", results)
    bench.first.openai.replace("poll", lambda real, batch: msgspec.structs.replace(real(batch), ran=0))
    asked = bench.ask_many(3)
    bench.first.batches.break_before("settled", KeyError("a bug"))
    bench.tick()
    bench.advance(10)
    try:
        bench.tick()
    except KeyError:
        short[0] = False
    bench.lapse()
    bench.advance(30)
    bench.drain()
    assert {bench.reply(request_id).attempts for request_id in asked} <= {1, 2}
    assert bench.statuses() == {"succeeded": 3}
    assert bench.run("ZCARD", keys.retry(CHAT)) == 0


def test_a_rider_that_was_answered_meanwhile_does_not_shift_where_a_batch_is_split(
    bench: Any, monkeypatch: Any, death: Any
) -> None:
    from batchline.engine import answers  # noqa: PLC0415
    from batchline.engine.context import target  # noqa: PLC0415
    from batchline.engine.entries import read_envelope  # noqa: PLC0415
    from batchline.providers.openai import LIMITS, OpenAIProvider  # noqa: PLC0415
    from batchline.providers.protocol import Limits  # noqa: PLC0415

    asked = failed_once(bench, 6)
    bench.advance(60)
    bench.first.openai.break_before("upload", death())
    with contextlib.suppress(death):
        bench.tick()
    where = target(bench.settings, CHAT)
    (owed,) = bench.store.settling.owed(CHAT, [bench.entry_of(asked[0])])
    answer = answers.cancelled(read_envelope(owed, where.lane), None, now_ms=bench.now_ms, sent=False)
    codes = bench.store.settling.settle(
        where.lane, [msgspec.structs.replace(answer, own=False)], batch=None, route="batch", now_ms=bench.now_ms
    )
    assert codes == [1]
    small = Limits(max_requests=LIMITS.max_requests, max_bytes=500, max_inputs=LIMITS.max_inputs)
    monkeypatch.setattr(OpenAIProvider, "limits", small)
    bench.lapse()
    bench.advance(60)
    bench.drain()
    assert bench.statuses() == {"cancelled": 1, "succeeded": 5}
    assert bench.bill()["double_executions"] == 0
