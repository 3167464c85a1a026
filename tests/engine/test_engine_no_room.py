"""A provider that answers 429 to creates: what is too large for it is halved, the rest waits, and somebody is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from batchline.errors import Retryable
from batchline.providers.protocol import Refusal
from batchline.settings.rules import Budget

GEMINI, PRO = "gemini:generate:gemini-2.5-flash", "gemini:generate:gemini-2.5-pro"
CHAT, OTHER = "openai:chat:gpt-5-mini", "openai:chat:gpt-5"
HAIKU = "anthropic:messages:claude-haiku-4-5"
MODEL = "gpt-5-mini"
LONG_S = 600.0
"""How long a batch is at the emulator."""
HOUR_S = 3600.0
WAIT_S = 900.0
"""How long a batch waits at most before it is tried again."""


def small_queue(bench: Any, tokens: int = 1_000, **account: Any) -> None:
    """Let the project's real limit be far below the documented one that is believed; a row of ``ask_of`` has about 8 tokens."""
    bench.start(enqueued_token_limits={"gemini-2.5-flash": tokens}, latency_s=60)
    bench.set("account", **account)


def ask_of(bench: Any, lane: str, count: int) -> None:
    for _ in range(count):
        bench.ask(f"{len(bench.sent):030}", lane)


def go_on(bench: Any, rounds: int, seconds: float = WAIT_S) -> None:
    for _ in range(rounds):
        bench.tick()
        bench.advance(seconds)


def refuse(bench: Any, message: str, *, model: str = "", **error: Any) -> None:
    """Let creates (of a model) on OpenAI be refused with 429."""

    def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        if job.model.startswith(model):
            raise Retryable(message, account="openai", call="create", code="rate_limit_exceeded", status=429, **error)
        return real(rows, job, timeout_s=timeout_s)

    bench.first.openai.replace("create", create)


def let_in(bench: Any) -> None:
    bench.first.openai.replace("create", lambda real, *args, **named: real(*args, **named))


def waiting(bench: Any) -> list[int]:
    """Return the requests of each batch that waits, the largest first."""
    return sorted((batch.requests for batch in bench.open_batches() if batch.state == "cut"), reverse=True)


def believed(bench: Any, account: str = "openai") -> dict[str, Any]:
    found = bench.store.accounts.believed([account], now_ms=bench.now_ms)
    return {pool: (limits.tokens, limits.requests) for (_, pool), limits in found.items()}


def events(logs: Any, name: str) -> list[Any]:
    return [each for each in logs if each["event"] == name]


# --- larger than the queue ---


def test_a_batch_larger_than_the_real_queue_is_halved_from_the_third_429_on_and_gets_through(bench: Any) -> None:
    small_queue(bench)
    ask_of(bench, GEMINI, 200)
    sizes = []
    for _ in range(3):
        bench.tick()
        sizes.append(waiting(bench))
        bench.advance(WAIT_S)
    assert sizes == [[200], [200], [100, 100]]
    bench.drain(rounds=100, step_s=WAIT_S)
    assert {(reply.status, reply.attempts) for reply in bench.all_replies().values()} == {("succeeded", 1)}
    assert bench.bill()["double_executions"] == 0


def test_what_a_queue_of_requests_never_takes_is_halved_too(bench: Any) -> None:
    bench.start(queued_requests_limit=40, latency_s=60)
    ask_of(bench, HAIKU, 150)
    bench.drain(rounds=200, step_s=WAIT_S)
    assert {(reply.status, reply.attempts) for reply in bench.all_replies().values()} == {("succeeded", 1)}


def test_a_batch_that_finds_no_room_behind_one_as_large_is_not_halved(bench: Any) -> None:
    bench.start(latency_s=100 * HOUR_S)
    ask_of(bench, CHAT, 40)
    bench.tick()
    refuse(bench, "You exceeded your current quota")
    ask_of(bench, f"{CHAT}|tenant=second", 40)
    bench.advance(1)
    go_on(bench, 20)
    assert waiting(bench) == [40]


