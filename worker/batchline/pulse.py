"""Whether this process still works: a beat of its loops, asked by /livez. Nothing here leaves the process."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pulse:
    """The time of the last beat. The tick beats at each turn, and a step at each renewal of its lease."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Note that a loop has come round."""
        self._last = self._clock()

    def age_s(self) -> float:
        """Return how many seconds ago the last beat was."""
        return self._clock() - self._last
