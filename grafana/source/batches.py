"""Batches: how they come about, how long they take, and which of them went wrong."""

from __future__ import annotations

from grafana.source import batches_tiles
from grafana.source.batches_tiles import (
    AMBIGUOUS,
    BATCHES,
    CUT,
    DUPLICATE,
    ERRORS,
    EXPIRE,
    LANES,
    OLDEST,
    OVERDUE,
    OVERDUE_LIMITS,
    RECONCILING,
    ROWS_LIMITS,
    SIZE,
    TURNAROUND,
)
from grafana.source.frame import framed
from grafana.source.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    About,
    Column,
    Panel,
    Query,
    Row,
    distribution,
    grid,
    lines,
)
from grafana.source.promql import LANE, RANGE, WINDOW, count, gain, now, quantile, rate, ratio, share, total

RUN_OUT = "batchline_batches_expire_timestamp_seconds"


def dashboard() -> str:
    """Return the dashboard's JSON."""
    rows = [
        Row(100, "Now", [batches_tiles.present()]),
        Row(200, "In this time range", [batches_tiles.time_range()]),
        Row(300, "States and ages", [_states(), _durations()]),
        Row(400, "Cutting", [_cutting()]),
        Row(500, "Answers", [_answers()]),
        Row(600, "What should not be", [_doubts(), _trouble()]),
        Row(700, "Lanes", [[_lanes()]]),
    ]
    return framed(
        "batchline-batches",
        "batchline / Batches",
        "Batches by state, their ages, sizes and triggers, and what went wrong with them.",
        rows,
        since="now-24h",
    )


def _states() -> list[Panel]:
    return [
        lines(
            About(
                31,
                "Batches by state",
                "Open batches: cut, being submitted, being reconciled, at the provider, ended and being settled.",
                "short",
                ("BatchlineBatchStuck", "BatchlineAmbiguousSubmissions"),
            ),
            Query(total(now(BATCHES), "state"), "{{state}}"),
            stacked=True,
            colours={"cut": YELLOW, "submitting": "light-blue", "reconciling": RED, "submitted": BLUE, "ended": GREEN},
        ),
        lines(
            About(
                32,
                "Oldest batch by lane",
                "Age of each lane's oldest batch that is not settled.",
                "s",
                ("BatchlineBatchOverdue",),
            ),
            Query(f"max by ({', '.join(LANE)}) ({now(OLDEST)})", LANES),
        ),
    ]


def _durations() -> list[Panel]:
    return [
        lines(
            About(
                33,
                "Turnaround, submitted to ended",
                "How long the provider took for the batches that ended then.",
                "s",
                ("BatchlineBatchOverdue",),
            ),
            Query(quantile(0.5, TURNAROUND), "p50"),
            Query(quantile(0.95, TURNAROUND), "p95"),
            window="15m",
        ),
        lines(
            About(
                34,
                "Turnaround p95 by model",
                "As beside it, by account and model: which provider is slow.",
                "s",
                ("BatchlineBatchOverdue",),
            ),
            Query(quantile(0.95, TURNAROUND, "account", "model"), "{{account}} · {{model}}"),
            window="15m",
        ),
    ]


def _cutting() -> list[Panel]:
    return [
        lines(
            About(
                41,
                "Batches cut per hour by trigger",
                "What made a batch due: a limit of requests, bytes or tokens, the age of its first entry, a deadline, or draining. Mostly `age` with small batches: flush.max_age may grow.",
                "short",
            ),
            Query(f"3600 * {total(rate(CUT), 'trigger')}", "{{trigger}}"),
            stacked=True,
            window="5m",
        ),
        distribution(
            About(
                42,
                "Batch sizes",
                "How many requests the batches had that were created then; the label is the upper bound.",
                "short",
            ),
            total(gain(f"{SIZE}_bucket", over=WINDOW), "le"),
        ),
    ]


