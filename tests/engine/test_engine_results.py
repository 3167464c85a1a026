"""What a batch brings: answers, failures, nothing at all, too much, or what is somebody else's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from batchline import custom_ids
from batchline.engine import settler
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LANES = [CHAT, HAIKU]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("marker", ["[[fail-once]]", "[[expire-once]]", "[[missing-once]]"])
def test_what_failed_once_is_answered_by_the_second_attempt(bench: Any, lane: str, marker: str) -> None:
    text = f"try {marker}"
    once, plain = bench.ask(text, lane), bench.ask("plain", lane)
    bench.drain(step_s=120)  # for an hour a row that ran is waited for
    reply = bench.reply(once, lane)
    assert (reply.status, reply.attempts) == ("succeeded", 2)
    assert bench.answers_itself(reply, text)
    assert bench.reply(plain, lane).attempts == 1
    reasons = {"[[fail-once]]": "provider_error", "[[expire-once]]": "expired", "[[missing-once]]": "missing"}
    retries = bench.ledger(lane)
    if marker == "[[missing-once]]" and lane == CHAT:
        assert retries[f"retries:{reasons[marker]}"] == 1
    assert sum(n for field, n in retries.items() if field.startswith("retries:")) == 1


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("marker", "code"), [("[[fail]]", "provider_error"), ("[[missing]]", "provider_error"), ("[[expire]]", "expired")]
)
def test_what_fails_in_every_attempt_is_given_up(bench: Any, lane: str, marker: str, code: str) -> None:
    request_id = bench.ask(f"try {marker}", lane)
    plain = bench.ask("plain", lane)
    bench.drain(rounds=200, step_s=120)
    reply = bench.reply(request_id, lane)
    assert (reply.status, reply.error.code, reply.attempts) == ("failed", code, 3)
    assert reply.error.retryable is True
    assert "3 attempts" in reply.error.message
    assert (reply.cost, reply.usage, reply.response) == (None, None, None)
    assert bench.reply(plain, lane).status == "succeeded"
    assert bench.created(lane.split(":", 1)[0]) == 3


def test_the_attempts_are_as_many_as_the_settings_say(bench: Any) -> None:
    bench.set("retry", max_attempts=5)
    request_id = bench.ask("[[fail]]")
    bench.drain(rounds=400)
    assert bench.reply(request_id).attempts == 5


def test_an_error_of_mixed_attempts_is_a_provider_error(bench: Any) -> None:
    bench.set("retry", max_attempts=2)
    request_id = bench.ask("[[expire]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    bench.first.openai.replace(
        "results",
        lambda real, progress, _sent: (
            msgspec.structs.replace(r, kind="retryable", code="server_error") for r in real(progress)
        ),
    )
    bench.drain()
    assert (bench.reply(request_id).error.code, bench.reply(request_id).attempts) == ("provider_error", 2)


@pytest.mark.parametrize("lane", LANES)
def test_what_the_provider_rejects_is_not_sent_again(bench: Any, lane: str) -> None:
    request_id = bench.ask("[[reject]]", lane)
    bench.drain()
    reply = bench.reply(request_id, lane)
    assert (reply.status, reply.error.code, reply.error.retryable, reply.attempts) == ("failed", "rejected", False, 1)
    assert "reject marker" in reply.error.message
    assert reply.batch is not None
    assert bench.created(lane.split(":", 1)[0]) == 1


def test_a_rejection_names_the_providers_own_code(bench: Any) -> None:
    request_id = bench.ask("[[reject]]")
    bench.drain()
    assert bench.reply(request_id).error.provider_code == "invalid_prompt"


@pytest.mark.parametrize("lane", LANES)
def test_a_row_that_stands_twice_is_answered_once(bench: Any, lane: str) -> None:
    request_id = bench.ask("[[duplicate]]", lane)
    bench.ask("plain", lane)
    bench.drain()
    assert bench.reply(request_id, lane).status == "succeeded"
    assert bench.ledger(lane)["settled:succeeded:batch"] == 2
    (row,) = bench.bill()["models"]
    assert bench.ledger(lane)["paid_nano:batch"] == row["paid_nano_usd"]


def foreign_rows(bench: Any, make: Any) -> None:
    """Let results begin with rows made from the first one."""

    def results(real: Any, progress: Any, _sent: Any) -> Any:
        ours = list(real(progress))
        yield from (make(row) for row in ours)
        yield from ours

    bench.first.openai.replace("results", results)


def renamed(custom_id: str) -> Any:
    return lambda row: msgspec.structs.replace(row, custom_id=custom_id)


@pytest.mark.parametrize("custom_id", ["request-1", "", "aaaaaaaaaa_00000000_1-1_00000000"])
def test_rows_of_others_are_ignored_and_reported(bench: Any, custom_id: str) -> None:
    foreign_rows(bench, renamed(custom_id))
    asked = bench.ask_many(3)
    with capture_logs() as logs:
        bench.drain()
    assert bench.statuses() == {"succeeded": len(asked)}
    (event,) = [event for event in logs if event["event"] == "result.unknown"]
    assert (event["rows"], event["log_level"]) == (3, "error")
    assert bench.bill()["double_executions"] == 0


def test_a_row_whose_check_names_another_request_is_given_to_nobody(bench: Any) -> None:
    def crossed(row: Any) -> Any:
        parsed: Any = custom_ids.parse(row.custom_id)
        return msgspec.structs.replace(row, custom_id=custom_ids.make(parsed.nonce, CHAT, parsed.entry_id, "another"))

    foreign_rows(bench, crossed)
    asked = bench.ask_many(3)
    with capture_logs() as logs:
        bench.drain()
    assert bench.statuses() == {"succeeded": len(asked)}
    assert sum(event["event"] == "result.mismatch" for event in logs) == 3


def test_a_failure_of_an_older_attempt_changes_nothing(bench: Any) -> None:
    def older(row: Any) -> Any:
        parsed: Any = custom_ids.parse(row.custom_id)
        stale = custom_ids.make("a" * 10, CHAT, parsed.entry_id, "r0")
        # A chunk of its own: in one with the answer, that would be settled first.
        return msgspec.structs.replace(row, custom_id=stale, kind="retryable", body=None, size=settler.CHUNK_BYTES)

    foreign_rows(bench, older)
    request_id = bench.ask("hello")
    bench.drain()
    assert (bench.reply(request_id).status, bench.reply(request_id).attempts) == ("succeeded", 1)
    assert [batch.retried for batch in bench.batches()] == [0]


def test_a_batch_with_only_the_rows_of_others_is_held_and_nothing_given_up(bench: Any) -> None:
    strange: Any = lambda row: msgspec.structs.replace(row, custom_id=f"row-{row.custom_id}")  # noqa: E731
    bench.first.openai.replace("results", lambda real, progress, _sent: map(strange, real(progress)))
    bench.ask_many(3)
    for _ in range(30):  # longer than results with too few rows are waited for
        bench.tick()
        bench.advance(600)
    assert bench.owed() == 3
    assert [batch.state for batch in bench.batches()] == ["ended"]


def test_a_batch_that_was_cancelled_at_the_provider_is_sent_again(bench: Any) -> None:
    bench.start(latency_s=600)
    asked = bench.ask_many(4)
    bench.tick()
    (batch,) = bench.batches()
    bench.first.openai.cancel(batch.provider_id)
    bench.drain(step_s=60)
    assert {bench.reply(request_id).attempts for request_id in asked} == {2}
    assert bench.ledger()["retries:cancelled"] == 4


def test_results_of_more_than_one_chunk_are_all_settled(bench: Any) -> None:
    bench.ask_many(1_203)
    bench.drain()
    assert bench.statuses() == {"succeeded": 1_203}
    assert bench.first.settling.calls["settle"] >= 3


def test_a_batch_reports_itself_when_it_is_settled(bench: Any) -> None:
    start = bench.now_ms
    bench.ask_many(3)
    bench.ask("[[reject]]")
    with capture_logs() as logs:
        bench.tick()
        bench.advance(1)
        bench.advance(9)
        bench.tick()
    (event,) = [event for event in logs if event["event"] == "batch.settled"]
    (batch,) = bench.batches()
    assert (event["batch"], event["lane"], event["provider_batch"]) == (batch.id, CHAT, batch.provider_id)
    assert (event["trigger"], event["outcome"], event["rows"]) == ("age", "completed", 4)
    assert (event["submitted_ms"], event["ended_ms"]) == (start, start + 2_000)
    assert (event["expected_end_ms"], event["settled_ms"]) == (start + 86_400_000, start + 10_000)
    assert (event["answered"], event["failed"], event["error_ratio"]) == (3, 1, 0.25)
    # 3 answers of 3 tokens in and 18 out: 3 x (3 x 125 + 18 x 1,000) nano-dollars
    assert (event["paid_usd"], event["paid_usd_per_request"]) == ("0.000055125", "0.000018375")
    assert (event["input_tokens"], event["output_tokens"]) == (9, 54)


def test_polls_of_a_long_batch_are_few_and_its_end_is_seen_soon(bench: Any) -> None:
    bench.start(latency_s=6 * 3600)
    bench.ask("hello")
    bench.tick()
    start = bench.now_ms
    while bench.owed():
        (due,) = [batch.next_ms for batch in bench.batches()]
        bench.advance((due - bench.now_ms) / 1000 + 1)  # the tick that sees it may come a second late
        bench.first.tick()
    assert bench.first.openai.calls["poll"] <= 120
    assert (bench.now_ms - start) / 1000 <= 6 * 3600 * 1.05 + 1


def test_an_account_has_its_room_back_when_a_batch_ends(bench: Any) -> None:
    bench.ask("hello")
    bench.tick()
    assert bench.run("HLEN", keys.account_open("openai")) == 1
    bench.drain()
    assert bench.run("HLEN", keys.account_open("openai")) == 0
