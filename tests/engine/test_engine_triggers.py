"""A batch is cut by requests, by bytes, by tokens or by age, and its figures equal a calculation by hand."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"

# The body {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "<12 characters>"}]} has 82 bytes; the walk
# adds 200 for the row around it (282) and estimates 82 / 4, rounded up, as 21 tokens.
TEXT = "twelve chars"
ROW, ESTIMATE = 282, 21


def ask(bench: Any, count: int) -> None:
    for _ in range(count):
        bench.ask(TEXT)


def cut(bench: Any) -> list[tuple[str, int, int, int]]:
    """Tick once; what was cut: trigger, requests, bytes and tokens of each batch."""
    bench.first.deaf = True
    for _ in range(5):  # one batch waits in `cut` at a time
        bench.tick()
        bench.run("HDEL", keys.walk(CHAT), "cutting")
    bench.first.deaf = False
    return [(b.trigger, b.requests, b.bytes, b.tokens) for b in bench.batches()]


@pytest.fixture
def patient(bench: Any) -> Any:
    """A house in which nothing is due by age for an hour."""
    bench.set("flush", max_age=3600.0)
    return bench


def test_a_batch_is_cut_by_requests(patient: Any) -> None:
    patient.set("flush", max_requests=3)
    ask(patient, 7)
    assert cut(patient) == [("requests", 3, 3 * ROW, 3 * ESTIMATE)] * 2


def test_a_batch_is_cut_by_bytes_before_the_limit_is_passed(patient: Any) -> None:
    patient.set("flush", max_bytes=3 * ROW - 1)
    ask(patient, 5)
    assert cut(patient) == [("bytes", 2, 2 * ROW, 2 * ESTIMATE)] * 2


def test_a_batch_is_cut_by_bytes_when_the_limit_is_reached(patient: Any) -> None:
    patient.set("flush", max_bytes=3 * ROW)
    ask(patient, 3)
    assert cut(patient) == [("bytes", 3, 3 * ROW, 3 * ESTIMATE)]


def test_a_batch_is_cut_by_tokens(patient: Any) -> None:
    patient.set("flush", max_tokens=2 * ESTIMATE + 1)
    ask(patient, 5)
    assert cut(patient) == [("tokens", 2, 2 * ROW, 2 * ESTIMATE)] * 2


def test_a_batch_is_cut_by_the_age_of_its_first_request(patient: Any) -> None:
    ask(patient, 1)
    patient.advance(3599.999)
    ask(patient, 1)
    assert cut(patient) == []
    patient.advance(0.001)
    assert cut(patient) == [("age", 2, 2 * ROW, 2 * ESTIMATE)]


def test_one_request_beyond_every_limit_is_a_batch_by_itself(patient: Any) -> None:
    patient.set("flush", max_bytes=10)
    ask(patient, 2)
    assert cut(patient) == [("bytes", 1, ROW, ESTIMATE)] * 2


def test_a_lanes_own_pattern_rules_its_flush(bench: Any) -> None:
    changed = type(bench.settings)(lanes=[{"match": "openai:chat:*", "flush": {"max_requests": 2, "max_age": 3600}}])
    bench.settings = bench.settings.model_copy(update={"lanes": changed.lanes})
    ask(bench, 5)
    assert [trigger for trigger, *_ in cut(bench)] == ["requests", "requests"]


def test_what_is_cut_in_one_tick_covers_everything_that_is_full(patient: Any) -> None:
    patient.set("flush", max_requests=10)
    ask(patient, 95)
    patient.tick()
    assert [b.requests for b in patient.batches()] == [10] * 9


@pytest.mark.parametrize(
    ("trigger", "rule"),
    [
        ("requests", {"max_requests": 4}),
        ("bytes", {"max_bytes": 82 + 82 + 94 + 87 + 4 * 200}),
        ("tokens", {"max_tokens": 21 + 21 + 24 + 22}),
        ("age", {"max_age": 0.0}),
    ],
)
def test_counts_tokens_and_money_of_a_batch_equal_a_hand_calculation(
    patient: Any, trigger: str, rule: dict[str, Any]
) -> None:
    """Four requests: two plain, one half cached, one refused by the provider.

    Tokens are a quarter of the text's bytes, rounded up. The text of 12 bytes is 3; "twelve [[cached]] chars!" has 24 bytes, so 6,
    of which 3 are cached; the answer ("sha256:" and 64 hex digits, 71 bytes) is 18; what is refused counts nothing.

        input    3 + 3 + 6 = 12, of which cached 3, uncached 9
        output   3 x 18 = 54

    gpt-5-mini costs in nano-dollars per token: input 250, cached 25, output 2,000; in a batch half of each.

        list     plain   3 x 250 + 18 x 2,000          = 36,750
                 cached  3 x 250 + 3 x 25 + 18 x 2,000 = 36,825
                 all     2 x 36,750 + 36,825           = 110,325
        paid     plain   3 x 125 + 18 x 1,000          = 18,375
                 cached  375 + 3 x 12.5 + 18,000       = 18,412.5, rounded half to even 18,412
                 all     2 x 18,375 + 18,412           = 55,162
        saved    2 x 18,375 + (36,825 - 18,412)        = 55,163
    """
    patient.set("flush", **rule)
    for text in (TEXT, TEXT.upper(), "twelve [[cached]] chars!", "twelve [[reject]]"):
        patient.ask(text)
    patient.drain()
    ledger = patient.ledger()
    assert {f"cut:{t}" for t in ("requests", "bytes", "tokens", "age") if ledger.get(f"cut:{t}")} == {f"cut:{trigger}"}
    assert (ledger["settled:succeeded:batch"], ledger["settled:failed:batch"]) == (3, 1)
    assert (ledger["tokens:input_uncached"], ledger["tokens:cache_read"], ledger["tokens:output"]) == (9, 3, 54)
    money = ledger["list_nano:batch"], ledger["paid_nano:batch"], ledger["saved_nano:batch"]
    assert money == (110_325, 55_162, 55_163)
    (row,) = patient.bill()["models"]
    assert (row["executed"], row["succeeded"]) == (4, 3)
    assert (row["list_nano_usd"], row["paid_nano_usd"]) == money[:2]


def test_an_anthropic_lane_equals_a_hand_calculation(bench: Any) -> None:
    """claude-haiku-4-5 costs in nano-dollars per token: input 1,000, cache read 100, output 5,000; in a batch half.

    "[[cached]] question" has 19 bytes, 5 tokens, 2 of them read from a cache; the answer is 18 tokens.

        list   3 x 1,000 + 2 x 100 + 18 x 5,000 = 93,200      paid   46,600
    """
    request_id = bench.ask("[[cached]] question", HAIKU)
    bench.drain()
    ledger = bench.ledger(HAIKU)
    assert (ledger["tokens:input_uncached"], ledger["tokens:cache_read"], ledger["tokens:output"]) == (3, 2, 18)
    assert (ledger["list_nano:batch"], ledger["paid_nano:batch"]) == (93_200, 46_600)
    assert bench.reply(request_id, HAIKU).usage.input_tokens == 5


def test_the_ledger_is_the_sum_of_the_replies(bench: Any) -> None:
    bench.ask_many(30)
    bench.ask("[[reject]]")
    bench.ask("[[fail-once]]")
    bench.drain()
    replies = bench.all_replies().values()
    ledger = bench.ledger()
    for field, name in (
        ("list_nano:batch", "list_usd"),
        ("paid_nano:batch", "paid_usd"),
        ("saved_nano:batch", "saved_usd"),
    ):
        nano = [getattr(reply.cost, name) for reply in replies if reply.cost]
        assert ledger[field] == sum(round(float(usd) * 1e9) for usd in nano)
    assert ledger["tokens:output"] == sum(reply.usage.output_tokens for reply in replies if reply.usage)
    assert sum(ledger.get(f"latency:batch:{i}", 0) for i in range(20)) == len(replies)
    milliseconds = sum(reply.timing.settled - reply.timing.enqueued for reply in replies)
    assert ledger["latency_ms:batch"] == milliseconds


def test_a_settled_batchs_sums_are_those_of_its_replies(bench: Any) -> None:
    bench.ask_many(5)
    bench.ask("[[reject]]")
    bench.drain()
    (batch,) = bench.batches()
    assert (batch.succeeded, batch.failed, batch.retried, batch.rows) == (5, 1, 0, 6)
    assert batch.paid_nano == bench.ledger()["paid_nano:batch"]
    assert batch.waste_nano == 0


def test_a_backlog_that_is_due_by_age_is_cut_as_one_batch(bench: Any) -> None:
    bench.ask_many(2_500)
    bench.advance(3600)
    bench.tick()
    assert [batch.requests for batch in bench.batches()] == [2_500]


def test_idle_lanes_cost_a_tick_a_bounded_number_of_commands(bench: Any) -> None:
    names = [f"openai:chat:model-{n}" for n in range(10_000)]
    bench.store.connection.run_many(("SADD", keys.LANES, *names[i : i + 1000]) for i in range(0, 10_000, 1000))
    bench.run("CONFIG", "RESETSTAT")
    bench.tick()
    asked = {name: stat["calls"] for name, stat in bench.run("INFO", "commandstats").items()}
    assert asked["cmdstat_evalsha"] < 10_000 / 100


def test_an_account_without_room_lets_its_ranges_grow(bench: Any) -> None:
    bench.set("account", max_open_batches=1)
    bench.ask_many(2)
    bench.tick()
    bench.ask_many(3)
    bench.tick()
    bench.ask_many(4)
    bench.tick()
    assert [batch.requests for batch in bench.batches()] == [2]
    bench.drain()
    assert [batch.requests for batch in bench.batches()] == [2, 7]


def test_no_more_batches_are_created_in_an_hour_than_the_account_allows(bench: Any) -> None:
    bench.set("account", creates_per_hour=2)
    for _ in range(3):
        bench.ask("hello")
        bench.tick()
        bench.advance(20)
        bench.tick()
    assert bench.created() == 2
    bench.advance(3600)
    bench.drain()
    assert bench.created() == 3


def test_a_batch_that_was_cut_as_the_last_create_went_waits_for_the_next_hour(bench: Any) -> None:
    bench.set("account", creates_per_hour=1)
    bench.first.deaf = True
    bench.ask("one")
    bench.ask("two", HAIKU.replace("claude-haiku-4-5", "claude-sonnet-4-6"))
    bench.ask("three", "openai:chat:gpt-5-nano")
    bench.tick()
    bench.first.deaf = False
    bench.advance(30)
    bench.tick()
    assert sorted(batch.state for batch in bench.batches()) == ["cut", "submitted", "submitted"]
    assert bench.first.openai.calls["upload"] == 1
    bench.drain(step_s=600)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 2
