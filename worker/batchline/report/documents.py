"""The report for programs: JSON and CSV with the same names. Money as exact decimal numbers in USD. Pure."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from batchline.report.sums import Report, Sums
from batchline.requests import usd

ROW = "row"
TOTAL = "total"
_DIGITS = 6
"""Decimal places of ratios."""


def figures(sums: Sums) -> dict[str, Any]:
    """Return all figures by name: counts, ratios (null where there is nothing to divide by), money as decimal strings."""
    return {
        "requests": sums.requests,
        "succeeded": sums.succeeded,
        "failed": sums.failed,
        "cancelled": sums.cancelled,
        "error_ratio": _rounded(sums.error_ratio),
        "batches": sums.batches,
        "input_uncached_tokens": sums.input_uncached,
        "cache_read_tokens": sums.cache_read,
        "cache_write_tokens": sums.cache_write,
        "output_tokens": sums.output,
        "list_usd": usd(sums.list_nano),
        "paid_usd": usd(sums.paid_nano),
        "saved_usd": usd(sums.saved_nano),
        "saved_share": _rounded(sums.saved_share),
        "wasted_usd": usd(sums.wasted_nano),
        "net_saved_usd": usd(sums.net_saved_nano),
        "cache_saved_usd": usd(sums.cache_saved_nano),
        "cache_extra_usd": usd(sums.cache_extra_nano),
        "cache_net_usd": usd(sums.cache_net_nano),
        "unpriced": sums.unpriced,
        "deadlines_met": sums.deadlines_met,
        "deadlines_missed": sums.deadlines_missed,
    }


def as_json(report: Report) -> str:
    """Return the report as one JSON object; the tenant of requests without one is null."""
    rows = [{report.by: row.name or None, **figures(row.sums)} for row in report.rows]
    document = {
        "since": report.since.isoformat() if report.since else None,
        "until": report.until.isoformat(),
        "by": report.by,
        "rows": rows,
        "total": figures(report.total),
    }
    return json.dumps(document) + "\n"


def as_csv(report: Report) -> str:
    """Return a header, the rows and, as last line, their total; what has no value is empty.

    The first column tells a row from the total, which has no name: a tenant may be named ``total``.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["kind", report.by, *figures(report.total)])
    for row in report.rows:
        lines.writerow([ROW, row.name, *figures(row.sums).values()])
    lines.writerow([TOTAL, "", *figures(report.total).values()])
    return text.getvalue()


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, _DIGITS)
