"""Gemini through the whole engine: with the rows in a file, and with the rows in the create call."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from starlette.responses import JSONResponse
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import Ambiguous
from batchline.store import keys

GENERATE = "gemini:generate:gemini-2.5-flash"
EMBED = "gemini:embed:gemini-embedding-2"
LANES = [GENERATE, EMBED]


def provider_of(worker: Any, manner: str) -> Any:
    return worker.inline if manner == "inline" else worker.gemini


def lost_reply() -> Ambiguous:
    return Ambiguous("the reply was lost; it may have happened", account="gemini", call="create")


def check(bench: Any, asked: int, *, created: int = 1) -> None:
    """All were answered, each with the first attempt, and nothing was executed or paid twice."""
    assert bench.statuses() == {"succeeded": asked}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    assert bench.bill()["double_executions"] == 0
    assert bench.created("gemini") == created
    check_money(bench)


def check_money(bench: Any, lane: str = GENERATE) -> None:
    """The ledger equals the emulator's bill."""
    (row,) = bench.bill()["models"]
    ledger = bench.ledger(lane)
    tokens_in = sum(ledger.get(f"tokens:{kind}", 0) for kind in ("input_uncached", "cache_read", "cache_write"))
    assert ledger["settled:succeeded:batch"] == row["succeeded"]
    assert (tokens_in, ledger.get("tokens:output", 0)) == (row["input_tokens"], row["output_tokens"])
    assert (ledger["list_nano:batch"], ledger["paid_nano:batch"]) == (row["list_nano_usd"], row["paid_nano_usd"])
    assert ledger["paid_nano:batch"] > 0


# --- there and back ---


@pytest.mark.parametrize("lane", LANES)
def test_every_reply_answers_its_own_question(bench: Any, manner: str, lane: str) -> None:
    texts = {bench.ask(text, lane): text for text in ("one", "two", "drei \u2028 \x85 ü")}
    bench.drain()
    for request_id, text in texts.items():
        reply = bench.reply(request_id, lane)
        assert (reply.status, reply.attempts, reply.route) == ("succeeded", 1, "batch")
        assert bench.answers_itself(reply, text)
    assert provider_of(bench.first, manner).calls["create"] == 1
    check_money(bench, lane)


def test_small_batches_go_inline_and_leave_no_file(bench: Any) -> None:
    bench.go_inline()
    bench.ask_many(3, GENERATE)
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.input_ref == ""
    assert bench.providers["gemini"].storage().files == 0
    assert len(bench.store.batches.sent(batch.id)) == 3
    bench.drain()
    assert bench.store.batches.sent(batch.id) == []
    check(bench, 3)


