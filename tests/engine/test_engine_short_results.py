"""Results with fewer rows than the provider says were run, and results that cannot be read: what is there is settled, the rest waits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import NotFound, Permanent, Retryable
from batchline.store.records import Batch

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LANES = [CHAT, HAIKU]
MINUTE = 60
HOUR = 3600
RESULTS = ("/content", "/results")


def served(bench: Any, make: Callable[[list[bytes]], list[bytes]], *, times: int = 10**9) -> None:
    """Let the next downloads of the batch's results have lines made of the true ones, with a length that is right."""
    (batch,) = bench.open_batches()
    provider = bench.providers[batch.account]
    (ref,) = provider.poll(batch.provider_id).results
    true = provider._content("results", ref) if batch.account == "openai" else provider._lines(ref)
    content = b"".join(line + b"\n" for line in make(list(true)))
    left = [times]

    def fault(_: str, path: str) -> Response | None:
        if not path.endswith(RESULTS) or left[0] == 0:
            return None
        left[0] -= 1
        return Response(content, media_type="application/jsonl")

    bench.wire.fault = fault


def told(bench: Any, *, times: int = 10**9, **fields: Any) -> None:
    """Let the next looks at the batch show other fields than it has."""
    (batch,) = bench.open_batches()
    provider = bench.providers[batch.account]
    with provider._calling("poll") as client:
        batches = client.batches if batch.account == "openai" else client.messages.batches
        answer = batches.with_raw_response.retrieve(batch.provider_id)
        true = json.loads(getattr(answer, "http_response", answer).content)
    left = [times]

    def fault(method: str, path: str) -> Response | None:
        if method != "GET" or not path.endswith(batch.provider_id) or left[0] == 0:
            return None
        left[0] -= 1
        return JSONResponse(true | fields)

    bench.wire.fault = fault


def ended(bench: Any, lane: str = CHAT, rows: int = 4) -> None:
    """Let a batch of so many rows end at its provider; nobody has looked yet."""
    bench.ask_many(rows, lane)
    bench.tick()
    bench.advance(MINUTE)


def only(bench: Any) -> Batch:
    (batch,) = bench.batches()
    found: Batch = batch
    return found


def all_answered_once(bench: Any) -> bool:
    """Whether every request was answered in its first attempt, and none was run a second time."""
    replies = bench.all_replies().values()
    ran = sum(bench.bill()["executions"].values())
    return all((reply.status, reply.attempts) == ("succeeded", 1) for reply in replies) and ran == len(replies)


@pytest.mark.parametrize("lane", LANES)
def test_half_of_the_results_is_settled_and_the_other_half_is_read_again(bench: Any, lane: str) -> None:
    ended(bench, lane)
    served(bench, lambda lines: lines[:2], times=3)
    bench.tick()
    assert (bench.owed(), only(bench).state, only(bench).short_since) == (2, "ended", bench.now_ms)
    bench.drain()
    assert all_answered_once(bench)


def test_rows_that_stand_twice_do_not_stand_for_those_that_are_not_there(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2] * 2, times=1)
    bench.drain()
    assert all_answered_once(bench)


def test_rows_that_expired_do_not_stand_for_those_that_were_run(bench: Any) -> None:
    plain = bench.ask("plain")
    bench.ask("slow [[expire-once]]")
    bench.tick()
    bench.advance(MINUTE)
    told(bench, output_file_id=None, times=1)
    bench.drain()
    assert bench.reply(plain).attempts == 1
    assert bench.statuses() == {"succeeded": 2}


def test_a_completed_batch_whose_file_is_not_named_yet_is_asked_for_again(bench: Any) -> None:
    ended(bench)
    told(bench, output_file_id=None, times=2)
    bench.drain()
    assert all_answered_once(bench)


@pytest.mark.parametrize("times", [1, 10**9])
def test_results_of_an_ended_batch_that_names_no_address_are_read_where_they_always_are(bench: Any, times: int) -> None:
    ended(bench, HAIKU)
    told(bench, results_url=None, archived_at="2026-11-22T00:00:00Z", times=times)
    bench.tick()
    assert (bench.owed(), only(bench).state) == (0, "settled")
    assert all_answered_once(bench)


def test_what_was_run_and_is_never_told_of_goes_again_after_an_hour_and_the_alarm_says_so(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2])
    with capture_logs() as logs:
        for _ in range(60):
            bench.tick()
            bench.advance(MINUTE)
    assert (bench.created(), bench.owed()) == (1, 2)
    assert {event["action"] for event in logs if event["event"] == "result.short"} == {"look again"}
    with capture_logs() as logs:
        bench.advance(5 * MINUTE)
        bench.tick()
    (event,) = [event for event in logs if event["event"] == "result.short"]
    assert (event["log_level"], event["rows"], event["ran"], event["for_s"] >= HOUR) == ("error", 2, 4, True)
    assert "paid for twice" in event["action"]
    assert bench.ledger()["retries:missing"] == 2
    bench.wire.fault = None
    bench.drain()
    assert bench.statuses() == {"succeeded": 4}


