"""The ledger of single days, for reports by day and tenant: the same counters, without the distributions.

A day is one of UTC, and what is settled counts for the day on which that happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime

import msgspec

from batchline.lanes import Lane
from batchline.store import keys
from batchline.store.connection import Connection
from batchline.store.records import text

PAGE = 500
NAMES = 10_000
"""So many names are read at a time: an index of years with many tenants is long, and each read holds the store up."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day's ledger of an ``account:endpoint:model`` and tenant ('' for none): field → integer."""

    day: date
    base: str
    tenant: str
    fields: Mapping[str, int]

    def get(self, field: str) -> int:
        """Return a counter, 0 if it was not counted on that day."""
        return self.fields.get(field, 0)


class Days:
    """Reads the ledgers of days; the scripts that settle keep them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def since(self, first: date) -> Iterator[Day]:
        """Yield all ledgers of this day and later ones, in order of days, reading so many at a time."""
        start_ms = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() * 1000)
        for names in self._names(start_ms):
            for at in range(0, len(names), PAGE):
                page = [each for each in names[at : at + PAGE] if _is_day(each)]
                found = self._connection.run_many([("HGETALL", keys.day(each)) for each in page])
                for each, fields in zip(page, found, strict=True):
                    if fields:
                        yield _day(each, {text(field): int(n) for field, n in fields.items()})

    def _names(self, start_ms: int) -> Iterator[list[str]]:
        """Yield the names of days from then on in pages, each once: what comes or goes meanwhile moves what follows it."""
        least, passed, last = float(start_ms), 0, set[str]()
        while True:
            where = ("BYSCORE", "LIMIT", passed, NAMES, "WITHSCORES")
            found = self._connection.run("ZRANGE", keys.DAYS, least, "+inf", *where)
            page = [(text(name), float(score)) for name, score in found]
            if not page:
                return
            yield [name for name, _ in page if name not in last]
            if page[-1][1] != least:
                least, passed, last = page[-1][1], 0, set()
            same = [name for name, score in page if score == least]
            passed += len(same)
            last.update(same)


def name(lane: Lane, now_ms: int) -> str:
    """Return the name of a lane's ledger of the day: ``2026-11-22|openai:chat:gpt-5-mini|acme``."""
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return f"{day.isoformat()}|{lane.base}|{lane.tenant or ''}"


def _is_day(each: str) -> bool:
    """Return whether a name is a day's; what somebody else put there is none."""
    try:
        date.fromisoformat(each.partition("|")[0])
    except ValueError:
        return False
    return each.count("|") >= 2


def _day(each: str, fields: Mapping[str, int]) -> Day:
    day, base, tenant = each.split("|", 2)
    return Day(day=date.fromisoformat(day), base=base, tenant=tenant, fields=fields)