def test_a_batch_too_large_for_the_create_call_goes_as_a_file(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchline.providers import gemini  # noqa: PLC0415

    monkeypatch.setattr(gemini, "INLINE_BYTES", 2_000)
    bench.go_inline()
    bench.ask_many(30, GENERATE)
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.input_ref.startswith("files/")
    assert bench.store.batches.sent(batch.id) == []
    bench.drain()
    check(bench, 30)


def test_without_their_metadata_inline_answers_are_matched_by_their_place(bench: Any) -> None:
    bench.start(gemini_echo_metadata=False)
    bench.go_inline()
    texts = {bench.ask(text, GENERATE): text for text in (f"question {n}" for n in range(20))}
    bench.drain()
    assert all(bench.answers_itself(bench.reply(name, GENERATE), text) for name, text in texts.items())
    check(bench, 20)


def test_inline_answers_that_lost_their_order_are_matched_by_their_metadata(bench: Any) -> None:
    bench.start(gemini_shuffle_inline=True)
    bench.go_inline()
    texts = {bench.ask(text, GENERATE): text for text in (f"question {n}" for n in range(20))}
    bench.drain()
    assert all(bench.answers_itself(bench.reply(name, GENERATE), text) for name, text in texts.items())
    check(bench, 20)


def test_thoughts_are_paid_as_output(bench: Any, manner: str) -> None:
    request_id = bench.ask("think", GENERATE)
    bench.drain()
    reply = bench.reply(request_id, GENERATE)
    told = reply.response["usageMetadata"]
    assert told["thoughtsTokenCount"] >= 16
    assert reply.usage.output_tokens == told["candidatesTokenCount"] + told["thoughtsTokenCount"]
    check_money(bench)


def test_after_settling_its_file_is_deleted_and_what_gemini_does_not_let_go_of_is_left(bench: Any) -> None:
    bench.ask_many(3, GENERATE)
    bench.drain()
    assert bench.providers["gemini"].storage().files == 1
    bench.advance(3_700)
    with capture_logs() as logs:
        bench.tick()
    assert bench.providers["gemini"].storage().files == 0
    assert "file.not_deleted" not in {event["event"] for event in logs}
    assert bench.run("ZCARD", keys.FILES) == 0


# --- some fail ---


def test_what_failed_once_is_answered_by_the_second_attempt(bench: Any, manner: str) -> None:
    once, plain = bench.ask("try [[fail-once]]", GENERATE), bench.ask("plain", GENERATE)
    bench.drain()
    assert (bench.reply(once, GENERATE).status, bench.reply(once, GENERATE).attempts) == ("succeeded", 2)
    assert bench.reply(plain, GENERATE).attempts == 1
    check_money(bench)


def test_a_batch_that_succeeded_in_part_has_ended(bench: Any, manner: str) -> None:
    bench.start(gemini_partial_state="JOB_STATE_PARTIALLY_SUCCEEDED")
    refused, plain = bench.ask("[[reject]]", GENERATE), bench.ask("plain", GENERATE)
    bench.drain(rounds=4)
    assert bench.reply(refused, GENERATE).error.code == "rejected"
    assert bench.reply(plain, GENERATE).status == "succeeded"
    assert bench.created("gemini") == 1


@pytest.mark.usefixtures("unchecked", "manner")
@pytest.mark.parametrize("told", ["refuse", "job", "line"])
def test_one_wrong_line_fails_only_its_request(bench: Any, told: str) -> None:
    bench.start(gemini_bad_lines=told)
    good = bench.ask_many(4, GENERATE)
    wrong = {"contents": [{"parts": [{"text": "x"}]}], "no_such_field": 1}
    bench.add(GENERATE, id="wrong", body=json.dumps(wrong))
    bench.sent.append("wrong")
    good += bench.ask_many(4, GENERATE)
    bench.drain()
    reply = bench.reply("wrong", GENERATE)
    assert (reply.status, reply.error.code, reply.error.retryable) == ("failed", "rejected", False)
    assert "no_such_field" in reply.error.message
    assert {(bench.reply(each, GENERATE).status, bench.reply(each, GENERATE).attempts) for each in good} == {
        ("succeeded", 1)
    }
    assert bench.bill()["double_executions"] == 0
    check_money(bench)


@pytest.mark.usefixtures("manner")
def test_all_requests_of_an_expired_job_go_again_with_an_attempt_used(bench: Any) -> None:
    bench.start(gemini_expire_rate=0.5, seed=expiring_first())
    bench.ask_many(5, GENERATE)
    bench.drain()
    assert bench.statuses() == {"succeeded": 5}
    assert {reply.attempts for reply in bench.all_replies().values()} == {2}
    assert bench.ledger(GENERATE)["retries:expired"] == 5
    assert bench.created("gemini") == 2
    assert bench.bill()["double_executions"] == 0
    check_money(bench)


def expiring_first() -> int:
    """Return a seed with which the first job expires and the second does not."""
    from batchline.emulator.gemini_batches import _draw  # noqa: PLC0415

    draws = ((seed, [_draw(f"{seed}/gemini-expire/{job}") < 0.5 for job in (0, 1)]) for seed in range(100))
    return next(seed for seed, expires in draws if expires == [True, False])


def test_a_job_that_runs_longer_than_48_hours_expires_and_is_given_up_after_the_last_attempt(bench: Any) -> None:
    bench.start(latency_s=200_000)
    bench.set("retry", max_attempts=2)
    request_id = bench.ask("slow", GENERATE)
    bench.drain(rounds=60, step_s=4 * 3_600)
    reply = bench.reply(request_id, GENERATE)
    assert (reply.status, reply.error.code, reply.attempts) == ("failed", "expired", 2)
    assert bench.bill()["charges"].get("gemini", 0) == 0


# --- no room ---


@pytest.mark.usefixtures("manner")
def test_a_create_without_room_lowers_the_budget_and_uses_no_attempt(bench: Any) -> None:
    bench.start(latency_s=600, enqueued_token_limits={"gemini-2.5-flash": 250})
    bench.set("flush", max_requests=4)
    for n in range(8):
        bench.ask(f"{n} " + "x" * 200, GENERATE)
    with capture_logs() as logs:
        bench.tick()
        lowered = bench.store.accounts.believed(["gemini"], now_ms=bench.now_ms)
        assert Counter(batch.state for batch in bench.open_batches()) == {"submitted": 1, "cut": 1}
        bench.drain(rounds=200)
    assert lowered["gemini", "gemini-2.5-flash"].tokens
    assert "budget.lowered" in {event["event"] for event in logs}
    check(bench, 8, created=2)


@pytest.mark.usefixtures("manner")
def test_a_job_that_failed_for_a_full_quota_goes_again_without_an_attempt_used(bench: Any) -> None:
    bench.start(latency_s=100_000)
    bench.set("flush", max_requests=3)
    bench.ask_many(6, GENERATE)
    bench.tick()
    runs, fails = bench.open_batches()
    bench.providers["gemini"].cancel(fails.provider_id)
    bench.wire.fault = failed(fails.provider_id, code=8, message="You exceeded your current quota")
    with capture_logs() as logs:
        bench.advance(30)
        bench.tick()
    assert [event["scope"] for event in logs if event["event"] == "batch.refused"] == ["busy"]
    assert "budget.lowered" in {event["event"] for event in logs}
    assert {(batch.id, batch.state, batch.reason) for batch in bench.open_batches()} == {
        (runs.id, "submitted", ""),
        (fails.id, "cut", "RESOURCE_EXHAUSTED"),
    }
    bench.drain(rounds=60, step_s=4 * 3_600)
    check(bench, 6, created=3)


def test_a_batch_that_finds_the_quota_full_is_not_halved_while_one_as_large_runs(bench: Any) -> None:
    bench.start(latency_s=100_000)
    bench.set("flush", max_requests=3)
    bench.ask_many(6, GENERATE)
    bench.tick()
    _, fails = bench.open_batches()
    with capture_logs() as logs:
        for _ in range(4):
            name = next(batch.provider_id for batch in bench.open_batches() if batch.id == fails.id)
            bench.providers["gemini"].cancel(name)
            bench.wire.fault = failed(name, code=8, message="You exceeded your current quota")
            for _ in range(40):
                bench.advance(60)
                bench.tick()
    assert [event["scope"] for event in logs if event["event"] == "batch.refused"] == ["busy"] * 4
    assert "batch.halved" not in {event["event"] for event in logs}
    bench.drain(rounds=60, step_s=4 * 3_600)
    check(bench, 6, created=6)


def failed(name: str, *, code: int, message: str) -> Any:
    """Let a batch be told as failed for this reason."""

    def fault(method: str, path: str) -> JSONResponse | None:
        if method != "GET" or not path.endswith(name):
            return None
        metadata = {"state": "BATCH_STATE_FAILED", "batchStats": {"requestCount": "3"}}
        error = {"code": code, "message": message}
        return JSONResponse({"name": name, "metadata": metadata, "done": True, "error": error})

    return fault


# --- cancelled ---


@pytest.mark.usefixtures("manner")
def test_a_request_cancelled_before_submission_is_left_out(bench: Any) -> None:
    bench.set("flush", max_age=60.0)
    kept, dropped = bench.ask("keep", GENERATE), bench.ask("drop", GENERATE)
    also = bench.ask("keep too", GENERATE)
    cancelling.cancel_request(bench.first.context, GENERATE, dropped)
    bench.advance(90)
    bench.drain()
    assert {name: bench.reply(name, GENERATE).status for name in (kept, dropped, also)} == {
        kept: "succeeded",
        dropped: "cancelled",
        also: "succeeded",
    }
    assert bench.bill()["executions"] == {"gemini": 2}


@pytest.mark.usefixtures("manner")
def test_a_request_cancelled_while_it_is_rendered_is_left_out_of_its_batch(bench: Any) -> None:
    bench.start(gemini_echo_metadata=False)
    names = bench.ask_many(5, GENERATE)
    bench.first.deaf = True
    bench.tick()
    bench.first.deaf = False
    (batch,) = bench.open_batches()
    assert batch.state == "cut"
    cancelling.cancel_request(bench.first.context, GENERATE, names[1])
    bench.advance(60)
    bench.drain()
    assert bench.reply(names[1], GENERATE).status == "cancelled"
    left = [name for name in names if name != names[1]]
    assert all(bench.answers_itself(bench.reply(name, GENERATE), f"question {name[1:]}") for name in left)
    assert bench.bill()["executions"] == {"gemini": 4}


@pytest.mark.usefixtures("manner")
@pytest.mark.parametrize("has_results", [False, True])
def test_a_running_batch_that_is_cancelled_ends_and_what_was_done_is_delivered(bench: Any, has_results: bool) -> None:
    bench.start(latency_s=3_600, gemini_cancelled_results=has_results)
    bench.ask_many(40, GENERATE)
    bench.tick()
    (batch,) = bench.open_batches()
    bench.advance(1_800)
    cancelling.cancel_batch(bench.first.context, batch.id)
    bench.drain()
    statuses = bench.statuses()
    assert statuses["succeeded"] + statuses["cancelled"] == 40
    assert bool(statuses["succeeded"]) is has_results
    assert bench.created("gemini") == 1
    assert bench.bill()["batches_cancelled"] == {"gemini": 1}
    if has_results:
        check_money(bench)


# --- crashes ---


def test_a_batch_whose_creates_reply_was_lost_is_found_by_its_name(bench: Any, manner: str) -> None:
    bench.start(gemini_echo_metadata=False)
    bench.ask_many(5, GENERATE)
    provider_of(bench.first, manner).break_after("create", lost_reply())
    with capture_logs() as logs:
        bench.tick()
        assert [batch.state for batch in bench.batches()] == ["reconciling"]
        bench.advance(5)
        bench.tick()
    assert [event["how"] for event in logs if event["event"] == "batch.submitted"] == ["adopted"]
    bench.drain()
    check(bench, 5)


def test_what_a_dead_worker_did_not_create_is_sent_again_once(bench: Any, manner: str, death: Any) -> None:
    bench.ask_many(5, GENERATE)
    provider_of(bench.first, manner).break_before("create", death())
    with pytest.raises(death):
        bench.tick()
    assert [batch.state for batch in bench.batches()] == ["submitting"]
    second = bench.worker("second")
    bench.lapse()
    bench.drain(second)
    assert "absent" in {batch.reason for batch in bench.batches()}
    check(bench, 5)


def test_what_a_dead_worker_created_is_not_created_again(bench: Any, manner: str, death: Any) -> None:
    bench.start(gemini_echo_metadata=False)
    bench.ask_many(5, GENERATE)
    provider_of(bench.first, manner).break_after("create", death())
    with pytest.raises(death):
        bench.tick()
    bench.lapse()
    bench.drain(bench.worker("second"))
    check(bench, 5)
