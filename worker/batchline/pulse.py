"""Whether this process still works: a beat of its loops, asked by /livez. Nothing here leaves the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pulse:
    """The time of the last beat. The tick beats at each turn and role, and a step that it runs itself at each renewal of its lease."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._loop = 0

    def begin(self) -> None:
        """Note that the thread that calls this runs the loop."""
        self._loop = threading.get_ident()
        self.beat()

    def of_this_thread(self) -> Callable[[], None]:
        """Return ``beat`` in the loop's own thread, and nothing elsewhere: a step of the pool says nothing of the loop."""
        return self.beat if threading.get_ident() == self._loop else _nothing

    def beat(self) -> None:
        """Note that a loop has come round."""
        self._last = self._clock()

    def age_s(self) -> float:
        """Return how many seconds ago the last beat was."""
        return self._clock() - self._last


def _nothing() -> None:
    pass
