"""Anthropic's prompt cache in a batch: what is marked is written once and then read, and the bill prices both."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

LONG = "You answer tickets. " * 300  # 6,000 bytes: 1,500 tokens
OTHER = "You sort letters.   " * 300


def marked(text: str, ttl: str | None = None) -> dict[str, Any]:
    control = {"type": "ephemeral"} if ttl is None else {"type": "ephemeral", "ttl": ttl}
    return {"type": "text", "text": text, "cache_control": control}


def ask(message: Any, number: int, system: Any, **more: Any) -> Any:
    return message(f"question {number:03}", f"q{number:03}", system=system, **more)


def usages(rows: list[Any]) -> list[tuple[int, int, int, int]]:
    """Return (fresh, written for 5 minutes, written for 1 hour, read) input tokens in the requests' order."""
    found = []
    for row in sorted(rows, key=lambda row: row["custom_id"]):
        usage = row["result"]["message"]["usage"]
        written = usage["cache_creation"]
        numbers = (written["ephemeral_5m_input_tokens"], written["ephemeral_1h_input_tokens"])
        assert usage["cache_creation_input_tokens"] == sum(numbers)
        found.append((usage["input_tokens"], *numbers, usage["cache_read_input_tokens"]))
    return found


def test_the_first_request_writes_a_marked_prefix_and_the_later_ones_read_it(sim: Any, message: Any) -> None:
    rows = sim.run_messages([ask(message, n, [marked(LONG)]) for n in range(3)])
    assert usages(rows) == [(3, 1_500, 0, 0), (3, 0, 0, 1_500), (3, 0, 0, 1_500)]


def test_a_mark_for_an_hour_is_told_apart(sim: Any, message: Any) -> None:
    rows = sim.run_messages([ask(message, n, [marked(LONG, "1h")]) for n in range(2)])
    assert usages(rows) == [(3, 0, 1_500, 0), (3, 0, 0, 1_500)]


def test_each_prefix_and_each_model_has_an_entry_of_its_own(sim: Any, message: Any) -> None:
    requests = [
        ask(message, 0, [marked(LONG)]),
        ask(message, 1, [marked(OTHER)]),
        ask(message, 2, [marked(LONG)], model="claude-opus-5-5"),
        ask(message, 3, [marked(OTHER)]),
    ]
    assert [row[1:] for row in usages(sim.run_messages(requests))] == [
        (1_500, 0, 0),
        (1_500, 0, 0),
        (1_500, 0, 0),
        (0, 0, 1_500),
    ]


@pytest.mark.parametrize(("size", "written"), [(4_095, 0), (4_096, 1_024)])
def test_a_prefix_under_1_024_tokens_is_not_kept(sim: Any, message: Any, size: int, written: int) -> None:
    rows = sim.run_messages([ask(message, n, [marked("x" * size)]) for n in range(2)])
    assert [row[1:] for row in usages(rows)] == [(written, 0, 0), (0, 0, written)]


def test_nothing_is_kept_without_a_mark(sim: Any, message: Any) -> None:
    rows = sim.run_messages([ask(message, n, LONG) for n in range(2)])
    assert usages(rows) == [(1_503, 0, 0, 0)] * 2


def test_a_longer_mark_reads_the_shorter_prefix_and_writes_the_rest(sim: Any, message: Any) -> None:
    first = ask(message, 0, [marked(LONG, "1h")])
    second = ask(message, 1, [marked(LONG, "1h"), marked(OTHER)])
    assert [row[1:] for row in usages(sim.run_messages([first, second]))] == [(0, 1_500, 0), (1_500, 0, 1_500)]


def test_the_automatic_mark_stands_at_the_last_block(sim: Any, message: Any) -> None:
    control = {"type": "ephemeral"}
    rows = sim.run_messages([message("x" * 6_000, str(n), cache_control=control) for n in range(2)])
    assert usages(rows) == [(0, 1_500, 0, 0), (0, 0, 0, 1_500)]


@pytest.mark.parametrize(("ttl", "read"), [("5m", 0), ("1h", 1_500)])
def test_an_entry_dies_when_its_time_has_passed_since_its_last_use(
    start: Any, message: Any, ttl: str, read: int
) -> None:
    sim = start(latency_s=1_200)  # two requests: one at the start, one after 10 minutes
    created = sim.anthropic.messages.batches.create(requests=[ask(message, n, [marked(LONG, ttl)]) for n in range(2)])
    sim.pass_time(1_200)
    assert usages(sim.results(created.id))[1][3] == read


def test_every_batch_begins_cold(sim: Any, message: Any) -> None:
    for _ in range(2):
        assert usages(sim.run_messages([ask(message, 0, [marked(LONG)])])) == [(3, 1_500, 0, 0)]


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ([marked("a", "2h")], "system.0.cache_control.ttl: Input should be '5m' or '1h'"),
        ([marked("")], "system.0: cache_control cannot be set for empty text blocks"),
        ([marked("a")] * 5, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
        ([marked("a", "5m"), marked("b", "1h")], "cache_control.ttl: a ttl='1h' cache_control block must not come"),
        ([{"type": "text", "text": "a", "cache_control": {"type": "x"}}], "system.0.cache_control.type: Input should"),
    ],
)
def test_a_bad_mark_is_an_errored_result(sim: Any, message: Any, system: Any, text: str) -> None:
    (row,) = sim.run_messages([ask(message, 0, system)])
    assert row["result"]["error"]["error"]["message"].startswith(text)


def test_the_bill_prices_writes_and_reads_by_hand(sim: Any, message: Any) -> None:
    sim.run_messages([ask(message, n, [marked(LONG)]) for n in range(2)])
    sim.run_messages([ask(message, n, [marked(OTHER, "1h")]) for n in range(2, 4)])
    (row,) = sim.bill()["models"]
    assert (row["written_tokens"], row["written_1h_tokens"], row["cached_tokens"]) == (1_500, 1_500, 3_000)
    # claude-haiku-4-5, nano-dollars a token: 1,000 in, 1,250 and 2,000 written, 100 read, 5,000 out; batch half.
    fresh, out = 4 * 3 * 1_000, 4 * 18 * 5_000
    whole = fresh + 1_500 * 1_250 + 1_500 * 2_000 + 3_000 * 100 + out
    assert (row["list_nano_usd"], row["batch_nano_usd"], row["unpriced"]) == (whole, whole // 2, 0)


def test_a_realtime_call_writes_and_is_billed_for_it(sim: Any) -> None:
    messages: Any = [{"role": "user", "content": "question"}]
    system: Any = [marked(LONG)]
    answer = sim.anthropic.messages.create(model="claude-haiku-4-5", max_tokens=9, system=system, messages=messages)
    assert isinstance(answer, anthropic.types.Message)
    assert answer.usage.cache_creation_input_tokens == 1_500
    assert sim.bill()["models"][0]["written_tokens"] == 1_500
