"""The figures at the top of the overview, and the names and limits that it shares with what is below them."""

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
from grafana.source.promql import ALERTS, RANGE, count, gain, now, or_zero, quantile, ratio, total

ENQUEUED = "batchline_requests_enqueued_total"
SETTLED = "batchline_requests_settled_total"
PENDING = "batchline_requests_pending"
OLDEST = "batchline_oldest_pending_seconds"
LATENCY = "batchline_request_latency_seconds"
QUEUE = "batchline_request_queue_seconds"
LIST, SAVED = "batchline_list_usd_total", "batchline_saved_usd_total"
MET, MISSED = "batchline_deadlines_met_total", "batchline_deadlines_missed_total"
TICK = "batchline_last_tick_timestamp_seconds"
FAILED, ANSWERED = 'status="failed"', 'status!="cancelled"'
LANES = "{{account}} · {{endpoint}} · {{model}}"
# Limits are where the alerts' are (grafana/alerts), with an earlier colour below them.
TICK_LIMITS = ((30, YELLOW), (120, RED))
PENDING_LIMITS = ((900, YELLOW), (1800, ORANGE))
ERROR_LIMITS = ((0.02, YELLOW), (0.1, RED))


def health() -> list[Panel]:
    """Return the figures that say what must be well for anything to go on."""
    away = {"0": ("away", RED), "1": ("answers", GREEN)}
    kept = {"0": ("not kept", RED), "1": ("kept", GREEN)}
    return [
        tile(
            About(
                1,
                "Store",
                "Whether the exporter can read the store. Everything stands still while it cannot.",
                "none",
                ("BatchlineStoreDown", "BatchlineExporterDown"),
                width=4,
                height=4,
            ),
            f"min({now('batchline_store_up')})",
            words=away,
            missing="no exporter",
        ),
        tile(
            About(
                2,
                "Alerts firing",
                "Alerts of batchline that fire now, also those that an inhibition or a silence keeps quiet.",
                "short",
                width=4,
                height=4,
            ),
            or_zero(f"count({ALERTS})"),
            limits=((1, RED),),
        ),
        tile(
            About(
                3,
                "Oldest tick",
                "Time since the role that ticked longest ago did. A tick comes about every second; without one nothing is cut, sent or polled.",
                "s",
                ("BatchlineTickStalled",),
                width=4,
                height=4,
            ),
            f"max(time() - {now(TICK)})",
            limits=TICK_LIMITS,
            beyond=(1e9, "never"),
            decimals=0,
        ),
        tile(
            About(
                4,
                "Persistence",
                "Whether the store's append-only file is on and its last write and rewrite went well. What is not kept is lost when the store restarts.",
                "none",
                ("BatchlineStorePersistence",),
                width=4,
                height=4,
            ),
            f"min({now('batchline_store_persistence_ok')})",
            words=kept,
        ),
        tile(
            About(
                5,
                "Store memory",
                "Memory in use of the store's maxmemory; 0 % where it has none. Above 80 % requests are refused, near the limit settling pauses.",
                "percentunit",
                ("BatchlineStoreMemory", "BatchlineStoreMemoryCritical"),
                width=4,
                height=4,
            ),
            f"max({now('batchline_store_memory_ratio')})",
            limits=((0.8, ORANGE), (0.9, RED)),
            decimals=0,
        ),
        tile(
            About(
                6, "Version", "The running version; several while an update is rolled out.", "none", width=4, height=4
            ),
            f"count by (version) ({now('batchline_build_info')})",
            legend="{{version}}",
            colour=BLUE,
        ),
    ]


