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
        names = [text(name) for name in self._connection.run("ZRANGE", keys.DAYS, start_ms, "+inf", "BYSCORE")]
        for at in range(0, len(names), PAGE):
            page = names[at : at + PAGE]
            found = self._connection.run_many([("HGETALL", keys.day(each)) for each in page])
            for each, fields in zip(page, found, strict=True):
                if fields:
                    yield _day(each, {text(field): int(n) for field, n in fields.items()})


def name(lane: Lane, now_ms: int) -> str:
    """Return the name of a lane's ledger of the day: ``2026-11-22|openai:chat:gpt-5-mini|acme``."""
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return f"{day.isoformat()}|{lane.base}|{lane.tenant or ''}"


def _day(each: str, fields: Mapping[str, int]) -> Day:
    day, base, tenant = each.split("|", 2)
    return Day(day=date.fromisoformat(day), base=base, tenant=tenant, fields=fields)
