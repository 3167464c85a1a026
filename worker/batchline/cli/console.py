"""Where the command line writes: results on stdout, everything else on stderr; and how figures are written."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 160
"""Columns where there is no terminal to ask, so that tables in files and pipes are not folded."""


def out() -> Console:
    """Return the console for results (stdout)."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        width=None if terminal else PLAIN_WIDTH,
    )


def note(text: str) -> None:
    """Write a line for people to stderr."""
    print(text, file=sys.stderr, flush=True)


def table(*columns: str, left: int = 1, title: str | None = None) -> Table:
    """Return an empty table whose first ``left`` columns are text and the others figures."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for place, name in enumerate(columns):
        if place < left:
            made.add_column(name, overflow="fold")
        else:
            made.add_column(name, justify="right", no_wrap=True)
    return made


def span(seconds: float) -> str:
    """Write a duration: ``0.42 s``, ``65.3 s``, ``12 min``, ``5 h 59 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def moment(unix_ms: int) -> str:
    """Write a time in UTC, or a dash for one that has not come."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if unix_ms else "-"