def test_a_queue_that_others_fill_for_hours_leaves_what_waits_in_few_pieces(bench: Any) -> None:
    refuse(bench, "You exceeded your current quota")
    for tenant in range(3):
        ask_of(bench, f"{CHAT}|tenant=t{tenant}", 32)
    go_on(bench, 8)
    assert waiting(bench)[:3] == [32, 32, 16]
    assert len(waiting(bench)) <= 3 + 8 - 2
    let_in(bench)
    bench.drain(rounds=50, step_s=WAIT_S)
    assert bench.statuses() == {"succeeded": 96}


def test_a_single_request_that_no_queue_takes_holds_up_no_halving_of_others(bench: Any) -> None:
    small_queue(bench)
    bench.ask("x" * 8_000, GEMINI)
    go_on(bench, 4)
    ask_of(bench, f"{GEMINI}|tenant=second", 200)
    go_on(bench, 10)
    assert bench.owed() == 1


def test_such_batches_do_not_use_up_the_open_batches_of_other_models(bench: Any) -> None:
    small_queue(bench, max_open_batches=3)
    for tenant in range(3):
        ask_of(bench, f"{GEMINI}|tenant=t{tenant}", 150)
    bench.tick()
    bench.ask("hello", PRO, id="other")
    go_on(bench, 2)
    assert bench.reply("other", PRO).status == "succeeded"


# --- somebody is told ---


def test_from_the_third_429_on_a_warning_says_what_waits_and_why(bench: Any) -> None:
    refuse(bench, "You exceeded your current quota")
    ask_of(bench, CHAT, 4)
    with capture_logs() as logs:
        go_on(bench, 3)
    (told,) = events(logs, "batch.finds_no_room")
    assert told["log_level"] == "warning"
    assert (told["rows"], told["times"], told["halved"], told["reason"]) == (
        4,
        3,
        True,
        "You exceeded your current quota",
    )


def test_a_single_request_that_never_gets_in_is_reported_as_an_error(bench: Any) -> None:
    small_queue(bench)
    bench.ask("x" * 8_000, GEMINI)
    with capture_logs() as logs:
        go_on(bench, 5)
    told = events(logs, "batch.no_room")
    assert [(each["log_level"], each["times"]) for each in told] == [("error", 3), ("error", 4), ("error", 5)]
    assert bench.owed() == 1


# --- calls in a time are no budget ---

RATES = [
    ("Rate limit reached for batch creation. Limit: 2000 / hour. Please try again later.", 900),
    ("This request would exceed your organization's rate limit of 1,000 requests per minute", 60),
    ("Quota exceeded for metric: batch_create_requests_per_day", 900),
]


@pytest.mark.parametrize(("message", "wait_s"), RATES)
def test_a_429_that_names_calls_in_a_time_lowers_no_budget_and_stops_the_accounts_creates(
    bench: Any, message: str, wait_s: int
) -> None:
    bench.set("account", budgets=(Budget(tokens=1_000_000),))
    bench.start(latency_s=LONG_S)
    ask_of(bench, CHAT, 10)
    bench.tick()
    refuse(bench, message)
    for tenant in range(5):
        ask_of(bench, f"{CHAT}|tenant=t{tenant}", 10)
    bench.advance(1)
    bench.tick()
    bench.advance(wait_s - 1)
    bench.tick()
    assert believed(bench) == {}
    assert bench.first.openai.calls["create"] == 2
    let_in(bench)
    bench.advance(60)
    bench.tick()
    assert sum(batch.state == "submitted" and batch.rows == 10 for batch in bench.batches()) >= 5