def test_a_completed_batch_that_never_has_a_file_comes_to_an_end(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    ended(bench)
    told(bench, output_file_id=None)
    bench.drain(step_s=2 * MINUTE)
    assert bench.statuses() == {"failed": 4}


def test_where_the_provider_counts_nothing_what_has_no_row_is_missing_at_once(bench: Any) -> None:
    bench.first.openai.replace("poll", lambda real, batch: msgspec.structs.replace(real(batch), ran=0))
    ended(bench)
    served(bench, lambda lines: lines[:2])
    bench.tick()
    assert bench.ledger()["retries:missing"] == 2


def test_short_results_are_read_less_often_the_longer_they_are_short(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2])
    bench.tick()
    first = bench.first.openai.calls["results"]
    for _ in range(HOUR // 10 - 1):
        bench.advance(10)
        bench.tick()
    assert 10 <= bench.first.openai.calls["results"] - first <= 25


def test_counts_that_shrink_leave_what_was_run_to_be_waited_for(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2], times=1)
    bench.tick()
    told(bench, output_file_id=None, request_counts={"total": 4, "completed": 0, "failed": 0}, times=2)
    bench.drain()
    assert all_answered_once(bench)


def test_a_batch_that_is_not_known_when_it_is_asked_for_again_is_read_from_what_it_said_before(bench: Any) -> None:
    ended(bench)
    served(bench, lambda lines: lines[:2], times=1)
    bench.tick()
    bench.first.openai.break_before("poll", NotFound("no such batch", account="openai", call="poll"))
    bench.drain()
    assert all_answered_once(bench)


@pytest.mark.parametrize("lane", LANES)
def test_a_torn_line_holds_up_none_of_the_others(bench: Any, lane: str) -> None:
    ended(bench, lane)
    served(bench, lambda lines: [lines[0], lines[1][:40], *lines[2:]], times=2)
    bench.tick()
    assert (bench.owed(), only(bench).state) == (1, "ended")
    bench.drain()
    assert all_answered_once(bench)


def too_long(bench: Any) -> None:
    """Let the third row never be read, nor what stands behind it."""

    def results(real: Any, progress: Any, _sent: Any) -> Any:
        yield from list(real(progress))[:2]
        if progress.results:
            raise Permanent("a line is too long", account="openai", call="results", code="line_too_long")

    bench.first.openai.replace("results", results)


def test_what_stands_before_a_line_that_is_too_long_is_settled(bench: Any) -> None:
    ended(bench)
    too_long(bench)
    bench.tick()
    assert (bench.owed(), only(bench).state) == (2, "ended")


def torn(bench: Any) -> None:
    served(bench, lambda lines: [lines[0][:40], *lines[1:]])


def strange(bench: Any) -> None:
    """Let all rows be another application's."""
    renamed: Any = lambda row: msgspec.structs.replace(row, custom_id=f"row-{row.custom_id}")  # noqa: E731
    bench.first.openai.replace("results", lambda real, progress, _sent: map(renamed, real(progress)))


@pytest.mark.parametrize(("spoil", "answered"), [(torn, 3), (too_long, 2), (strange, 0)])
def test_results_that_can_never_be_read_are_kept_until_a_person_cancels_their_batch(
    bench: Any, spoil: Callable[[Any], None], answered: int
) -> None:
    ended(bench)
    spoil(bench)
    for _ in range(72):
        bench.tick()
        bench.advance(HOUR)
    assert (bench.owed(), only(bench).state) == (4 - answered, "ended")
    assert cancelling.cancel_batch(bench.first.context, only(bench).id)[0] == "ended"
    bench.advance(MINUTE)
    with capture_logs() as logs:
        bench.tick()
    assert bench.statuses() == Counter(succeeded=answered, cancelled=4 - answered)
    assert (only(bench).state, bench.created()) == ("settled", 1)
    (event,) = [event for event in logs if event["event"] == "batch.lost"]
    assert "cannot be read" in event["reason"]


def test_an_outage_gives_up_nothing_of_a_cancelled_batch(bench: Any) -> None:
    ended(bench)
    away = [Retryable("no answer", account="openai", call="results") for _ in range(8)]
    bench.first.openai.break_before("results", *away)
    bench.tick()
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    for _ in range(6):
        bench.advance(HOUR)
        bench.tick()
    assert (bench.owed(), only(bench).state) == (4, "ended")
    bench.drain(step_s=HOUR)
    assert bench.statuses() == {"succeeded": 4}


def test_a_batch_that_was_cancelled_before_it_ended_is_given_an_hour_to_become_readable(bench: Any) -> None:
    ended(bench)
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    torn(bench)
    for _ in range(58):
        bench.tick()
        bench.advance(MINUTE)
    assert (bench.owed(), only(bench).state) == (1, "ended")
    for _ in range(20):
        bench.advance(MINUTE)
        bench.tick()
    assert bench.statuses() == {"succeeded": 3, "cancelled": 1}


def test_a_batch_that_was_cancelled_before_it_ended_is_read_once_it_can_be(bench: Any) -> None:
    ended(bench)
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    served(bench, lambda lines: [lines[0][:40], *lines[1:]], times=2)
    bench.drain()
    assert bench.statuses() == {"succeeded": 4}


def test_a_worker_that_dies_while_it_gives_up_unreadable_results_leaves_the_rest_to_another(
    bench: Any, death: Any
) -> None:
    ended(bench)
    torn(bench)
    bench.tick()
    bench.advance(MINUTE)
    cancelling.cancel_batch(bench.first.context, only(bench).id)
    bench.first.batches.break_after("ended", death())
    with pytest.raises(death):
        bench.tick()
    bench.lapse()
    bench.drain(bench.worker("second"))
    assert bench.statuses() == {"succeeded": 3, "cancelled": 1}