def _answers() -> list[Panel]:
    ended = total(rate(f"{ERRORS}_count"))
    clean, few, quarter = (total(rate(f"{ERRORS}_bucket", f'le=~"{le}"')) for le in (r"0(\\.0)?", r"0\\.05", r"0\\.25"))
    return [
        lines(
            About(
                51,
                "Rows without an answer by lane",
                "The mean share of the rows that brought no answer, of the batches that finished then.",
                "percentunit",
                ("BatchlineBatchErrorRatio",),
            ),
            Query(share(total(rate(f"{ERRORS}_sum"), *LANE), total(rate(f"{ERRORS}_count"), *LANE)), LANES),
            limits=((0.25, RED),),
            largest=1,
            window="15m",
        ),
        lines(
            About(
                52,
                "Finished batches with rows without an answer",
                "The share of the batches that finished then with any such row, with more than 5 % and with more than 25 %.",
                "percentunit",
                ("BatchlineBatchErrorRatio",),
            ),
            Query(f"1 - {share(clean, ended)}", "any"),
            Query(f"1 - {share(few, ended)}", "more than 5 %"),
            Query(f"1 - {share(quarter, ended)}", "more than 25 %"),
            largest=1,
            window="15m",
            colours={"any": YELLOW, "more than 5 %": ORANGE, "more than 25 %": RED},
        ),
    ]


def _doubts() -> list[Panel]:
    return [
        lines(
            About(
                61,
                "Doubtful submissions",
                "Create calls without a clear outcome and duplicate batches in the 15 minutes before.",
                "short",
                ("BatchlineAmbiguousSubmissions", "BatchlineDuplicateBatch"),
            ),
            Query(total(gain(AMBIGUOUS, over="15m"), "account"), "ambiguous {{account}}"),
            Query(total(gain(DUPLICATE, over="15m"), "account"), "duplicate {{account}}"),
        ),
        lines(
            About(
                62,
                "Orphans by account",
                "Provider batches of ours that the store had not known when they were found, not settled yet.",
                "short",
                ("BatchlineOrphanBatches",),
            ),
            Query(total(now("batchline_orphan_batches"), "account"), "{{account}}"),
        ),
    ]


def _trouble() -> list[Panel]:
    return [
        lines(
            About(
                63,
                "Stuck and reconciling",
                "Batches without progress at their provider, and batches of which nobody knows yet whether they were created.",
                "short",
                ("BatchlineBatchStuck", "BatchlineAmbiguousSubmissions"),
            ),
            Query(count(now("batchline_batches_stuck")), "stuck"),
            Query(count(now(BATCHES, RECONCILING)), "reconciling"),
            colours={"stuck": ORANGE, "reconciling": YELLOW},
        ),
        lines(
            About(
                64,
                "Time until results vanish",
                "How long providers still keep the results of each lane that are not settled. A line that falls towards 0 must be stopped: what is not read is lost and paid for. `expires`: how long a batch may still run where an expiry loses all that it did (Gemini).",
                "s",
                ("BatchlineResultsExpiring", "BatchlineBatchExpiring"),
            ),
            Query(f"min by ({', '.join(LANE)}) (({now(EXPIRE)} > 0) - time())", LANES),
            Query(f"min by ({', '.join(LANE)}) (({now(RUN_OUT)} > 0) - time())", f"expires {LANES}"),
            negative=True,
        ),
    ]


def _lanes() -> Panel:
    rows = total(gain(f"{ERRORS}_count"), *LANE)
    return grid(
        About(
            71,
            "Lanes",
            "Every lane: its batches now, and those of the time range.",
            "short",
            ("BatchlineBatchStuck", "BatchlineBatchErrorRatio"),
            width=24,
            height=10,
        ),
        LANE,
        [
            Column("Open", total(now(BATCHES), *LANE), "short"),
            Column("Oldest", f"max by ({', '.join(LANE)}) ({now(OLDEST)})", "s"),
            Column("Overdue", f"max by ({', '.join(LANE)}) ({now(OVERDUE)})", "s", OVERDUE_LIMITS),
            Column("Stuck", total(now("batchline_batches_stuck"), *LANE), "short", ((1, ORANGE),)),
            Column("Reconciling", total(now(BATCHES, RECONCILING), *LANE), "short", ((1, ORANGE),)),
            Column("Cut", total(gain(CUT), *LANE), "short"),
            Column("Finished", rows, "short"),
            Column(
                "Requests in a batch",
                ratio(total(gain(f"{SIZE}_sum"), *LANE), total(gain(f"{SIZE}_count"), *LANE)),
                "short",
                (),
                1,
            ),
            Column("Turnaround p95", quantile(0.95, TURNAROUND, *LANE, over=RANGE), "s"),
            Column(
                "Without an answer",
                ratio(total(gain(f"{ERRORS}_sum"), *LANE), rows),
                "percentunit",
                ROWS_LIMITS,
                2,
            ),
        ],
        sort="Oldest",
    )