def test_a_rate_that_names_a_model_holds_up_no_other(bench: Any) -> None:
    refuse(bench, f"Rate limit reached for {MODEL} on requests per min (RPM)", model=MODEL)
    ask_of(bench, CHAT, 4)
    bench.tick()
    ask_of(bench, OTHER, 4)
    bench.tick()
    assert [batch.lane for batch in bench.batches() if batch.state == "submitted"] == [OTHER]


def test_calls_in_a_time_halve_nothing_before_it_may_be_rows_that_are_counted(bench: Any) -> None:
    refuse(bench, RATES[0][0])
    ask_of(bench, CHAT, 8)
    go_on(bench, 11)
    assert waiting(bench) == [8]
    go_on(bench, 1)
    assert waiting(bench) == [4, 4]


def test_a_429_that_says_how_long_to_wait_is_no_shorter_wait_than_that_of_a_full_queue(bench: Any) -> None:
    refuse(bench, "slow down", retry_after_s=1.0)
    ask_of(bench, CHAT, 4)
    bench.tick()
    (batch,) = bench.batches()
    assert batch.next_ms == bench.now_ms + 60_000


def test_creates_of_the_hour_that_are_fewer_than_thought_are_learned_and_cost_no_attempt(bench: Any) -> None:
    bench.start(creates_per_hour=3, latency_s=LONG_S)
    bench.set("account", creates_per_hour=2000, budgets=(Budget(tokens=1_000_000),))
    for tenant in range(10):
        ask_of(bench, f"{CHAT}|tenant=t{tenant}", 2)
    go_on(bench, 30, 60)
    assert believed(bench) == {}
    assert bench.bill()["quotas"]["openai"]["creates_per_hour"]["refused"] <= 3
    bench.drain(rounds=100, step_s=WAIT_S)
    assert {(reply.status, reply.attempts) for reply in bench.all_replies().values()} == {("succeeded", 1)}


# --- what is believed ---


def test_a_limit_named_for_one_model_is_not_believed_of_all_that_share_a_budget(bench: Any) -> None:
    bench.start(enqueued_token_limits={"gpt-5": 1_000}, latency_s=LONG_S)
    bench.set("account", budgets=(Budget(match="gpt-*", tokens=100_000, shared=True),))
    for n in range(8):
        bench.ask(f"{n:0800}", OTHER)
    bench.tick()
    bench.advance(20)
    bench.tick()
    assert believed(bench) == {}
    for n in range(40):
        bench.ask(f"{n:0800}")
    go_on(bench, 5, 5)
    sent = [batch for batch in bench.batches() if batch.state == "submitted" and batch.lane == CHAT]
    assert sum(batch.rows for batch in sent) == 40


def test_a_limit_named_in_requests_is_believed_in_requests(bench: Any) -> None:
    message = "Enqueued request limit reached for gpt-5-mini in organization org-1. Limit: 1,000,000 enqueued requests."

    def poll(real: Any, provider_id: str) -> Any:
        refusal = Refusal(scope="busy", code="token_limit_exceeded", message=message, limit=1_000_000)
        return msgspec.structs.replace(real(provider_id), outcome="failed", refusal=refusal)

    bench.first.openai.replace("poll", poll)
    ask_of(bench, CHAT, 4)
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert believed(bench) == {MODEL: (None, 1_000_000)}


KNOWN = [((), 50_000), ((Budget(tokens=100_000),), 5_000)]


@pytest.mark.parametrize(("budgets", "least"), KNOWN, ids=["no limit known", "a sliver of the known one"])
def test_a_guess_leaves_more_than_the_single_request_that_was_let_in(bench: Any, budgets: Any, least: int) -> None:
    bench.start(latency_s=LONG_S)
    bench.set("account", budgets=budgets)
    ask_of(bench, CHAT, 1)
    bench.tick()
    refuse(bench, "You exceeded your current quota")
    ask_of(bench, f"{CHAT}|tenant=second", 1)
    bench.advance(1)
    bench.tick()
    assert believed(bench) == {MODEL: (least, None)}
