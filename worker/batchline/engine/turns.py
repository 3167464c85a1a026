"""Whose turn it is: lanes that are due are cut one range each, round by round, the one that waited longest for a cut first.

So where room is short, a backlog of one lane delays another by no more than what it has in flight. A lane whose range does
not fit holds up those behind it in its budget, since many small ones would else never leave room for it; only the sliver that
is kept for small batches is still to be had (budgets.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from batchline.budgets import SLIVER, Pool
from batchline.engine.context import Target
from batchline.errors import StoreError, StoreUnreachable
from batchline.lanes import OpenRange, Trigger
from batchline.store.records import CutAnswer

log = structlog.get_logger("batchline.accumulator")

NO_ROOM = frozenset({"tokens", "requests"})
"""Answers to a cut that say that the lane's budget is in use."""
SHUT = frozenset({"down", "open", "creates"})
"""Answers to a cut that every lane of the budget would get."""


@dataclass(kw_only=True)
class Line:
    """A lane that is due, as one tick sees it: its open range, the limits of its budget now, and how many walks it has left."""

    where: Target
    seen: OpenRange
    limits: Pool
    walks: int
    trigger: Trigger


Budget = tuple[str, str]
"""An account and a pool."""
Cut = Callable[[Line, bool], CutAnswer]
"""Cuts a line's range; the flag says that only the sliver is to be had."""
Next = Callable[[Line], bool]


def take(lines: list[Line], cut: Cut, go_on: Next, *, now_ms: int) -> None:
    """Let lanes take turns until none of them gets room. ``go_on`` walks a lane that was cut on, and says whether it is due again.

    A time ahead of ``now_ms`` counts as now: another worker's clock must not put a lane last.
    """
    short: set[Budget] = set()
    full: set[Budget] = set()
    waiting = sorted(lines, key=lambda line: (min(now_ms, max(line.seen.cut_ms, line.seen.since_ms)), line.seen.lane))
    while waiting:
        waiting = [line for line in waiting if alone(line.seen.lane, lambda: _turn(line, short, full, cut, go_on))]  # noqa: B023 - called at once


def alone(lane: str, step: Callable[[], bool]) -> bool:
    """Do a step for a lane so that whatever is wrong with it holds up no other; False if it failed."""
    try:
        return step()
    except StoreUnreachable:
        raise
    except StoreError as error:
        log.error("lane.failed", lane=lane, reason=str(error))  # noqa: TRY400 - the reason says it all
        return False


def _turn(line: Line, short: set[Budget], full: set[Budget], cut: Cut, go_on: Next) -> bool:
    budget = (line.where.lane.account, line.limits.name)
    # What is larger than the sliver has nothing to get where only that is to be had.
    if budget in full or (budget in short and not _is_small(line)):
        return False
    answer = cut(line, budget in short)
    if answer in SHUT:
        full.add(budget)
    elif answer in NO_ROOM:
        (full if budget in short else short).add(budget)
    if answer != "cut":
        log.debug("lane.not_cut", lane=line.seen.lane, reason=answer, requests=line.seen.requests)
        return False
    return go_on(line)


def _is_small(line: Line) -> bool:
    """Whether a range would fit into an empty sliver: where it does not fit now, nothing more does in this tick."""
    tokens, requests = line.limits.tokens or math.inf, line.limits.requests or math.inf
    return line.seen.tokens <= tokens * SLIVER and line.seen.requests <= requests * SLIVER
