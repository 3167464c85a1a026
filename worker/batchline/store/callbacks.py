"""Reading callback queues: one reply of a request's own queue, or a shared list with acknowledgement."""

from __future__ import annotations

from typing import Any

import redis

from batchline.store import keys
from batchline.store.connection import Connection, translate

SILENT_MS = 60_000
"""A reader that was not seen for so long is taken for dead; what it took goes back to the queue."""
GIVE_BACK = 1000


class Callbacks:
    """Callback lists as their consumers see them."""

    def __init__(self, connection: Connection, *, reply_ttl_s: float) -> None:
        self._connection = connection
        self._reply_ttl_s = int(reply_ttl_s)

    def peek(self, key: str, *, timeout_s: float) -> bytes | None:
        """Return the reply at the head of a list without taking it, waiting up to ``timeout_s``; None if none came."""
        client = self._connection.blocking(timeout_s=timeout_s)
        try:
            reply: Any = client.blmove(key, key, _block(timeout_s), "LEFT", "LEFT")
            if reply is not None:
                client.expire(key, self._reply_ttl_s)
        except redis.RedisError as error:
            raise translate(error, f"reading the callback queue {key}") from error
        else:
            return bytes(reply) if reply is not None else None
        finally:
            client.close()

    def reader(self, name: str, reader: str) -> Reader:
        """Return a reader of the list ``name``; ``reader`` names it among the readers of that list."""
        return Reader(self._connection, name, reader, reply_ttl_s=self._reply_ttl_s)


class Reader:
    """Takes replies from a shared list; what is taken and not acknowledged is read again after a crash."""

    def __init__(self, connection: Connection, name: str, reader: str, *, reply_ttl_s: int) -> None:
        self._connection = connection
        self._queue = keys.reply_list(name)
        self._readers = keys.readers(name)
        self._reader = reader
        self._prefix = keys.reading(name, "")
        self._taken = keys.reading(name, reader)
        self._reply_ttl_s = reply_ttl_s

    def resume(self) -> list[bytes]:
        """Return what this reader took before and never acknowledged, oldest first."""
        return [bytes(reply) for reply in self._connection.run("LRANGE", self._taken, 0, -1)]

    def take(self, *, timeout_s: float) -> bytes | None:
        """Take the next reply, waiting up to ``timeout_s`` seconds; None if none came. Raises StoreError."""
        self._connection.call(
            "reclaim",
            [self._queue, self._readers],
            [self._reader, SILENT_MS, self._prefix, GIVE_BACK, self._reply_ttl_s],
        )
        with self._connection.blocking(timeout_s=timeout_s) as client:
            try:
                reply: Any = client.blmove(self._queue, self._taken, _block(timeout_s), "LEFT", "RIGHT")
            except redis.RedisError as error:
                raise translate(error, f"reading the callback queue {self._queue}") from error
        return bytes(reply) if reply is not None else None

    def take_many(self, most: int) -> list[bytes]:
        """Take up to ``most`` replies that are there already."""
        pipeline = self._connection.redis.pipeline(transaction=False)
        for _ in range(most):
            pipeline.lmove(self._queue, self._taken, "LEFT", "RIGHT")
        try:
            return [bytes(reply) for reply in pipeline.execute() if reply is not None]
        except redis.RedisError as error:
            raise translate(error, f"reading the callback queue {self._queue}") from error

    def acknowledge(self, count: int) -> None:
        """Drop the ``count`` oldest replies that this reader took: they were dealt with."""
        self._connection.run("LPOP", self._taken, count)
        self._connection.run("EXPIRE", self._taken, self._reply_ttl_s)
        self._connection.run("EXPIRE", self._queue, self._reply_ttl_s)

    def close(self) -> None:
        """Leave the queue; unacknowledged replies stay and are given back when this reader stays silent."""


def _block(timeout_s: float) -> int:
    # Redis takes fractions of a second, though the client library's types say otherwise; 0 would block for ever.
    return max(timeout_s, 0.01)  # type: ignore[return-value]
