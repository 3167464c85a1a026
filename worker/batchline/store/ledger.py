"""Reading the ledger and the state that metrics and status show: a bounded number of commands, no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from batchline.store import keys
from batchline.store.connection import Connection
from batchline.store.records import text
from batchline.store.settling import BUCKETS_S

PAGE = 500
PRUNED = "enqueued_pruned"
"""The ledger's counter of what lanes took in that were pruned since."""
SIZE_BUCKETS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)
"""Upper bounds of the histogram of requests per batch."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one ``account:endpoint:model``: field → integer, as the scripts keep it."""

    base: str
    fields: Mapping[str, int]

    def get(self, field: str) -> int:
        """Return a counter, 0 if it was never counted."""
        return self.fields.get(field, 0)

    def having(self, prefix: str) -> dict[str, int]:
        """Return the counters whose name begins with ``prefix``, by the rest of the name."""
        return {name.removeprefix(prefix): n for name, n in self.fields.items() if name.startswith(prefix)}


class LaneDepth(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries of a lane are owed a reply, how many were ever added, and since when (unix ms, 0: not) its range is open, its dead letters.

    ``per_token`` is how many bytes of body a token is taken for, 0 until its answers told; ``estimated`` and ``counted`` are the
    tokens of input of the last batch that told something, before and after.
    """

    lane: str
    owed: int
    added: int
    since_ms: int
    dead: int
    per_token: float = 0.0
    estimated: int = 0
    counted: int = 0


class Ledger:
    """The figures: what was settled, and what is owed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def accounts(self) -> list[Account]:
        """Read the whole ledger, what was used first first."""
        bases = [text(base) for base in self._connection.run("ZRANGE", keys.LEDGERS, 0, -1)]
        found = self._connection.run_many([("HGETALL", keys.ledger(base)) for base in bases])
        return [
            Account(base=base, fields={text(name): int(n) for name, n in fields.items()})
            for base, fields in zip(bases, found, strict=True)
        ]

    def pruned(self) -> dict[str, int]:
        """Return how many requests of each base went into the ledger with the lanes that were pruned."""
        bases = [text(base) for base in self._connection.run("ZRANGE", keys.LEDGERS, 0, -1)]
        found = self._connection.run_many([("HGET", keys.ledger(base), PRUNED) for base in bases])
        return {base: int(n) for base, n in zip(bases, found, strict=True) if n}

    def depths(self) -> list[LaneDepth]:
        """Read how deep all lanes are, in pages; each lane once, though a set that shrinks meanwhile may name it twice."""
        cursor = 0
        found: dict[str, LaneDepth] = {}
        while True:
            page = self._connection.call("depths", [keys.LANES], [cursor, PAGE])
            for depth in map(_depth, page[1]):
                found[depth.lane] = depth
            cursor = int(page[0])
            if cursor == 0:
                return list(found.values())

    def counts(self) -> dict[str, int]:
        """Return how many lanes there are, how many were set aside, and how many replies could not be delivered."""
        commands = [("SCARD", keys.LANES), ("SCARD", keys.LANES_ASIDE), ("LLEN", keys.UNDELIVERED)]
        lanes, aside, undelivered = self._connection.run_many(commands)
        return {"lanes": int(lanes), "lanes_aside": int(aside), "undelivered": int(undelivered)}


def _depth(row: list[Any]) -> LaneDepth:
    lane, owed, added, since, dead, per_token, estimated, counted = row
    return LaneDepth(
        lane=text(lane),
        owed=int(owed),
        added=int(added),
        since_ms=int(since or 0),
        dead=int(dead),
        per_token=float(per_token or 0),
        estimated=int(estimated or 0),
        counted=int(counted or 0),
    )


def time_bucket(seconds: float) -> int:
    """Return the index of the time histogram's bucket for a duration."""
    return _index(seconds, BUCKETS_S)


def size_bucket(requests: int) -> int:
    """Return the index of the size histogram's bucket for a number of requests."""
    return _index(requests, SIZE_BUCKETS)


def _index(value: float, bounds: tuple[int, ...]) -> int:
    return next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
