"""The settlement's figures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tests.cli.kit import CHAT, MESSAGES, answer, failure

from batchline.cli.console import span
from batchline.cli.settlement import Settlement, rank
from batchline.lanes import Trigger
from batchline.requests import BatchRef, CostUsd, Timing
from batchline.store.records import Batch


def test_money_adds_up_exactly() -> None:
    settlement = Settlement()
    for n in range(1_000):
        settlement.add(
            CHAT, answer(str(n), cost=CostUsd(list_usd="0.000000001", paid_usd="0", saved_usd="0.000000001"))
        )
    assert settlement.total().saved_nano == 1_000


def test_lanes_that_differ_after_the_bar_are_one_row() -> None:
    settlement = Settlement()
    settlement.add(CHAT, answer("a"))
    settlement.add(f"{CHAT}|tenant=acme", answer("b"))
    assert {name: sums.answered for name, sums in settlement.lanes.items()} == {CHAT: 2}


def test_triggers_are_counted_by_batch() -> None:
    settlement = Settlement()
    for n in range(6):
        settlement.add(CHAT, answer(str(n), batch=BatchRef(id=f"b{n % 3}")))
    triggers: dict[str, Trigger] = {"b0": "age", "b1": "age", "b2": "requests"}
    settlement.add_batches(
        Batch(id=name, lane=CHAT, account="openai", state="settled", trigger=trigger, after="0-0", last="1-0")
        for name, trigger in triggers.items()
    )
    assert settlement.triggers(settlement.total()) == "3 (2 age, 1 requests)"


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.05), (0.95, 0.095), (1.0, 0.1)])
def test_a_quantile_is_a_latency_that_occurred(share: float, seconds: float) -> None:
    assert rank(list(range(100, 0, -1)), share) == seconds


def test_a_quantile_of_nothing_is_nothing() -> None:
    assert rank([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.40 s"),
        (65.31, "65.3 s"),
        (119.9, "119.9 s"),
        (150, "2 min"),
        (7_199, "2 h 0 min"),
        (21_540, "5 h 59 min"),
    ],
)
def test_a_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_printed_settlement_holds_every_figure() -> None:
    settlement = Settlement()
    settlement.add(CHAT, answer("a", timing=Timing(enqueued=0, settled=2_500)))
    settlement.add(MESSAGES, failure("b"))
    shown = io.StringIO()
    settlement.print(Console(file=shown, width=160))
    done, cost = shown.getvalue().split("\n\n")[:2]
    assert done.splitlines()[2].split() == [CHAT, "1", "(1", "unknown)", "1", "0", "0", "2.50", "s", "2.50", "s"]
    assert cost.splitlines()[-1].split() == ["total", "10", "5", "$0.000002", "$0.000001", "$0.000001", "0"]
    assert not settlement.all_succeeded