def backlog() -> list[Panel]:
    """Return the figures that say what waits, and for how long."""
    return [
        tile(
            About(
                11,
                "Pending",
                "Requests that wait to be sent, in the chosen lanes.",
                "short",
                ("BatchlinePendingTooOld",),
                width=4,
                height=4,
            ),
            count(now(PENDING)),
            colour=BLUE,
        ),
        tile(
            About(
                12,
                "Oldest pending",
                "How long the oldest pending request has waited. It grows to flush.max_age in good health, further where an account has no room or is down.",
                "s",
                ("BatchlinePendingTooOld", "BatchlineBudgetExhausted"),
                width=4,
                height=4,
            ),
            or_zero(f"max({now(OLDEST)})"),
            limits=PENDING_LIMITS,
            decimals=0,
        ),
        tile(
            About(13, "In flight", "Requests in batches at a provider.", "short", width=4, height=4),
            count(now("batchline_requests_in_flight")),
            colour=BLUE,
        ),
        tile(
            About(
                14,
                "Overdue",
                "For how long a batch that is not settled is past the end of its provider's window: 24 hours, at some longer.",
                "s",
                ("BatchlineBatchOverdue", "BatchlineBatchStuck"),
                width=4,
                height=4,
            ),
            or_zero(f"max({now('batchline_batches_overdue_seconds')})"),
            limits=((1, YELLOW), (7_200, RED)),
            decimals=0,
        ),
        tile(
            About(
                15,
                "Dead letters",
                "Requests that got no answer in their last attempt, were answered as failed and are kept until they are redriven or dropped.",
                "short",
                ("BatchlineDeadLetters",),
                width=4,
                height=4,
            ),
            count(now("batchline_dead_letters")),
            limits=((1, ORANGE),),
        ),
        tile(
            About(
                16,
                "Accounts down",
                "Accounts whose provider calls are held back after trouble. Which ones: see Providers.",
                "short",
                ("BatchlineProviderErrors",),
                width=4,
                height=4,
            ),
            count(now("batchline_account_down")),
            limits=((1, ORANGE),),
        ),
    ]


def outcome() -> list[Panel]:
    """Return the figures that say what came of the time range."""
    return [
        tile(
            About(
                21,
                "Saved",
                "List price less what was paid, of all requests settled in the time range. Waste and prices that are not known are in Money.",
                "currencyUSD",
                ("BatchlineSavingsDropped",),
                width=4,
                height=4,
            ),
            count(gain(SAVED)),
        ),
        tile(
            About(
                22,
                "Savings ratio",
                "The saved share of the list price in the time range; 0 % where nothing was settled. Batches cost half, so about 50 % is good.",
                "percentunit",
                ("BatchlineSavingsDropped",),
                width=4,
                height=4,
            ),
            or_zero(ratio(total(gain(SAVED)), total(gain(LIST)))),
            decimals=1,
            colour=GREEN,
        ),
        tile(
            About(
                23, "Settled", "Requests answered in the time range, whatever the answer.", "short", width=4, height=4
            ),
            count(gain(SETTLED)),
            colour=BLUE,
        ),
        tile(
            About(
                24,
                "Error ratio",
                "The share of failed replies among those of the time range; cancelled requests do not count.",
                "percentunit",
                ("BatchlineLaneErrorRatio", "BatchlineBatchErrorRatio"),
                width=4,
                height=4,
            ),
            or_zero(ratio(total(gain(SETTLED, FAILED)), total(gain(SETTLED, ANSWERED)))),
            limits=ERROR_LIMITS,
            decimals=2,
        ),
        tile(
            About(
                25,
                "Latency p95",
                "From enqueued to settled: 95 % of the requests settled in the time range took no longer. As fine as the histogram's buckets.",
                "s",
                ("BatchlinePendingTooOld", "BatchlineBatchOverdue"),
                width=4,
                height=4,
            ),
            quantile(0.95, LATENCY, over=RANGE),
            missing="-",
            colour=BLUE,
        ),
        tile(
            About(
                26,
                "Deadlines missed",
                "Requests of the time range that were answered after the deadline they came with.",
                "short",
                ("BatchlineDeadlinesMissed",),
                width=4,
                height=4,
            ),
            count(gain(MISSED)),
            limits=((1, RED),),
            decimals=0,
        ),
    ]
