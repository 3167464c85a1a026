"""From ledgers of days to rows and a total, in integers: tokens, requests, nano-dollars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Literal, get_args

import msgspec

from batchline.store.days import Day

Group = Literal["model", "account", "tenant", "day"]
GROUPS: tuple[Group, ...] = get_args(Group)

_COUNTED = {
    "settled:succeeded": "succeeded",
    "settled:failed": "failed",
    "settled:cancelled": "cancelled",
    "tokens:input_uncached": "input_uncached",
    "tokens:cache_read": "cache_read",
    "tokens:cache_write": "cache_write",
    "tokens:output": "output",
    "list_nano": "list_nano",
    "paid_nano": "paid_nano",
    "saved_nano": "saved_nano",
    "wasted_nano": "wasted_nano",
    "cache_saved_nano": "cache_saved_nano",
    "cache_extra_nano": "cache_extra_nano",
    "unpriced": "unpriced",
    "deadlines_met": "deadlines_met",
    "deadlines_missed": "deadlines_missed",
    "batches": "batches",
}
"""Counters of the ledger → where they are summed up, whatever route or reason follows their name."""


class Sums(msgspec.Struct, kw_only=True):
    """What ledgers add up to. Money in nano-dollars; what has no known price counts nowhere in it."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    list_nano: int = 0
    paid_nano: int = 0
    saved_nano: int = 0
    wasted_nano: int = 0
    cache_saved_nano: int = 0
    cache_extra_nano: int = 0
    unpriced: int = 0
    deadlines_met: int = 0
    deadlines_missed: int = 0
    batches: int = 0

    def add(self, fields: Mapping[str, int]) -> None:
        """Add a day's ledger."""
        for field, n in fields.items():
            name = _COUNTED.get(field) or _COUNTED.get(field.rpartition(":")[0])
            if name:
                setattr(self, name, getattr(self, name) + n)

    def add_sums(self, other: Sums) -> None:
        """Add what other ledgers add up to."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def requests(self) -> int:
        """All that were settled."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def error_ratio(self) -> float | None:
        """The share of failed replies; cancelled requests do not count. None where nothing else was settled."""
        return _share(self.failed, self.succeeded + self.failed)

    @property
    def saved_share(self) -> float | None:
        """What was saved of the list price."""
        return _share(self.saved_nano, self.list_nano)

    @property
    def net_saved_nano(self) -> int:
        """What was saved less what was paid for nothing."""
        return self.saved_nano - self.wasted_nano

    @property
    def cache_net_nano(self) -> int:
        """What reading the prompt cache cost less, minus what writing it cost more; below zero when it did not pay."""
        return self.cache_saved_nano - self.cache_extra_nano

    @property
    def deadlines(self) -> int:
        """How many of the requests had one."""
        return self.deadlines_met + self.deadlines_missed


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one model, account, tenant ('' for none) or day (``2026-11-22``)."""

    name: str
    sums: Sums


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and their total over whole UTC days, both ends included; ``since`` is None when nothing bounds it and nothing was settled.

    ``days`` (every one that has a ledger) and ``models`` are what the plots show, whatever the rows are grouped by.
    """

    since: date | None
    until: date
    by: Group
    rows: tuple[Row, ...]
    total: Sums
    days: Mapping[date, Sums]
    models: Mapping[str, Sums]


def build(ledgers: Iterable[Day], *, by: Group, since: date | None, today: date) -> Report:
    """Sum up the ledgers of days. Days come in their order, other rows by list price, largest first, then by requests and name."""
    total = Sums()
    days: dict[date, Sums] = {}
    models: dict[str, Sums] = {}
    groups: dict[str, Sums] = {}
    for ledger in ledgers:
        each = Sums()
        each.add(ledger.fields)
        model = _name(ledger, "model")
        group = _name(ledger, by)
        total.add_sums(each)
        days.setdefault(ledger.day, Sums()).add_sums(each)
        models.setdefault(model, Sums()).add_sums(each)
        groups.setdefault(group, Sums()).add_sums(each)
    rows = [Row(name=name, sums=sums) for name, sums in groups.items()]
    # A worker whose clock is ahead settles tomorrow.
    return Report(
        since=since if since is not None else min(days, default=None),
        until=max([today, *days]),
        by=by,
        rows=tuple(sorted(rows, key=_by_day if by == "day" else _by_size)),
        total=total,
        days=dict(sorted(days.items())),
        models=models,
    )


def _name(ledger: Day, by: Group) -> str:
    account, _, model = ledger.base.split(":", 2)
    return {"model": model, "account": account, "tenant": ledger.tenant, "day": ledger.day.isoformat()}[by]


def _by_day(row: Row) -> tuple[int, int, str]:
    return 0, 0, row.name


def _by_size(row: Row) -> tuple[int, int, str]:
    return -row.sums.list_nano, -row.sums.requests, row.name


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
