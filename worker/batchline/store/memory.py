"""How full the store is, asked at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from batchline.store.connection import Connection

FRESH_S = 1.0


class Memory:
    """The store's used memory as a share of its ``maxmemory``. ``clock`` gives monotonic seconds."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = -FRESH_S
        self._share = 0.0

    def share(self) -> float:
        """Return the share as it was at most a second ago; 0.0 where there is no limit. Raises StoreError."""
        with self._lock:
            now = self._clock()
            if now - self._read_at >= FRESH_S:
                self._share = self._ask()
                self._read_at = now
            return self._share

    def _ask(self) -> float:
        info = self._connection.run("INFO", "memory")
        limit = int(info.get("maxmemory", 0))
        return int(info["used_memory"]) / limit if limit else 0.0
