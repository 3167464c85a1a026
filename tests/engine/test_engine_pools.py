"""What counts against what: budgets that models share, settings that change, batches that wait beside those that are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchline.errors import Retryable
from batchline.settings.rules import Budget

CHAT, GPT4 = "openai:chat:gpt-5-mini", "openai:chat:gpt-4o"
SECOND = f"{CHAT}|tenant=second"
GEMINI = "gemini:generate:gemini-2.5-flash"
EMBED = "openai:embeddings:text-embedding-3-small"
LONG_S = 600.0
"""How long a batch is at the emulator."""
LIMIT = 5_000
SENT = 24
"""Tokens of a request of ``ask``."""


@pytest.fixture
def house(bench: Any) -> Any:
    """A house with a budget of 5,000 tokens for each model."""
    bench.start(latency_s=LONG_S)
    budgets(bench, Budget(tokens=LIMIT))
    return bench


def budgets(bench: Any, *own: Budget) -> None:
    bench.set("account", budgets=own)


def ask(bench: Any, count: int, lane: str = CHAT, size: int = 30) -> None:
    for _ in range(count):
        bench.ask(f"{len(bench.sent):0{size}}", lane)


def go_on(bench: Any, rounds: int, seconds: float) -> None:
    for _ in range(rounds):
        bench.advance(seconds)
        bench.tick()


def away(bench: Any, lane: str = "") -> list[Any]:
    """Return the batches at a provider, of a lane or all."""
    return [batch for batch in bench.batches() if batch.state == "submitted" and lane in {"", batch.lane}]


def waiting(bench: Any) -> list[str]:
    return [batch.lane for batch in bench.batches() if batch.state == "cut"]


def uploads(bench: Any) -> int:
    return int(bench.first.openai.calls["upload"])


def tokens_away(bench: Any) -> int:
    return sum(batch.sent_tokens for batch in away(bench))


# --- pools ---


def test_two_budgets_that_models_share_do_not_count_as_one(house: Any) -> None:
    budgets(
        house,
        Budget(match="gpt-5-mini*", tokens=LIMIT, shared=True),
        Budget(match="gpt-4*", tokens=10 * LIMIT, shared=True),
    )
    ask(house, 1_600, GPT4)
    house.tick()
    ask(house, 100)
    go_on(house, 2, 1)
    assert sum(batch.rows for batch in away(house, CHAT)) == 100
    assert tokens_away(house) > 2 * LIMIT


def test_a_budget_holds_what_is_open_when_its_lanes_get_another_pool(house: Any) -> None:
    ask(house, 40, size=800)
    house.tick()
    before = tokens_away(house)
    budgets(house, Budget(match="gpt-5*", tokens=LIMIT, shared=True))
    go_on(house, 3, 5)
    assert before <= tokens_away(house) <= LIMIT
    house.drain(step_s=LONG_S / 4)
    assert {reply.attempts for reply in house.all_replies().values()} == {1}


def test_models_that_get_budgets_of_their_own_no_longer_wait_for_each_other(house: Any) -> None:
    budgets(house, Budget(match="gpt-*", tokens=LIMIT, shared=True))
    ask(house, 300)
    house.tick()
    ask(house, 100, GPT4)
    go_on(house, 2, 1)
    assert away(house, GPT4) == []
    budgets(house, Budget(match="gpt-*", tokens=LIMIT))
    go_on(house, 2, 1)
    assert sum(batch.rows for batch in away(house, GPT4)) == 100


# --- what waits is not sent over and over ---


def test_a_request_that_waits_for_most_of_its_budget_is_not_uploaded_meanwhile(house: Any) -> None:
    ask(house, 100)
    house.tick()
    ask(house, 1, SECOND, size=15_000)
    before = uploads(house)
    go_on(house, 40, 2)
    assert waiting(house) == [SECOND]
    assert uploads(house) == before
    house.drain(step_s=LONG_S / 4)
    assert uploads(house) == house.created()
    assert {reply.attempts for reply in house.all_replies().values()} == {1}


def test_batches_without_a_create_left_in_the_hour_are_not_uploaded_meanwhile(bench: Any) -> None:
    bench.start(creates_per_hour=3, latency_s=60)
    bench.first.deaf = True  # all are cut before anything is created
    for n in range(6):
        ask(bench, 1, f"{CHAT}|tenant=t{n}")
    bench.tick()
    bench.set("account", creates_per_hour=3)
    bench.first.deaf = False
    go_on(bench, 20, 31)
    assert (bench.created(), uploads(bench), len(waiting(bench))) == (3, 3, 3)
    bench.drain(step_s=900)
    assert uploads(bench) == bench.created() == 6


def test_no_more_is_cut_than_has_a_create_left_in_the_hour(bench: Any) -> None:
    bench.set("account", creates_per_hour=3)
    bench.first.deaf = True
    for n in range(6):
        ask(bench, 1, f"{CHAT}|tenant=t{n}")
    bench.tick()
    assert len(waiting(bench)) == 3


# --- batches at the provider at one time ---


def test_the_parts_of_a_split_batch_keep_to_the_open_batches_of_the_account(bench: Any) -> None:
    bench.start(latency_s=LONG_S)
    bench.set("account", max_open_batches=1)
    body = json.dumps({"model": "text-embedding-3-small", "input": ["a"] * 2_000})
    for n in range(80):
        bench.add(EMBED, id=f"e{n}", body=body)
    most = 0
    for _ in range(12):
        bench.tick()
        most = max(most, len(away(bench)))
        bench.advance(5)
    assert (most, len(waiting(bench)) > 0) == (1, True)
    assert uploads(bench) == bench.created() == 1
    bench.drain(step_s=LONG_S / 2)
    assert uploads(bench) == bench.created() > 1


def test_one_request_too_large_for_the_queue_does_not_stop_its_lane(bench: Any) -> None:
    bench.start(enqueued_token_limits={"gemini-2.5-flash": 1_000}, latency_s=60)
    bench.ask("x" * 8_000, GEMINI)
    bench.tick()
    ask(bench, 20, GEMINI)
    go_on(bench, 6, 900)
    assert bench.owed() == 1


def order_of_lanes(bench: Any, seconds: int) -> list[str]:
    """Return the lanes of batches in the order in which they were sent in so many seconds."""
    order: list[str] = []
    for _ in range(seconds):
        bench.tick()
        order += [batch.id for batch in bench.batches() if batch.submitted_ms and batch.id not in order]
        bench.advance(1)
    lanes = {batch.id: batch.lane for batch in bench.batches()}
    return [lanes[batch] for batch in order]


@pytest.mark.parametrize("why", ["cut in one tick", "went again"])
def test_a_batch_that_waits_for_a_place_gets_one_before_new_cuts_of_another_model(bench: Any, why: str) -> None:
    one_at_a_time(bench)
    bench.first.deaf = why == "cut in one tick"
    if why == "went again":
        refused: list[bool] = []

        def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
            if job.model == "gpt-4o" and not refused:
                refused.append(True)
                raise Retryable("full", account="openai", call="create", code="rate_limit_exceeded", status=429)
            return real(rows, job, timeout_s=timeout_s)

        bench.first.openai.replace("create", create)
        bench.ask("x", GPT4)
        bench.tick()
    bench.ask_many(30, CHAT)
    if why == "cut in one tick":
        bench.ask("x", GPT4)
        bench.tick()
        bench.first.deaf = False
    assert GPT4 in order_of_lanes(bench, 150)


def test_a_place_is_kept_for_a_batch_that_was_told_of_it_while_it_is_uploaded(bench: Any) -> None:
    one_at_a_time(bench)
    second = bench.worker("second")
    bench.first.deaf = True
    bench.ask("x", GPT4)
    bench.tick()
    bench.first.deaf = False
    bench.ask_many(40, CHAT)
    tried: list[str] = []

    def upload(real: Any, rows: Any, job: Any) -> Any:
        if job.model == "gpt-4o":
            tried.append(job.batch_id)
            bench.tick(second)  # others go on meanwhile
        return real(rows, job)

    bench.first.openai.replace("upload", upload)
    bench.advance(61)
    assert GPT4 in order_of_lanes(bench, 120)
    assert len(tried) == 1


def one_at_a_time(bench: Any) -> None:
    bench.start(latency_s=8)
    bench.set("account", max_open_batches=1)
    bench.set("flush", max_requests=1)
    bench.set("poll", min_interval=1.0)
