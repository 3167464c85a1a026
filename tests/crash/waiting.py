"""Waiting until something outside of this process is true: looked at again and again, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from batchline.store import Store, keys

LOOK_S = 0.04
"""Between two looks. Nothing tells of a line in a child's log or a key that is gone, so there is nothing to wait for instead."""


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Look until something is true; False when the time is over first."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def at_rest(store: Store, lanes: Sequence[str]) -> bool:
    """Tell whether no batch is on its way and no reply is owed in these lanes."""
    agendas = [("ZCARD", keys.AGENDA_ACCUMULATE), ("ZCARD", keys.AGENDA_POLL)]
    return not any(store.connection.run_many([*agendas, *(("XLEN", keys.requests(lane)) for lane in lanes)]))
