"""Overview: is it well, is anything late, what does it bring. The first dashboard to open."""

from __future__ import annotations

from grafana.source import overview_tiles
from grafana.source.frame import framed
from grafana.source.overview_tiles import (
    ANSWERED,
    ENQUEUED,
    ERROR_LIMITS,
    FAILED,
    LANES,
    LATENCY,
    MET,
    MISSED,
    OLDEST,
    PENDING,
    PENDING_LIMITS,
    QUEUE,
    SAVED,
    SETTLED,
    TICK,
    TICK_LIMITS,
)
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
    gauges,
    grid,
    lines,
    tile,
)
from grafana.source.promql import LANE, RANGE, count, gain, now, quantile, rate, ratio, share, total


def dashboard() -> str:
    """Return the dashboard's JSON."""
    rows = [
        Row(100, "Now", [overview_tiles.health(), overview_tiles.backlog()]),
        Row(200, "In this time range", [overview_tiles.outcome()]),
        Row(300, "Traffic and latency", [_traffic(), _latency()]),
        Row(400, "Backlog and deadlines", [_waiting(), _promises()]),
        Row(500, "Room and store", [_room(), _store()]),
        Row(600, "Lanes", [[_lanes()]]),
    ]
    return framed(
        "batchline-overview",
        "batchline / Overview",
        "Whether batchline is well, what waits and for how long, and what it saved.",
        rows,
    )


def _traffic() -> list[Panel]:
    return [
        lines(
            About(
                31,
                "Requests per second",
                "Requests that came in and replies that went out. Replies come in bursts: a batch is settled as a whole.",
                "reqps",
                ("BatchlineTickStalled",),
            ),
            Query(count(rate(ENQUEUED)), "enqueued"),
            Query(total(rate(SETTLED), "status"), "{{status}}"),
            colours={"enqueued": BLUE, "succeeded": GREEN, "failed": RED, "cancelled": YELLOW},
        ),
        lines(
            About(
                32,
                "Error ratio by lane",
                "The share of failed replies among the replies of a lane. There is a gap where a lane settled nothing.",
                "percentunit",
                ("BatchlineLaneErrorRatio",),
            ),
            Query(share(total(rate(SETTLED, FAILED), *LANE), total(rate(SETTLED, ANSWERED), *LANE)), LANES),
            limits=ERROR_LIMITS,
            largest=1,
            window="5m",
        ),
    ]


def _latency() -> list[Panel]:
    return [
        lines(
            About(
                33,
                "Latency, enqueued to settled",
                "How long requests took that were settled then, by route. Realtime and batch differ by hours.",
                "s",
                ("BatchlineBatchOverdue", "BatchlineDeadlinesMissed"),
            ),
            Query(quantile(0.5, LATENCY, "route"), "p50 {{route}}"),
            Query(quantile(0.95, LATENCY, "route"), "p95 {{route}}"),
            window="5m",
        ),
        lines(
            About(
                34,
                "Queue time, enqueued to submitted",
                "How long requests waited here before a provider had them: flush.max_age, and the wait for room.",
                "s",
                ("BatchlinePendingTooOld", "BatchlineBudgetExhausted"),
            ),
            Query(quantile(0.5, QUEUE), "p50"),
            Query(quantile(0.95, QUEUE), "p95"),
            window="5m",
        ),
    ]


def _waiting() -> list[Panel]:
    return [
        lines(
            About(
                41,
                "Backlog",
                "Requests that wait here, and requests in batches at a provider. Pending that only grows means no room, no tick or an account that is down.",
                "short",
                ("BatchlinePendingTooOld", "BatchlineBudgetExhausted"),
            ),
            Query(count(now(PENDING)), "pending"),
            Query(count(now("batchline_requests_in_flight")), "in flight"),
            stacked=True,
            colours={"pending": ORANGE, "in flight": BLUE},
        ),
        lines(
            About(
                42,
                "Oldest pending by lane",
                "Age of each lane's oldest pending request.",
                "s",
                ("BatchlinePendingTooOld",),
            ),
            Query(f"max by ({', '.join(LANE)}) ({now(OLDEST)})", LANES),
            limits=PENDING_LIMITS,
        ),
    ]


