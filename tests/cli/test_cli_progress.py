"""Progress without a terminal: lines now and then."""

from __future__ import annotations

import io

from batchline.cli.progress import EVERY_S, Progress


def test_lines_come_at_the_beginning_now_and_then_and_at_the_end() -> None:
    shown, now = io.StringIO(), [0.0]
    with Progress("answered", 1_000, stream=shown, clock=lambda: now[0]) as progress:
        for done in range(0, 1_001, 100):
            progress.update(done)
            now[0] += EVERY_S / 5
        progress.update(1_000)
    assert shown.getvalue().splitlines() == [
        "answered: 0 of 1,000",
        "answered: 500 of 1,000",
        "answered: 1,000 of 1,000",
    ]
