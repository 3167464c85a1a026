"""``batchline report``: what was answered, what it cost and what was saved, by model, account, tenant or day."""

from __future__ import annotations

import io
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from batchline.cli.console import note, table
from batchline.errors import UsageError
from batchline.report import Group, Report, Sums, build, documents, page
from batchline.report.amounts import exact, percent
from batchline.settings import load_settings
from batchline.settings.units import parse_seconds
from batchline.store import Store

ALL = "all"
TOTAL = "total"
EPOCH = date(1970, 1, 1)
_WIDTH = 10_000
"""More columns than any table has: where a table does not fit, rich would cut figures to pieces such as `$0.07…`."""
Format = Literal["table", "json", "csv", "html"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    since: Annotated[
        str, typer.Option(help="A span (30d, 6h), a date (2026-11-01) or `all`: from that UTC day's beginning on.")
    ] = "30d",
    by: Annotated[Group, typer.Option(help="What a row stands for.")] = "model",
    form: Annotated[Format, typer.Option("--format", help="What is written.")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write into this file, not to stdout.")
    ] = None,
) -> None:
    """Show what was answered, what it cost and what was saved: a row for each model (or what --by says) and their total.

    Days are whole days of UTC: a span counts from the beginning of the day on which it began, so 30d at noon are 31 days.
    They are kept for the setting ledger_kept. The page of --format html is one file that needs no network.
    """
    now = datetime.fromtimestamp(time.time_ns() // 1_000_000_000, UTC)
    first = first_day(since, now)
    store = Store(load_settings().redis_url)
    try:
        found = build(store.days.since(first or EPOCH), by=by, since=first, today=now.date())
    finally:
        store.close()
    text = written(found, form, now)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror}") from None
    note(f"batchline: wrote {output}")


def first_day(since: str, now: datetime) -> date | None:
    """Return the first UTC day of a report; None for no bound. Raises UsageError for what is no time, or one to come."""
    if since == ALL:
        return None
    try:
        day = _day(since, now)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {since} is no time: write a span such as 30d or 6h, a date such as {now.date()}, or {ALL}"
        ) from None
    if day > now.date():
        raise UsageError(f"--since {since} is a day to come: today is {now.date()} (UTC)")
    return day


def _day(since: str, now: datetime) -> date:
    if since.count("-") == 2:
        return date.fromisoformat(since)
    if not since.endswith(("s", "m", "h", "d")):
        raise ValueError("a span without a unit")
    return (now - timedelta(seconds=parse_seconds(since))).date()


def written(found: Report, form: Format, now: datetime) -> str:
    """Return the report in one of its forms."""
    if form == "json":
        return documents.as_json(found)
    if form == "csv":
        return documents.as_csv(found)
    if form == "html":
        return page.render(found, made=now)
    return _tables(found)


def _tables(found: Report) -> str:
    """Write the report for a terminal; a line that is too long is folded by it, figures are never cut."""
    if not found.rows:
        return f"nothing was settled: {page.period(found)}, whole UTC days\n"
    text = io.StringIO()
    console = Console(file=text, highlight=False, markup=False, emoji=False, width=_WIDTH)
    for each in (_requests(found), _money(found)):
        console.print(each)
        console.print()
    console.print(f"{page.period(found)}, whole UTC days")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _lines(found: Report) -> list[tuple[str, Sums]]:
    rows = [(page.row_name(found, row.name), row.sums) for row in found.rows]
    return [*rows, (TOTAL, found.total)]


def _requests(found: Report) -> Table:
    head = ("requests", "answered", "failed", "cancelled", "error ratio", "batches", "uncached in", "cache read")
    deadlines = ("deadlines met", "missed") if found.total.deadlines else ()
    shown = table(found.by, *head, "cache write", "tokens out", *deadlines)
    for name, sums in _lines(found):
        tokens = (sums.input_uncached, sums.cache_read, sums.cache_write, sums.output)
        dates = (sums.deadlines_met, sums.deadlines_missed) if deadlines else ()
        shown.add_row(
            name,
            *_counts(sums.requests, sums.succeeded, sums.failed, sums.cancelled),
            percent(sums.error_ratio),
            *_counts(sums.batches, *tokens, *dates),
        )
    return shown


def _money(found: Report) -> Table:
    shown = table(found.by, "list price", "paid", "saved", "share", "waste", "net saved", "cache savings", "unpriced")
    for name, sums in _lines(found):
        shown.add_row(
            name,
            *(exact(nano) for nano in (sums.list_nano, sums.paid_nano, sums.saved_nano)),
            percent(sums.saved_share),
            *(exact(nano) for nano in (sums.wasted_nano, sums.net_saved_nano, sums.cache_net_nano)),
            *_counts(sums.unpriced),
        )
    return shown


def _counts(*counts: int) -> tuple[str, ...]:
    return tuple(f"{count:,}" for count in counts)
