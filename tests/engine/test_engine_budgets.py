"""Budgets: what is enqueued at a provider stays within them, lanes take turns, and what a provider has no room for teaches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchline.budgets import PARTS, SLIVER, most_in_range
from batchline.engine import cancelling
from batchline.errors import Retryable
from batchline.settings.rules import Budget
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
SECOND = f"{CHAT}|tenant=second"
OTHER = "openai:chat:gpt-5"
HAIKU, SONNET = "anthropic:messages:claude-haiku-4-5", "anthropic:messages:claude-sonnet-4-6"
MODEL = "gpt-5-mini"

# The body {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "<30 characters>"}]} has 100 bytes, which the walk
# estimates as 25 tokens; without its blanks, as it is sent, it has 94: 24 tokens.
TOKENS, SENT = 25, 24
LIMIT = 5_000
ROWS = 47
"""What one batch may have of that: the quarter of 95 %."""
LONG_S = 600.0
"""How long a batch is at the emulator."""


@pytest.fixture
def house(bench: Any) -> Any:
    """A house whose emulator takes 5,000 tokens of the model, as the budget says."""
    bench.start(enqueued_token_limits={MODEL: LIMIT}, latency_s=LONG_S)
    budget(bench, tokens=LIMIT)
    return bench


def budget(bench: Any, **limits: Any) -> None:
    bench.set("account", budgets=(Budget(**limits),))


def ask(bench: Any, count: int, lane: str = CHAT) -> list[str]:
    return [bench.ask(f"{len(bench.sent):030}", lane) for _ in range(count)]


def quota(bench: Any, provider: str = "openai", name: str = MODEL) -> Any:
    return bench.bill()["quotas"][provider][name]


def go_on(bench: Any, seconds: float) -> None:
    """Let time pass, and do what is due then; twice, for what an end makes room for."""
    bench.advance(seconds)
    bench.tick()
    bench.tick()


def at_provider(bench: Any, lane: str = CHAT) -> list[int]:
    """Return the rows of each batch of a lane that is at its provider."""
    return [batch.rows for batch in bench.batches() if batch.state == "submitted" and batch.lane == lane]


def waiting(bench: Any) -> list[str]:
    return [batch.lane for batch in bench.batches() if batch.state == "cut"]


def believed(bench: Any, account: str = "openai") -> Any:
    found = bench.store.accounts.believed([account], now_ms=bench.now_ms)
    return {pool: (limits.tokens, limits.requests) for (_, pool), limits in found.items()}


def answered_at_once(bench: Any) -> None:
    """See that all is answered with a single attempt each, and nothing was run twice."""
    replies = bench.all_replies().values()
    assert {(reply.status, reply.attempts) for reply in replies} == {("succeeded", 1)}
    assert bench.bill()["double_executions"] == 0


# --- room ---


def test_a_backlog_drains_within_its_budget_and_is_never_refused(house: Any) -> None:
    ask(house, 400)
    house.drain(step_s=LONG_S / 4)
    answered_at_once(house)
    assert quota(house)["refused"] == 0
    assert 0 < quota(house)["peak"] <= LIMIT
    assert {batch.again for batch in house.batches()} == {0}


def test_a_lane_fills_its_budget_but_for_the_sliver_with_whole_batches(house: Any) -> None:
    ask(house, 400)
    house.tick()
    assert at_provider(house) == [ROWS] * PARTS
    assert waiting(house) == []


def test_an_end_makes_room_for_as_much_at_the_next_tick(house: Any) -> None:
    ask(house, 200)
    house.tick()
    ask(house, 400)
    go_on(house, LONG_S / 2)
    first = at_provider(house)
    go_on(house, LONG_S / 2 + 30)
    house.advance(30)
    house.tick()
    assert sum(at_provider(house)) >= sum(first)
    assert quota(house)["refused"] == 0


def test_without_a_budget_nothing_waits(house: Any) -> None:
    house.set("account", budgets=())
    house.start(latency_s=LONG_S)
    ask(house, 400)
    house.tick()
    assert at_provider(house) == [400]


def test_a_request_larger_than_its_whole_budget_goes_once_nothing_else_is_in_it(house: Any) -> None:
    budget(house, tokens=10)
    house.ask("x" * 400)
    house.ask("y" * 400)
    house.tick()
    assert at_provider(house) == [1]
    house.drain(step_s=LONG_S)
    answered_at_once(house)
    assert house.created() == 2


def test_a_batch_larger_than_its_part_of_the_budget_goes_in_parts(house: Any) -> None:
    house.set("account", budgets=())
    house.first.deaf = True
    ask(house, 150)
    house.tick()
    assert [batch.requests for batch in house.batches()] == [150]
    budget(house, tokens=LIMIT)
    house.first.deaf = False
    house.advance(30)
    house.tick()
    house.drain(step_s=LONG_S / 4)
    answered_at_once(house)
    assert max(batch.rows for batch in house.batches()) == 1_187 // SENT
    assert quota(house)["refused"] == 0


def too_many_cut(bench: Any) -> None:
    """Let a batch of each of two lanes be cut while no budget is known; then only one of them has room."""
    bench.set("account", budgets=())
    bench.first.deaf = True
    ask(bench, 12, CHAT)
    ask(bench, 12, SECOND)
    bench.tick()
    assert sorted(waiting(bench)) == [CHAT, SECOND]
    budget(bench, tokens=310)  # four parts of 3 rows, of the eight that there are
    bench.first.deaf = False
    bench.advance(30)


def test_a_batch_that_waits_for_room_is_neither_rendered_nor_uploaded_meanwhile(house: Any) -> None:
    too_many_cut(house)
    for _ in range(5):
        house.tick()
        house.advance(5)
    assert waiting(house)
    uploads = house.first.openai.calls["upload"]
    assert uploads == house.created()
    for _ in range(30):
        house.advance(5)
        house.tick()
    assert waiting(house)
    assert house.first.openai.calls["upload"] == uploads
    house.drain(step_s=LONG_S / 4)
    assert house.first.openai.calls["upload"] == house.created()
    answered_at_once(house)


def test_a_batch_that_loses_its_room_between_two_looks_waits_and_its_upload_is_deleted(house: Any) -> None:
    def upload(real: Any, rows: Any, job: Any) -> Any:
        taken = f"50:4990:1:{MODEL}|{SECOND}"
        house.run("HSET", keys.account_open("openai"), "taken", taken)
        return real(rows, job)

    house.first.openai.replace("upload", upload)
    ask(house, 40)
    house.tick()
    assert (waiting(house), house.created()) == ([CHAT], 0)
    assert house.first.openai.calls["delete_file"] == 1
    house.run("HDEL", keys.account_open("openai"), "taken")
    house.first.openai.replace("upload", lambda real, *args: real(*args))
    go_on(house, 5)
    assert at_provider(house) == [40]
    house.drain(step_s=LONG_S)
    answered_at_once(house)


# --- turns ---


def test_lanes_take_turns_so_that_neither_fills_the_budget_alone(house: Any) -> None:
    ask(house, 400, CHAT)
    ask(house, 400, SECOND)
    house.tick()
    assert (at_provider(house), at_provider(house, SECOND)) == ([ROWS, ROWS], [ROWS, ROWS])


def test_ten_requests_get_through_at_once_beside_a_backlog(house: Any) -> None:
    ask(house, 600)
    house.tick()
    ask(house, 10, SECOND)
    house.advance(1)
    house.tick()
    assert at_provider(house, SECOND) == [10]
    assert quota(house)["refused"] == 0


def test_many_small_lanes_share_the_sliver(house: Any) -> None:
    ask(house, 600)
    house.tick()
    for tenant in range(6):
        ask(house, 5, f"{CHAT}|tenant=small{tenant}")
    house.advance(1)
    house.tick()
    small = [batch for batch in house.batches() if batch.state == "submitted" and "small" in batch.lane]
    assert len(small) == LIMIT * SLIVER // (5 * TOKENS)
    house.drain(step_s=LONG_S / 4)
    assert quota(house)["refused"] == 0


def test_a_middling_lane_goes_as_soon_as_there_is_room_and_not_behind_the_backlog(house: Any) -> None:
    ask(house, 600)
    house.tick()
    middling = ask(house, 30, SECOND)
    house.advance(1)
    house.tick()
    assert at_provider(house, SECOND) == []
    go_on(house, LONG_S)
    assert at_provider(house, SECOND) == [30]
    go_on(house, LONG_S)
    house.tick()
    assert {house.reply(request_id, SECOND).status for request_id in middling} == {"succeeded"}
    assert house.owed() > 50


def test_a_large_lane_is_not_starved_by_a_stream_of_middling_ones(house: Any) -> None:
    for n in range(12):
        ask(house, 25, f"{CHAT}|tenant=early{n}")
    house.tick()
    ask(house, ROWS, SECOND)
    for n in range(12):
        house.advance(LONG_S / 4)
        ask(house, 25, f"{CHAT}|tenant=late{n}")
        house.tick()
        house.tick()
    large = next(batch for batch in house.batches() if batch.lane == SECOND)
    later = [batch for batch in house.batches() if "late" in batch.lane and batch.submitted_ms]
    assert large.submitted_ms
    assert large.submitted_ms <= min(batch.submitted_ms for batch in later)


def test_models_without_a_shared_budget_do_not_wait_for_each_other(house: Any) -> None:
    ask(house, 400)
    house.tick()
    ask(house, 47, OTHER)
    house.advance(1)
    house.tick()
    assert at_provider(house, OTHER) == [47]


# --- cancelling ---


def test_a_batch_cancelled_while_it_waits_for_room_is_answered(house: Any) -> None:
    too_many_cut(house)
    for _ in range(5):
        house.tick()
        house.advance(5)
    batch = next(batch for batch in house.batches() if batch.state == "cut")
    cancelling.cancel_batch(house.first.context, batch.id)
    house.advance(5)
    house.tick()
    record = house.store.batches.get(batch.id)
    assert record is not None
    assert record.state == "settled"
    assert record.cancelled == batch.requests + batch.riders
    assert house.first.openai.calls["upload"] == house.created()


def test_a_request_cancelled_in_a_batch_that_waits_for_room_is_answered_before_that_goes(house: Any) -> None:
    too_many_cut(house)
    for _ in range(5):
        house.tick()
        house.advance(5)
    batch = next(batch for batch in house.batches() if batch.state == "cut")
    (page, *_) = house.store.settling.carried(batch)
    cancelling.cancel_request(house.first.context, batch.lane, page[0].entry)
    house.advance(5)
    house.tick()
    record = house.store.batches.get(batch.id)
    assert (record.state, record.cancelled) == ("cut", 1)
    assert house.store.settling.owed(batch.lane, [page[0].entry]) == [None]


def test_requests_that_no_batch_has_for_want_of_room_are_cancelled_at_once(house: Any) -> None:
    asked = ask(house, 400)
    house.tick()
    done = cancelling.cancel_request(house.first.context, CHAT, asked[-1])
    assert done.answered == 1
    assert house.reply(asked[-1]).status == "cancelled"


# --- requests instead of tokens ---


def test_a_budget_of_requests_is_shared_by_all_models_of_an_account(bench: Any) -> None:
    bench.start(queued_requests_limit=40, latency_s=LONG_S)
    budget(bench, match="claude-*", requests=40, shared=True)
    ask(bench, 60, HAIKU)
    ask(bench, 60, SONNET)
    bench.tick()
    assert sum(at_provider(bench, HAIKU)) == sum(at_provider(bench, SONNET)) == 2 * most_in_range(40)  # type: ignore[operator]
    bench.drain(step_s=LONG_S / 4)
    answered_at_once(bench)
    assert quota(bench, "anthropic", "requests")["refused"] == 0
    assert 0 < quota(bench, "anthropic", "requests")["peak"] <= 40


def test_the_account_shows_a_shared_budget_under_one_name(bench: Any) -> None:
    bench.start(latency_s=LONG_S)
    budget(bench, match="claude-*", requests=1_000, shared=True)
    ask(bench, 10, HAIKU)
    ask(bench, 20, SONNET)
    bench.tick()
    (facts,) = bench.store.accounts.facts(["anthropic"], now_ms=bench.now_ms)
    assert {name: pool.requests for name, pool in facts.pools.items()} == {"claude-*": 30}


# --- what a provider has no room for ---


def test_a_limit_that_the_provider_names_is_learned_from_one_refusal(bench: Any) -> None:
    bench.start(enqueued_token_limits={MODEL: 1_000}, latency_s=LONG_S)
    ask(bench, 80)  # 600 tokens at the emulator: it counts the 30 bytes of text alone
    go_on(bench, 0)
    assert at_provider(bench) == [80]
    ask(bench, 80)
    go_on(bench, 1)
    go_on(bench, 20)
    assert believed(bench) == {MODEL: (1_000, None)}
    bench.drain(step_s=LONG_S / 4)
    answered_at_once(bench)
    assert quota(bench)["refused"] == 1


def test_what_is_refused_goes_again_without_an_attempt_used(bench: Any) -> None:
    bench.start(enqueued_token_limits={MODEL: 1_000}, latency_s=LONG_S)
    ask(bench, 80)
    go_on(bench, 0)
    ask(bench, 80, SECOND)
    go_on(bench, 1)
    go_on(bench, 20)
    (waits,) = [batch for batch in bench.batches() if batch.state == "cut"]
    assert (waits.lane, waits.reason, waits.again) == (SECOND, "token_limit_exceeded", 1)
    bench.drain(step_s=LONG_S / 4)
    answered_at_once(bench)


def full(bench: Any, model: str, **error: Any) -> None:
    """Let creates for a model find no room (429), as Gemini and others say it."""

    def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        if job.model == model:
            raise Retryable("create was refused with 429", account="openai", call="create", status=429, **error)
        return real(rows, job, timeout_s=timeout_s)

    bench.first.openai.replace("create", create)


def room_again(bench: Any) -> None:
    bench.first.openai.replace("create", lambda real, *args, **named: real(*args, **named))


def test_a_429_lowers_the_budget_to_what_was_let_in_and_uses_no_attempt(bench: Any) -> None:
    bench.start(latency_s=LONG_S)
    budget(bench, tokens=10_000)
    ask(bench, 40)
    bench.tick()
    full(bench, MODEL)
    ask(bench, 20, SECOND)
    bench.advance(1)
    bench.tick()
    assert believed(bench) == {MODEL: (40 * SENT, None)}
    assert waiting(bench) == [SECOND]
    room_again(bench)
    bench.drain(step_s=LONG_S / 4)
    answered_at_once(bench)
    assert believed(bench) == {}


def test_a_lowered_budget_keeps_new_batches_from_being_cut_until_there_is_room(bench: Any) -> None:
    bench.start(latency_s=LONG_S)
    budget(bench, tokens=10_000)
    ask(bench, 40)
    bench.tick()
    full(bench, MODEL)
    ask(bench, 20, SECOND)
    bench.advance(1)
    bench.tick()
    room_again(bench)
    ask(bench, 20, f"{CHAT}|tenant=third")
    go_on(bench, 1)
    assert bench.first.openai.calls["create"] == 2
    assert [batch.lane for batch in bench.open_batches()] == [CHAT, SECOND]


def test_a_429_of_one_model_stops_no_other_of_its_account(bench: Any) -> None:
    full(bench, MODEL)
    ask(bench, 10)
    ask(bench, 10, OTHER)
    bench.tick()
    assert (waiting(bench), at_provider(bench, OTHER)) == ([CHAT], [10])
    assert bench.store.accounts.outage("openai").failures == 0


def test_each_429_in_a_row_doubles_the_wait(bench: Any) -> None:
    full(bench, MODEL)
    ask(bench, 1)
    waits = []
    for _ in range(6):
        bench.tick()
        (batch,) = bench.batches()
        waits.append((batch.next_ms - bench.now_ms) // 1000)
        bench.advance(waits[-1])
    assert waits == [60, 120, 240, 480, 900, 900]
    room_again(bench)
    bench.drain()
    answered_at_once(bench)


def test_a_429_that_says_how_long_to_wait_pauses_the_account(bench: Any) -> None:
    full(bench, MODEL, retry_after_s=100.0)
    ask(bench, 10)
    bench.tick()
    assert bench.store.accounts.outage("openai").down_until == bench.now_ms + 100_000
    ask(bench, 10, OTHER)
    bench.advance(99)
    bench.tick()
    assert at_provider(bench, OTHER) == []
    room_again(bench)
    bench.drain()
    answered_at_once(bench)


def test_a_429_where_nothing_of_ours_is_in_teaches_nothing(bench: Any) -> None:
    full(bench, MODEL)
    ask(bench, 10)
    bench.tick()
    assert believed(bench) == {}


def test_creates_of_the_hour_that_are_used_up_cost_no_attempt(bench: Any) -> None:
    bench.start(creates_per_hour=3, latency_s=2)
    bench.set("account", creates_per_hour=3)
    for n in range(5):
        ask(bench, 4, f"{CHAT}|tenant=t{n}")
    bench.drain(step_s=600)
    answered_at_once(bench)
    assert quota(bench, name="creates_per_hour")["refused"] == 0


# --- estimates ---


def texts(bench: Any, count: int, lane: str = CHAT) -> None:
    for _ in range(count):
        bench.ask(f"{len(bench.sent):0730}", lane)  # a body of 800 bytes


@pytest.mark.parametrize("bytes_per_token", [1.5, 3.0, 6.0])
def test_estimates_come_near_what_is_used_and_stay_above_it(bench: Any, bytes_per_token: float) -> None:
    bench.start(bytes_per_token=bytes_per_token)
    for _ in range(6):
        texts(bench, 100)
        bench.drain()
    last = max(bench.batches(), key=lambda batch: batch.settled_ms)
    assert last.input_tokens < last.sent_tokens < 1.25 * last.input_tokens


def test_a_lane_learns_from_its_own_answers_alone(bench: Any) -> None:
    bench.start(bytes_per_token=1.5)
    texts(bench, 100)
    bench.drain()
    texts(bench, 1, SECOND)
    bench.tick()
    (fresh,) = bench.open_batches()
    assert fresh.sent_tokens == 199  # 794 bytes at 4 each


def test_the_range_of_a_lane_that_is_dense_in_tokens_has_fewer_requests(bench: Any) -> None:
    budget(bench, tokens=100_000)
    bench.start(bytes_per_token=1.0)
    sizes = []
    for _ in range(3):
        texts(bench, 130)
        bench.tick()
        sizes.append(max(batch.rows for batch in bench.batches() if batch.state == "submitted"))
        bench.drain()
    assert sizes[0] == 118  # 23,750 tokens, 200 each
    assert sizes[2] < sizes[0] / 3


def test_a_batch_in_which_much_failed_tells_nothing(bench: Any) -> None:
    bench.start(bytes_per_token=1.0)
    texts(bench, 8)
    bench.ask("[[fail]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.run("HGET", keys.walk(CHAT), "per_token") is None


def test_a_pool_without_a_limit_still_shows_its_use(bench: Any) -> None:
    bench.start(latency_s=LONG_S)
    ask(bench, 10)
    bench.tick()
    (facts,) = bench.store.accounts.facts(["openai"], now_ms=bench.now_ms)
    use = facts.pools[MODEL]
    assert (use.tokens, use.requests, facts.batches) == (10 * SENT, 10, 1)


def test_a_small_lane_with_something_open_does_not_shut_the_sliver_for_a_new_one(house: Any) -> None:
    ask(house, 600)
    house.tick()
    first = f"{CHAT}|tenant=a"
    ask(house, 3, first)
    go_on(house, 1)
    assert at_provider(house, first) == [3]
    ask(house, 3, first)
    go_on(house, 1)
    ask(house, 3, SECOND)
    go_on(house, 1)
    go_on(house, 1)
    assert at_provider(house, SECOND) == [3]


def test_a_batch_of_more_riders_than_there_is_room_for_is_uploaded_once_and_then_waits(house: Any) -> None:
    ask(house, 600)
    house.tick()
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * 30}]})
    entries = [house.add(SECOND, id=f"r{n}", body=body) for n in range(40)]
    for entry in entries:
        house.run("HSET", keys.attempts(SECOND), entry, '{"used":1,"errors":[]}')
        house.run("ZADD", keys.retry(SECOND), house.now_ms - 1000, entry)
    house.run("HSET", keys.walk(SECOND), "last", entries[-1], "cut", entries[-1])
    before = house.first.openai.calls["upload"]
    for _ in range(20):
        house.advance(2)
        house.tick()
    assert house.first.openai.calls["upload"] - before <= 2


def test_many_lanes_too_large_for_the_sliver_are_not_asked_for_one_by_one(house: Any) -> None:
    ask(house, 600)
    house.tick()
    for n in range(30):
        ask(house, 30, f"{CHAT}|tenant=t{n}")
    house.advance(1)
    before = house.first.batches.calls["cut"]
    house.tick()
    assert house.first.batches.calls["cut"] - before <= 3


def test_a_request_cancelled_in_a_waiting_batch_is_answered_behind_many_other_cancels(house: Any) -> None:
    too_many_cut(house)
    for _ in range(5):
        house.tick()
        house.advance(5)
    batch = next(batch for batch in house.batches() if batch.state == "cut")
    house.run("SADD", keys.cancels(batch.lane), *(f"1-{n}" for n in range(3_000)))
    (page, *_) = house.store.settling.carried(batch)
    cancelling.cancel_request(house.first.context, batch.lane, page[0].entry)
    house.advance(5)
    house.tick()
    assert house.store.settling.owed(batch.lane, [page[0].entry]) == [None]
