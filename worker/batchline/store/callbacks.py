"""Reading callback queues: one reply of a request's own queue, or a shared list with acknowledgement."""

from __future__ import annotations

import time
from typing import Any

from batchline.errors import StoreFull
from batchline.store import keys
from batchline.store.connection import Argument, Connection, sending

SILENT_MS = 60_000
"""A reader that was not seen for so long is taken for dead; what it took goes back to the queue."""
GIVE_BACK = 1000
LONGER_S = 86_400
"""How much later than counted and deleted by the tick a shared queue is expired by the store; `lib/unread.lua` has the same."""
FULL_PAUSE_S = 0.2
"""How long a reader waits before it looks again when the store is full."""


class Callbacks:
    """Callback lists as their consumers see them."""

    def __init__(self, connection: Connection, *, reply_ttl_s: float) -> None:
        self._connection = connection
        self._reply_ttl_s = int(reply_ttl_s)

    def peek(self, key: str, *, timeout_s: float) -> bytes | None:
        """Return the reply at the head of a list without taking it, waiting up to ``timeout_s``; None if none came."""
        reply = self._head(key)
        if reply is None and timeout_s > 0:
            _wait(self._connection, key, key, timeout_s)
            reply = self._head(key)
        if reply is not None:
            self._connection.run("EXPIRE", key, self._reply_ttl_s)
        return reply

    def _head(self, key: str) -> bytes | None:
        reply: bytes | None = self._connection.run("LINDEX", key, 0)
        return reply

    def reader(self, name: str, reader: str) -> Reader:
        """Return a reader of the list ``name``; ``reader`` names it among the readers of that list."""
        return Reader(self._connection, name, reader, kept_s=self._reply_ttl_s + LONGER_S)


class Reader:
    """Takes replies from a shared list; what is taken and not acknowledged is read again after a crash.

    Nothing here is resent by itself: after a StoreError what this reader holds is unknown, and ``resume`` tells.
    """

    def __init__(self, connection: Connection, name: str, reader: str, *, kept_s: int) -> None:
        self._connection = connection
        self._queue = keys.reply_list(name)
        self._readers = keys.readers(name)
        self._reader = reader
        self._prefix = keys.reading(name, "")
        self._taken = keys.reading(name, reader)
        self._kept_s = kept_s
        self._once = connection.blocking(timeout_s=0)

    def resume(self) -> list[bytes]:
        """Return what this reader took before and never acknowledged, oldest first."""
        return [bytes(reply) for reply in self._connection.run("LRANGE", self._taken, 0, -1)]

    def take(self, *, timeout_s: float) -> bytes | None:
        """Take the next reply, waiting up to ``timeout_s`` seconds; None if none came. Raises StoreError."""
        self._seen()
        reply = next(iter(self.take_many(1)), None)
        if reply is not None or timeout_s <= 0:
            return reply
        reply = _wait(self._connection, self._queue, self._taken, timeout_s)
        if reply is None:
            return next(iter(self.take_many(1)), None)
        self._connection.run("EXPIRE", self._taken, self._kept_s)
        return reply

    def take_many(self, most: int) -> list[bytes]:
        """Take up to ``most`` replies that are there already."""
        where = [self._queue, self._taken]
        replies = self._connection.call("take", where, [most, self._kept_s], client=self._once)
        return [bytes(reply) for reply in replies]

    def acknowledge(self, count: int) -> None:
        """Drop the ``count`` oldest replies that this reader took: they were dealt with."""
        pipeline = self._once.pipeline(transaction=False)
        pipeline.lpop(self._taken, count)
        pipeline.expire(self._taken, self._kept_s)
        pipeline.expire(self._queue, self._kept_s)
        with sending("command.acknowledge", f"acknowledging replies of the callback queue {self._queue}"):
            pipeline.execute()
        self._seen()

    def close(self) -> None:
        """Leave the queue; unacknowledged replies stay and are given back when this reader stays silent."""
        self._once.close()

    def _seen(self) -> None:
        """Note that this reader is alive, and give back what a dead one took."""
        arguments: list[Argument] = [self._reader, SILENT_MS, self._prefix, GIVE_BACK, self._kept_s]
        self._connection.call("reclaim", [self._queue, self._readers], arguments)


def _wait(connection: Connection, source: str, target: str, timeout_s: float) -> bytes | None:
    """Wait for a reply and move it; from a list to itself it stays at the head. None if none came or the store is full."""
    where = "LEFT" if source == target else "RIGHT"
    with connection.blocking(timeout_s=timeout_s) as client:
        try:
            with sending("command.blmove", f"reading the callback queue {source}"):
                reply: Any = client.blmove(source, target, _block(timeout_s), "LEFT", where)
        except StoreFull:
            time.sleep(min(timeout_s, FULL_PAUSE_S))  # a full store refuses BLMOVE, though reading is what empties it
            return None
    return bytes(reply) if reply is not None else None


def _block(timeout_s: float) -> int:
    # Redis takes fractions of a second, though the client library's types say otherwise; 0 would block for ever.
    return max(timeout_s, 0.01)  # type: ignore[return-value]
