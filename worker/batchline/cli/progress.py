"""Progress of a long command: a bar on a terminal, a plain line now and then otherwise. On stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

EVERY_S = 5.0
"""Seconds between two plain lines."""


class Progress:
    """Counts up to ``total``. ``update`` may be called as often as one likes."""

    def __init__(
        self,
        what: str,
        total: int,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._last = clock()
        self._written: str | None = None
        self._bar: Bar | None = None
        if self._stream.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[more]}"), console=Console(file=self._stream))
            self._task = self._bar.add_task(what, total=total, more="")

    def update(self, done: int, more: str = "") -> None:
        """Show that so many are done; ``more`` is a few words behind it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, more=more)
            return
        line = f"{self._what}: {done:,} of {self._total:,}{', ' if more else ''}{more}"
        now = self._clock()
        if line != self._written and (done == self._total or self._written is None or now - self._last >= EVERY_S):
            self._last, self._written = now, line
            print(line, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
