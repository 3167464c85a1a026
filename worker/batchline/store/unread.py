"""Callback queues whose replies expire unread: counted and deleted before the store's own expiry takes them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchline.store import keys
from batchline.store.connection import Connection
from batchline.store.records import text

PAGE = 200
FULL_SHARE = 0.25
"""While more than this share of the queues looked at by chance was gone, looking again is worth it."""


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found: replies that expired in lists and streams, and how many queues were deleted with them."""

    lists: int = 0
    streams: int = 0
    queues: int = 0
    more: bool = False
    """Whether another look would find much."""


class Unread:
    """Callback queues by the time at which what is unread in them expires; the script `settle` puts them there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def expire(self, *, most: int = PAGE) -> Expired:
        """Count and delete the queues whose time has come, by the store's clock, and forget some that were read empty."""
        found = self._connection.call("expire", [keys.UNREAD, keys.EXPIRED], [most])
        due, others, gone, lists, streams, queues = (int(n) for n in found)
        return Expired(lists=lists, streams=streams, queues=queues, more=due == most or gone > others * FULL_SHARE)

    def expired(self) -> Mapping[str, int]:
        """Return how many replies ever expired unread, by ``callbacks:<kind>:expired``."""
        found = self._connection.run("HGETALL", keys.EXPIRED)
        return {text(name): int(n) for name, n in found.items()}
