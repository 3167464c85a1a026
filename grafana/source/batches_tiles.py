"""The figures at the top of the batches dashboard, and the names and limits that it shares with what is below them."""

from __future__ import annotations

from grafana.source.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    About,
    Panel,
    tile,
)
from grafana.source.promql import RANGE, count, gain, now, or_zero, quantile, ratio, total

BATCHES, CUT = "batchline_batches", "batchline_batches_cut_total"
RECONCILING = 'state="reconciling"'
OLDEST, OVERDUE = "batchline_oldest_batch_seconds", "batchline_batches_overdue_seconds"
TURNAROUND = "batchline_batch_turnaround_seconds"
SIZE = "batchline_batch_requests"
ERRORS = "batchline_batch_error_ratio"
EXPIRE = "batchline_results_expire_timestamp_seconds"
AMBIGUOUS, DUPLICATE = "batchline_ambiguous_submissions_total", "batchline_duplicate_batches_total"
LANES = "{{account}} · {{endpoint}} · {{model}}"
# Limits are where the alerts' are (grafana/alerts), with an earlier colour below them.
OVERDUE_LIMITS = ((1, YELLOW), (7_200, RED))
ROWS_LIMITS = ((0.05, YELLOW), (0.25, RED))
EXPIRY_FIRST, EXPIRY_LIMITS = RED, ((259_200, ORANGE), (604_800, GREEN))


def present() -> list[Panel]:
    """Return the figures that say how the batches stand."""
    return [
        tile(
            About(1, "Open batches", "Batches that are cut and not settled.", "short", width=4, height=4),
            count(now(BATCHES)),
            colour=BLUE,
        ),
        tile(
            About(
                2,
                "Overdue",
                "For how long a batch that is not settled is past the end of its provider's window: 24 hours, at some longer.",
                "s",
                ("BatchlineBatchOverdue",),
                width=4,
                height=4,
            ),
            or_zero(f"max({now(OVERDUE)})"),
            limits=OVERDUE_LIMITS,
            decimals=0,
        ),
        tile(
            About(
                3,
                "Stuck",
                "Submitted batches whose provider showed no progress for longer than stuck.after.",
                "short",
                ("BatchlineBatchStuck",),
                width=4,
                height=4,
            ),
            count(now("batchline_batches_stuck")),
            limits=((1, ORANGE),),
        ),
        tile(
            About(
                4,
                "Reconciling",
                "Batches whose create call had no clear outcome. That is found out within minutes, but those that wait for a person (on_ambiguous: hold) stay.",
                "short",
                ("BatchlineAmbiguousSubmissions",),
                width=4,
                height=4,
            ),
            count(now(BATCHES, RECONCILING)),
            limits=((1, YELLOW),),
        ),
        tile(
            About(
                5,
                "Orphans",
                "Provider batches of ours that the store had not known when the audit found them, and that are not settled yet.",
                "short",
                ("BatchlineOrphanBatches",),
                width=4,
                height=4,
            ),
            count(now("batchline_orphan_batches")),
            limits=((1, ORANGE),),
        ),
        tile(
            About(
                6,
                "Next results to vanish",
                "How long a provider still keeps the results that vanish first, of a batch that is not settled. What is not read by then is lost and paid for.",
                "s",
                ("BatchlineResultsExpiring",),
                width=4,
                height=4,
            ),
            f"min(({now(EXPIRE)} > 0) - time())",
            limits=EXPIRY_LIMITS,
            colour=EXPIRY_FIRST,
            missing="-",
            decimals=0,
        ),
    ]


def time_range() -> list[Panel]:
    """Return the figures that say what came of the batches of the time range."""
    return [
        tile(
            About(11, "Batches cut", "Batches cut in the time range.", "short", width=4, height=4),
            count(gain(CUT)),
            colour=BLUE,
            decimals=0,
        ),
        tile(
            About(
                12,
                "Requests in a batch",
                "The mean size of the batches created in the time range. Small ones cost create calls and room: let flush.max_age grow.",
                "short",
                width=4,
                height=4,
            ),
            or_zero(ratio(total(gain(f"{SIZE}_sum")), total(gain(f"{SIZE}_count")))),
            colour=BLUE,
            decimals=1,
        ),
        tile(
            About(
                13,
                "Turnaround p95",
                "From submitted to ended: 95 % of the batches that ended in the time range took no longer.",
                "s",
                ("BatchlineBatchOverdue",),
                width=4,
                height=4,
            ),
            quantile(0.95, TURNAROUND, over=RANGE),
            colour=BLUE,
            missing="-",
        ),
        tile(
            About(
                14,
                "Rows without an answer",
                "The mean share of a finished batch's rows that brought no answer: failed, or to be sent again.",
                "percentunit",
                ("BatchlineBatchErrorRatio",),
                width=4,
                height=4,
            ),
            or_zero(ratio(total(gain(f"{ERRORS}_sum")), total(gain(f"{ERRORS}_count")))),
            limits=ROWS_LIMITS,
            decimals=2,
        ),
        tile(
            About(
                15,
                "Ambiguous submissions",
                "Create calls of the time range without a clear outcome. The reconciler finds out what came of them before anything is sent again.",
                "short",
                ("BatchlineAmbiguousSubmissions",),
                width=4,
                height=4,
            ),
            count(gain(AMBIGUOUS)),
            limits=((1, YELLOW),),
            decimals=0,
        ),
        tile(
            About(
                16,
                "Duplicate batches",
                "Batches found twice at a provider in the time range: the same requests may have been paid twice.",
                "short",
                ("BatchlineDuplicateBatch",),
                width=4,
                height=4,
            ),
            count(gain(DUPLICATE)),
            limits=((1, RED),),
            decimals=0,
        ),
    ]
