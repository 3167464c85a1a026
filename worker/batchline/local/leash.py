"""Children that do not outlive the process that started them, not even when it is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def leash() -> Callable[[], None] | None:
    """Return a ``preexec_fn`` that has the kernel kill the child when its parent dies; None where there is no such thing.

    Linux counts the end of the thread that started the child as its parent's death: start children from a thread
    that lives as long as they shall. Source: man 2 PR_SET_PDEATHSIG.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Loaded here, in the parent: between fork and exec nothing may be imported or waited for.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return die_with_parent
