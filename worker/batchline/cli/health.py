"""``batchline health``: whether the store answers and somebody works. For probes and scripts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import typer

from batchline.cli.console import note
from batchline.settings import load_settings
from batchline.store import Store

MAX_TICK_AGE_S = 30
ROLES = ("accumulate", "poll")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("health")(health)


def health(
    max_age: Annotated[float, typer.Option(min=0, help="Oldest last tick of each role, seconds.")] = MAX_TICK_AGE_S,
) -> None:
    """Say whether the store answers and workers tick: exit code 0, else 3."""
    store = Store(load_settings().redis_url)
    try:
        store.ping()
        ticks = store.last_ticks()
    finally:
        store.close()
    problems = silent(ticks, now_ms=time.time_ns() // 1_000_000, max_age_s=max_age)
    for problem in problems:
        note(f"batchline: {problem}")
    if problems:
        raise typer.Exit(3)
    print("healthy")


def silent(ticks: Mapping[str, int], *, now_ms: int, max_age_s: float) -> list[str]:
    """Return a line for each role in which no worker has ticked lately; ``ticks`` are unix ms by role."""
    problems = []
    for role in ROLES:
        if role not in ticks:
            problems.append(f"no worker has ever ticked for {role}: start one by batchline worker")
        elif (age_s := (now_ms - ticks[role]) / 1000) > max_age_s:
            problems.append(f"the last tick for {role} was {age_s:.0f} s ago: is a worker running?")
    return problems
