"""A worker that says ``held`` at one point of a step, and stays there until it was asked to end.

``python held.py POINT COMMAND...``: the point is ``results``, ``upload``, ``create``, or ``stuck`` (in the results, for ever).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from batchline import runtime
from batchline.providers.protocol import Created, Job, Progress, Result

MIDDLE = 700
FOR_EVER_S = 100


class Held:
    """A provider that holds its caller at a point."""

    def __init__(self, real: Any, point: str) -> None:
        self._real = real
        self._point = point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _hold(self, *points: str) -> None:
        if self._point not in points:
            return
        sys.stderr.write("held\n")
        sys.stderr.flush()
        asked = threading.Event() if self._point == "stuck" else runtime.context().shutdown._asked
        asked.wait(FOR_EVER_S)

    def upload(self, rows: BinaryIO, job: Job) -> str:
        """Upload, held before the first byte."""
        self._hold("upload")
        ref: str = self._real.upload(rows, job)
        return ref

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create, held before the call."""
        self._hold("create")
        created: Created = self._real.create(rows, job, timeout_s=timeout_s)
        return created

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        """Read results, held in the middle."""
        for number, result in enumerate(self._real.results(progress, sent)):
            if number == MIDDLE:
                self._hold("results", "stuck")
            yield result


def main() -> None:
    """Run the command in this process."""
    point, *command = sys.argv[1:]
    make = runtime.make_provider  # type: ignore[attr-defined]
    runtime.make_provider = lambda kind, access: Held(make(kind, access), point)  # type: ignore[attr-defined]
    sys.argv = command
    if command[0] == "celery":
        from celery.__main__ import main as celery  # noqa: PLC0415

        celery()
    else:
        from batchline.cli import main as batchline  # noqa: PLC0415

        batchline()


if __name__ == "__main__":
    main()
