"""The report as one page of HTML that needs nothing else: no network, no script; every name in it is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import resources

import msgspec

from batchline.report.amounts import decimals, dollars, percent
from batchline.report.plots import plots
from batchline.report.sums import Report, Sums
from batchline.requests import usd

NO_TENANT = "(no tenant)"
"""How requests without a tenant are named for people; no tenant's name can hold a bracket."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as it is shown, and as exact as it is known."""

    shown: str
    exact: str


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the page: its columns, then a row for each name, then the total."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    total: tuple[Cell, ...]


def render(report: Report, *, made: datetime) -> str:
    """Return the page."""
    # Imported late: the other forms need no templates.
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    places = decimals(report.total.list_nano)
    return environment.from_string(template).render(
        report=report,
        total=report.total,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        period=period(report),
        tables=(_requests(report), _money(report, places)) if report.rows else (),
        plots=plots(report),
        dollars=lambda nano: dollars(nano, places),
        percent=percent,
        usd=usd,
    )


def period(report: Report) -> str:
    """Return the days of a report: ``2026-10-23 to 2026-11-22``."""
    return f"{report.since} to {report.until}" if report.since else f"until {report.until}"


def row_name(report: Report, name: str) -> str:
    """Return a row's name for people."""
    return name or NO_TENANT if report.by == "tenant" else name


def _requests(report: Report) -> Table:
    head = ["requests", "answered", "failed", "cancelled", "error ratio", "batches"]
    head += ["input tokens, uncached", "read from cache", "written to cache", "output tokens"]
    deadlines = report.total.deadlines > 0
    if deadlines:
        head += ["deadlines met", "missed"]

    def cells(sums: Sums) -> Iterator[Cell]:
        for count in (sums.requests, sums.succeeded, sums.failed, sums.cancelled):
            yield _count(count)
        yield Cell(shown=percent(sums.error_ratio), exact="" if sums.error_ratio is None else f"{sums.error_ratio:.6f}")
        for count in (sums.batches, sums.input_uncached, sums.cache_read, sums.cache_write, sums.output):
            yield _count(count)
        if deadlines:
            yield from (_count(sums.deadlines_met), _count(sums.deadlines_missed))

    return _table("Requests and tokens", head, report, lambda sums: tuple(cells(sums)))


def _money(report: Report, places: int) -> Table:
    head = ["list price", "paid", "saved", "saved share", "waste", "net saved", "cache savings", "unpriced"]

    def money(nano: int) -> Cell:
        return Cell(shown=dollars(nano, places), exact=usd(nano))

    def cells(sums: Sums) -> Iterator[Cell]:
        yield from map(money, (sums.list_nano, sums.paid_nano, sums.saved_nano))
        yield Cell(shown=percent(sums.saved_share), exact="" if sums.saved_share is None else f"{sums.saved_share:.6f}")
        yield from map(money, (sums.wasted_nano, sums.net_saved_nano, sums.cache_net_nano))
        yield _count(sums.unpriced)

    return _table("Money", head, report, lambda sums: tuple(cells(sums)))


def _table(title: str, head: list[str], report: Report, cells: Callable[[Sums], tuple[Cell, ...]]) -> Table:
    return Table(
        title=title,
        head=tuple(head),
        rows=tuple((row_name(report, row.name), cells(row.sums)) for row in report.rows),
        total=cells(report.total),
    )


def _count(count: int) -> Cell:
    return Cell(shown=f"{count:,}", exact=str(count))
