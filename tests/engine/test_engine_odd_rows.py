"""Rows of results that are odd: counts beyond belief, and one row with two ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.engine.test_engine_short_results import CHAT, LANES, ended, only, served

ABSURD = [-1, 10**12 + 1, 2**53, 2**63 - 1, 2**64 - 1]


def counting(line: bytes, count: int) -> bytes:
    """Return a line whose answer counts so many tokens of input."""
    told = json.loads(line)
    if "response" in told:
        told["response"]["body"]["usage"]["prompt_tokens"] = count
    else:
        told["result"]["message"]["usage"]["input_tokens"] = count
    return json.dumps(told).encode()


@pytest.mark.parametrize("count", ABSURD)
@pytest.mark.parametrize("lane", LANES)
def test_an_absurd_count_of_tokens_makes_its_own_answer_unpriced_and_loses_nothing_else(
    bench: Any, lane: str, count: int
) -> None:
    ended(bench, lane)
    served(bench, lambda lines: [counting(lines[0], count), *lines[1:]])
    bench.tick()
    replies = bench.all_replies().values()
    (odd,) = (reply for reply in replies if reply.cost is None)
    assert (odd.status, odd.usage) == ("succeeded", None)
    ledger = bench.ledger(lane)
    assert (ledger["settled:succeeded:batch"], ledger["unpriced"], only(bench).succeeded) == (4, 1, 4)
    (row,) = bench.bill()["models"]
    assert only(bench).paid_nano == ledger["paid_nano:batch"] == row["batch_nano_usd"] * 3 // 4
    assert ledger["tokens:input_uncached"] == row["input_tokens"] * 3 // 4


def refused(line: bytes, status: int) -> bytes:
    """Return a line in which the same row ended in an error."""
    told = json.loads(line)
    if "response" in told:
        error = {"message": "m", "type": "t", "code": "c"}
        told["response"] = {"status_code": status, "request_id": "x", "body": {"error": error}}
    else:
        kind = "invalid_request_error" if status == 400 else "api_error"
        told["result"] = {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": "m"}}}
    return json.dumps(told).encode()


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("lane", LANES)
def test_of_a_row_that_stands_twice_the_answer_counts_whichever_comes_first(bench: Any, lane: str, status: int) -> None:
    ended(bench, lane)
    served(bench, lambda lines: [refused(lines[0], status), *lines, refused(lines[1], status)])
    bench.tick()
    assert bench.owed() == 0
    assert bench.statuses() == {"succeeded": 4}
    assert only(bench).waste_nano == 0


def test_a_last_attempts_error_beside_an_answer_leaves_no_dead_letter(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    ended(bench, CHAT)
    served(bench, lambda lines: [refused(lines[0], 500), *lines])
    bench.tick()
    assert bench.statuses() == {"succeeded": 4}
    assert bench.store.dead.newest(10) == []
