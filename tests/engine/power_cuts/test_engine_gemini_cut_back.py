"""What a store forgets of a Gemini batch is found at Gemini by its name, and not paid for a second time.

The order of the rows of an inline batch stands in the store alone (``batch:B:sent``), beside what Gemini may echo of it.
"""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.engine.power_cuts.power import Power, before, go_on

from batchline.engine import cancelling

GENERATE = "gemini:generate:gemini-2.5-flash"
ASKED = 5


def check_paid_once(bench: Any) -> None:
    assert bench.statuses() == {"succeeded": ASKED}
    for n, name in enumerate(bench.sent):
        assert bench.answers_itself(bench.reply(name, GENERATE), f"question {n}")
    assert bench.created("gemini") == 1
    assert bench.bill()["executions"] == {"gemini": ASKED}
    assert bench.bill()["double_executions"] == 0
    ledger = bench.ledger(GENERATE)
    (row,) = bench.bill()["models"]
    assert (ledger["settled:succeeded:batch"], ledger["paid_nano:batch"]) == (ASKED, row["paid_nano_usd"])
    assert ledger["wasted_nano:unmatched"] == 0


@pytest.mark.usefixtures("manner")
@pytest.mark.parametrize("forgotten", ["cut", "intent", "submitted"])
@pytest.mark.parametrize("ended", [False, True])
def test_what_the_store_forgot_of_a_batch_is_found_and_settled(
    bench: Any, power: Power, forgotten: str, ended: bool
) -> None:
    bench.start(latency_s=600)
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED, GENERATE)
    bench.tick()
    if ended:
        bench.advance(900)
        bench.drain()
    power.cut(kept[0])
    bench.set("reconcile", audit_every=0.001)
    second = bench.worker("second")
    for _ in range(40):  # while it runs its rows are not told, and each look takes a lease
        bench.lapse()
        bench.advance(30)
        bench.tick(second)
    check_paid_once(bench)


def test_where_only_the_create_is_forgotten_the_order_of_the_rows_is_still_known(bench: Any, power: Power) -> None:
    bench.start(gemini_echo_metadata=False)
    bench.go_inline()
    kept = before(bench, power, "submitted")
    bench.ask_many(ASKED, GENERATE)
    bench.tick()
    power.cut(kept[0])
    go_on(bench)
    check_paid_once(bench)


def lose_the_order(bench: Any, power: Power, forgotten: str) -> None:
    """Have an inline batch answered without metadata, and lose all that could tell which row is whose."""
    bench.start(gemini_echo_metadata=False)
    bench.go_inline()
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED, GENERATE)
    bench.tick()
    power.cut(kept[0])
    bench.lapse()
    bench.advance(5)


def test_answers_that_nothing_assigns_are_held_and_reported_until_a_person_cancels(bench: Any, power: Power) -> None:
    lose_the_order(bench, power, "intent")
    events = go_on_for(bench, 40)
    (batch,) = bench.open_batches()
    assert (batch.state, batch.unread_looks > 3) == ("ended", True)
    assert {"batch.not_read_back", "result.unreadable"} <= events
    assert (bench.created("gemini"), bench.owed()) == (1, ASKED)
    cancelling.cancel_batch(bench.first.context, batch.id)
    go_on_for(bench, 30)
    assert bench.statuses() == {"cancelled": ASKED}


def test_a_forgotten_batch_whose_answers_nothing_assigns_does_not_hold_up_its_account(bench: Any, power: Power) -> None:
    """Its requests are answered by a second batch; what was paid for the first is not forgotten: it is held and reported."""
    lose_the_order(bench, power, "cut")
    events = go_on_for(bench, 40)
    (held,) = bench.open_batches()
    assert (held.orphan, held.state, held.unread_looks > 3) == (True, "ended", True)
    assert {"batch.orphan", "batch.not_read_back", "result.unreadable"} <= events
    assert bench.statuses() == {"succeeded": ASKED}
    assert bench.created("gemini") == 2


def go_on_for(bench: Any, minutes: int) -> set[str]:
    """Let another worker go on; returns what it logged."""
    second = bench.worker("second")
    with capture_logs() as logs:
        for _ in range(minutes):
            bench.tick(second)
            bench.advance(60)
    return {event["event"] for event in logs}