def _promises() -> list[Panel]:
    return [
        lines(
            About(
                43,
                "Deadlines",
                "Requests per second that were answered before and after the deadline they came with.",
                "reqps",
                ("BatchlineDeadlinesMissed",),
            ),
            Query(count(rate(MET)), "met"),
            Query(count(rate(MISSED)), "missed"),
            stacked=True,
            colours={"met": GREEN, "missed": RED},
        ),
        lines(
            About(
                44,
                "Callbacks",
                "Replies per second by kind of callback queue and outcome. `default` went to the request's own queue because the named one was no list or stream; `undelivered` is kept in batchline:undelivered.",
                "reqps",
                ("BatchlineUndeliveredReplies",),
            ),
            Query(total(rate("batchline_callbacks_total"), "kind", "outcome"), "{{kind}} {{outcome}}"),
            stacked=True,
        ),
    ]


def _room() -> list[Panel]:
    used, limit = now("batchline_budget_used"), now("batchline_budget_limit")
    by = ("account", "model", "unit")
    return [
        gauges(
            About(
                51,
                "Budget use",
                "How much of each budget that has a limit is used. At 100 % nothing more is sent for that account and model until something ends.",
                "percentunit",
                ("BatchlineBudgetExhausted",),
            ),
            Query(share(total(used, *by), total(limit, *by)), "{{account}} {{model}} {{unit}}"),
            limits=((0.8, YELLOW), (1, ORANGE)),
            largest=1,
        ),
        lines(
            About(52, "Tick age", "Time since each role last ticked.", "s", ("BatchlineTickStalled",)),
            Query(f"max by (role) (time() - ({now(TICK)} > 0))", "{{role}}"),
            limits=TICK_LIMITS,
        ),
    ]


def _store() -> list[Panel]:
    return [
        lines(
            About(
                53,
                "Store memory over time",
                "Memory in use of the store's maxmemory; 0 % where it has none. Requests are refused above 80 %.",
                "percentunit",
                ("BatchlineStoreMemory", "BatchlineStoreMemoryCritical"),
                width=9,
            ),
            Query(f"max({now('batchline_store_memory_ratio')})", "used"),
            limits=((0.8, ORANGE), (0.9, RED)),
            largest=1,
        ),
        lines(
            About(
                54,
                "Kept back",
                "What needs a person: dead letters, replies without a callback queue, and lanes beyond limits.max_lanes, which are set aside.",
                "short",
                ("BatchlineDeadLetters", "BatchlineUndeliveredReplies"),
                width=9,
            ),
            Query(count(now("batchline_dead_letters")), "dead letters"),
            Query(count(now("batchline_undelivered_replies")), "undelivered replies"),
            Query(count(now("batchline_lanes_aside")), "lanes set aside"),
        ),
        tile(
            About(
                55,
                "Fsync",
                "Whether the store writes to disk before it acknowledges (appendfsync always). If not, a power cut can take back its last second.",
                "none",
                ("BatchlineStorePersistence",),
                width=3,
            ),
            f"min({now('batchline_store_fsync_always')})",
            words={"0": ("each second", YELLOW), "1": ("always", GREEN)},
        ),
        tile(
            About(56, "Lanes", "Lanes that the store knows, of all accounts.", "short", width=3),
            count(now("batchline_lanes")),
            colour=BLUE,
        ),
    ]


def _lanes() -> Panel:
    failed, answered = total(gain(SETTLED, FAILED), *LANE), total(gain(SETTLED, ANSWERED), *LANE)
    return grid(
        About(
            61,
            "All lanes",
            "Every lane: what waits now, and what came of the time range. Choose an account, endpoint or model above to see one alone.",
            "short",
            ("BatchlineLaneErrorRatio", "BatchlinePendingTooOld"),
            width=24,
            height=10,
        ),
        LANE,
        [
            Column("Pending", total(now(PENDING), *LANE), "short"),
            Column("Oldest pending", f"max by ({', '.join(LANE)}) ({now(OLDEST)})", "s", PENDING_LIMITS),
            Column("In flight", total(now("batchline_requests_in_flight"), *LANE), "short"),
            Column("Settled", total(gain(SETTLED), *LANE), "short"),
            Column("Error ratio", ratio(failed, answered), "percentunit", ERROR_LIMITS, 2),
            Column("Latency p95", quantile(0.95, LATENCY, *LANE, over=RANGE), "s"),
            Column("Saved", total(gain(SAVED), *LANE), "currencyUSD", (), 2),
            Column("Dead letters", total(now("batchline_dead_letters"), *LANE), "short", ((1, ORANGE),)),
        ],
        sort="Pending",
        opens="batchline-batches",
    )
