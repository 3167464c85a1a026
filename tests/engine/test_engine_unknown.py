"""A batch that its provider does not know (404) is reported, and given up only when it can neither cost anything nor be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import KeyRefused, NotFound
from batchline.store import keys
from batchline.store.records import Batch

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LANES = [CHAT, HAIKU]
HOUR = 3600
DAY = 24 * HOUR


def events(bench: Any, name: str) -> list[Any]:
    """Tick and return the log events of a name."""
    with capture_logs() as logs:
        bench.tick()
    return [entry for entry in logs if entry["event"] == name]


def not_found(method: str, path: str) -> Response | None:
    """Answer 404 to every question about a batch."""
    if method != "GET" or "/batches/" not in path:
        return None
    return JSONResponse({"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}, 404)


def empty_lists(method: str, path: str) -> Response | None:
    """Answer as another project: no batch is known, and none is listed."""
    if method == "GET" and path.endswith("/batches"):
        return JSONResponse({"data": [], "has_more": False, "first_id": None, "last_id": None})
    return not_found(method, path)


@pytest.fixture
def lose(bench: Any) -> Callable[..., Batch]:
    """Submit three requests, after another batch of ours where there is to be a witness, and let the provider forget them."""
    bench.start(latency_s=HOUR)
    bench.set("stuck", after=1e9)

    def lose(lane: str = CHAT, *, witness: bool = True) -> Batch:
        if witness:
            bench.ask("witness", lane)
            bench.tick()
            bench.advance(600)
        bench.ask_many(3, lane)
        bench.tick()
        batch: Batch = bench.batches()[-1]
        assert (batch.state, batch.rows) == ("submitted", 3)
        bench.emulator.jobs._jobs.pop(batch.provider_id)
        return batch

    return lose


def wait(bench: Any, seconds: float, *, step_s: float = 3 * HOUR) -> None:
    """Let time pass, with a tick now and then."""
    while seconds > 0:
        bench.advance(min(step_s, seconds))
        seconds -= step_s
        bench.tick()


def batch_of(bench: Any, batch: Batch) -> Batch:
    found: Batch = bench.store.batches.get(batch.id)
    return found


@pytest.mark.parametrize("lane", LANES)
def test_a_batch_that_its_provider_does_not_know_is_reported_and_kept(bench: Any, lane: str) -> None:
    bench.ask_many(3, lane)
    bench.tick()
    bench.wire.fault = not_found
    for polled in range(3):
        bench.advance(900)
        (report,) = events(bench, "batch.unknown")
        assert (report["log_level"], report["again_in_s"], report["for_s"]) == ("error", 900, polled * 900)
    (batch,) = bench.batches()
    assert (batch.state, batch.unknown_since, bench.owed()) == ("submitted", bench.now_ms - 1_800_000, 3)
    assert bench.run("HKEYS", keys.account_open(batch.account)) == [batch.id.encode()]
    bench.advance(890)
    assert not events(bench, "batch.unknown")


def test_a_wait_that_is_asked_for_is_capped(bench: Any) -> None:
    bench.ask("one")
    bench.tick()
    bench.first.openai.break_before("poll", NotFound("no", account="openai", call="poll", retry_after_s=86_400.0))
    bench.advance(10)
    (report,) = events(bench, "batch.unknown")
    assert report["again_in_s"] == 900


def test_a_batch_that_is_found_again_is_polled_as_before(bench: Any) -> None:
    bench.start(latency_s=HOUR)
    bench.ask_many(3)
    bench.tick()
    bench.wire.fault = not_found
    wait(bench, 1_800, step_s=900)
    bench.wire.fault = None
    bench.advance(900)
    assert events(bench, "batch.found_again")
    (batch,) = bench.batches()
    assert (batch.state, batch.unknown_since) == ("submitted", 0)
    bench.drain(step_s=900)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


@pytest.mark.parametrize("lane", LANES)
def test_an_hour_after_its_expiry_its_requests_go_again(bench: Any, lose: Any, lane: str) -> None:
    lost = lose(lane)
    wait(bench, 24 * HOUR)
    wait(bench, HOUR - 1, step_s=900)
    assert batch_of(bench, lost).state == "submitted"
    assert bench.created(lane.split(":", 1)[0]) == 2
    bench.advance(900)
    (report,) = events(bench, "batch.lost")
    assert (report["log_level"], report["provider_batch"], report["rows"]) == ("error", lost.provider_id, 3)
    lost = batch_of(bench, lost)
    assert (lost.state, lost.outcome, lost.retried) == ("settled", "expired", 3)
    bench.drain(step_s=900)
    replies = bench.all_replies()
    assert {reply.status for reply in replies.values()} == {"succeeded"}
    assert sorted(reply.attempts for reply in replies.values()) == [1, 2, 2, 2]


def test_in_its_last_attempt_its_requests_fail_as_expired(bench: Any, lose: Any) -> None:
    bench.set("retry", max_attempts=1)
    lose()
    wait(bench, 26 * HOUR)
    errors = [reply.error.code for reply in bench.all_replies().values() if reply.error]
    assert errors == ["expired"] * 3


def test_where_no_expiry_is_told_it_is_waited_for_longer_than_any_window(bench: Any, lose: Any) -> None:
    lost = lose()
    bench.run("HSET", keys.batch(lost.id), "expires_ms", 0)
    wait(bench, 169 * HOUR - 60, step_s=7200)
    assert batch_of(bench, lost).state == "submitted"
    wait(bench, 900, step_s=900)
    assert batch_of(bench, lost).state == "settled"


def test_a_batch_that_is_unknown_for_the_first_time_long_after_its_expiry_is_waited_for(bench: Any, lose: Any) -> None:
    lost = lose()
    bench.advance(2 * DAY)
    bench.tick()
    assert batch_of(bench, lost).state == "submitted"
    wait(bench, HOUR - 1, step_s=900)
    assert batch_of(bench, lost).state == "submitted"
    wait(bench, 900, step_s=900)
    assert batch_of(bench, lost).state == "settled"


@pytest.mark.parametrize("lane", LANES)
def test_without_a_batch_of_ours_before_it_the_key_may_be_anothers_and_it_is_held(
    bench: Any, lose: Any, lane: str
) -> None:
    lost = lose(lane, witness=False)
    bench.ask("made since", lane)
    wait(bench, 2 * DAY)
    assert (batch_of(bench, lost).state, bench.owed()) == ("submitted", 3)


def test_under_the_key_of_another_project_nothing_is_sent_again(bench: Any) -> None:
    bench.ask("witness")
    bench.tick()
    bench.advance(600)
    bench.ask_many(3)
    bench.tick()
    bench.wire.fault = empty_lists
    wait(bench, 2 * DAY)
    assert (bench.created(), bench.owed()) == (2, 3)
    bench.wire.fault = None
    bench.drain(step_s=900)
    assert bench.statuses() == {"succeeded": 4}
    assert bench.bill()["double_executions"] == 0


def test_a_batch_of_another_application_is_no_witness(bench: Any, lose: Any) -> None:
    with bench.providers["openai"]._calling("create") as client:
        client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-none")
    bench.advance(600)
    lost = lose(witness=False)
    wait(bench, 2 * DAY)
    assert batch_of(bench, lost).state == "submitted"


def test_a_batch_that_is_listed_is_not_lost(bench: Any) -> None:
    bench.ask("witness")
    bench.tick()
    bench.advance(600)
    bench.ask_many(3)
    bench.tick()
    bench.wire.fault = not_found
    wait(bench, 2 * DAY)
    assert (bench.created(), bench.owed()) == (2, 3)


def test_a_key_that_is_refused_says_nothing_about_a_batch(bench: Any, lose: Any) -> None:
    lost = lose()
    refusals = [KeyRefused("no", account="openai", call="poll", code="401") for _ in range(99)]
    bench.first.openai.break_before("poll", *refusals)
    wait(bench, 2 * DAY)
    assert (batch_of(bench, lost).state, batch_of(bench, lost).unknown_since) == ("submitted", 0)


def test_a_list_that_cannot_be_had_decides_nothing(bench: Any, lose: Any) -> None:
    lost = lose()
    wait(bench, 20 * HOUR)
    bench.wire.fault = lambda _, path: Response(status_code=503) if path.endswith("/batches") else None
    wait(bench, DAY)
    assert batch_of(bench, lost).state == "submitted"
    bench.wire.fault = None
    wait(bench, 900)
    assert batch_of(bench, lost).state == "settled"


def test_an_account_that_leaves_what_is_uncertain_to_a_person_gives_nothing_up(bench: Any, lose: Any) -> None:
    bench.set("account", on_ambiguous="hold")
    lost = lose()
    wait(bench, 2 * DAY)
    assert (batch_of(bench, lost).state, bench.owed()) == ("submitted", 3)


def test_what_a_person_cancelled_needs_no_witness_and_is_answered_when_it_can_cost_nothing(
    bench: Any, lose: Any
) -> None:
    lost = lose(witness=False)
    wait(bench, HOUR)
    cancelling.cancel_batch(bench.first.context, lost.id)
    wait(bench, 22 * HOUR)
    assert bench.owed() == 3
    wait(bench, 4 * HOUR)
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created() == 1


def test_results_that_are_not_found_are_reported_and_asked_for_again(bench: Any) -> None:
    """They are paid for: where the key is another project's, they are there under the right one."""
    bench.ask("witness")
    bench.tick()
    bench.advance(600)
    bench.ask_many(3)
    bench.tick()
    bench.wire.fault = lambda _, path: Response(status_code=404) if path.endswith("/content") else None
    wait(bench, HOUR)
    ended = bench.batches()[-1]
    job = bench.emulator.jobs._jobs.pop(ended.provider_id)
    wait(bench, 2 * DAY)
    assert batch_of(bench, ended).state == "ended"
    bench.advance(900)
    assert events(bench, "batch.unknown")
    bench.emulator.jobs._jobs[job.id] = job
    bench.wire.fault = None
    bench.drain(step_s=900)
    assert bench.statuses() == {"succeeded": 4}
    assert bench.created() == 2


