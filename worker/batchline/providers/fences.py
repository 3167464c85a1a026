"""Until when a create call may leave and its answer may come: no calls, the clock comes in.

A frozen worker that wakes up may be taken for dead by then, and its batch created by another: what leaves late is a second
one. So a body leaves in pieces, and the clock is looked at before each of them, after all that may take long (finding the
address, connecting, the pieces before).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

CHUNK = 256 * 1024
"""Most bytes of a piece."""


class Fence:
    """A body's times, in seconds of ``clock``: it may leave until ``deadline``, its whole answer may come until ``answer_by``.

    ``complete`` is True from the moment at which the last piece may have left; without it nothing was created.
    """

    deadline: float = math.inf
    answer_by: float = math.inf
    clock: Callable[[], float] = time.monotonic
    complete: bool = False

    def begin(self, clock: Callable[[], float], *, leave_s: float, total_s: float, send_by: float) -> None:
        """Let the body leave in ``leave_s`` from now, at the latest at ``send_by``, and its answer be over in ``total_s``."""
        now = clock()
        self.clock, self.deadline, self.answer_by = clock, min(now + leave_s, send_by), now + total_s

    def check(self) -> None:
        """Raise TimeoutError past the deadline."""
        if self.clock() > self.deadline:
            raise TimeoutError("the call's time is over")


class Fenced(Fence, bytes):
    """The body of a create call, which leaves in pieces, and not after its deadline."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most 256 kB. Raises TimeoutError past the deadline."""
        for start in range(0, len(self), CHUNK):
            self.check()
            self.complete = start + CHUNK >= len(self)
            yield self[start : start + CHUNK]