def test_results_that_are_not_found_are_given_up_by_a_person_who_cancels(bench: Any) -> None:
    bench.start(latency_s=10)
    bench.ask_many(3)
    bench.tick()
    bench.wire.fault = lambda _, path: JSONResponse({}, 404) if path.endswith("/content") else None
    wait(bench, 2 * DAY)
    (batch,) = bench.open_batches()
    assert (batch.state, bench.owed()) == ("ended", 3)
    assert cancelling.cancel_batch(bench.first.context, batch.id)[0] == "ended"
    bench.tick()
    assert bench.statuses() == {"cancelled": 3}
    assert bench.created() == 1


def test_what_was_adopted_without_proof_goes_back_to_the_reconciler(bench: Any, lose: Any) -> None:
    lost = lose(HAIKU)
    bench.run("HSET", keys.batch(lost.id), "proven", 0)
    wait(bench, 26 * HOUR)
    lost = batch_of(bench, lost)
    assert (lost.state, lost.disowned != "", lost.retried, lost.unknown_since) == ("reconciling", True, 0, 0)
    bench.lapse()
    bench.drain(step_s=900)
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}


def test_a_worker_that_dies_while_it_gives_up_leaves_the_rest_to_another(bench: Any, lose: Any, death: Any) -> None:
    lost = lose()
    wait(bench, 24 * HOUR)
    bench.first.batches.break_after("ended", death())
    with pytest.raises(death):
        wait(bench, 2 * HOUR, step_s=900)
    assert batch_of(bench, lost).state == "ended"
    bench.lapse()
    bench.drain(bench.worker("second"), step_s=900)
    assert bench.statuses() == {"succeeded": 4}
    assert bench.created() == 3
