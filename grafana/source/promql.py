"""The expressions of the panels, built in one way so that they stay right however the exporter is run.

Every figure of the exporter is a fact of the store. Two exporters show the same figures, and one that is replaced goes
on where the old one stood. So each expression has two steps, and there is no panel that leaves the first one out:

1. ``now``, ``rate`` and ``gain`` bring what several exporters say of one series to one value (``max by`` over the
   installation and the metric's own labels).
2. ``total`` sums those values by the labels that a panel shows.

An installation is a ``namespace`` and ``job`` of Prometheus: the figures of two installations are added up.
"""

from __future__ import annotations

LANE = ("account", "endpoint", "model")
INSTALLATION = ("namespace", "job")
CHOSEN = {name: f'{name}=~"${name}"' for name in (*INSTALLATION, *LANE)}

LABELS: dict[str, tuple[str, ...]] = {
    "batchline_requests_enqueued_total": LANE,
    "batchline_requests_pending": LANE,
    "batchline_requests_in_flight": LANE,
    "batchline_requests_settled_total": (*LANE, "status", "route"),
    "batchline_request_retries_total": (*LANE, "reason"),
    "batchline_request_latency_seconds": (*LANE, "route"),
    "batchline_request_queue_seconds": LANE,
    "batchline_batch_turnaround_seconds": LANE,
    "batchline_batch_requests": LANE,
    "batchline_batch_error_ratio": LANE,
    "batchline_batches_cut_total": (*LANE, "trigger"),
    "batchline_batches": (*LANE, "state"),
    "batchline_batches_stuck": LANE,
    "batchline_results_expire_timestamp_seconds": LANE,
    "batchline_batches_expire_timestamp_seconds": LANE,
    "batchline_tokens_total": (*LANE, "kind"),
    "batchline_list_usd_total": (*LANE, "route"),
    "batchline_paid_usd_total": (*LANE, "route"),
    "batchline_saved_usd_total": (*LANE, "route"),
    "batchline_wasted_usd_total": (*LANE, "reason"),
    "batchline_cache_saved_usd_total": (*LANE, "route"),
    "batchline_cache_extra_usd_total": (*LANE, "route"),
    "batchline_unpriced_requests_total": LANE,
    "batchline_oldest_pending_seconds": LANE,
    "batchline_oldest_batch_seconds": LANE,
    "batchline_batches_overdue_seconds": LANE,
    "batchline_deadlines_met_total": (*LANE, "route"),
    "batchline_deadlines_missed_total": (*LANE, "route"),
    "batchline_dead_letters": LANE,
    "batchline_budget_used": ("account", "model", "unit"),
    "batchline_budget_limit": ("account", "model", "unit"),
    "batchline_ambiguous_submissions_total": ("account",),
    "batchline_duplicate_batches_total": ("account",),
    "batchline_orphan_batches": ("account",),
    "batchline_account_down": ("account",),
    "batchline_provider_errors_total": ("account", "call", "code"),
    "batchline_provider_files": ("account",),
    "batchline_provider_file_failures": ("account",),
    "batchline_provider_storage_files": ("account", "whose"),
    "batchline_provider_storage_bytes": ("account", "whose"),
    "batchline_provider_storage_limit_bytes": ("account",),
    "batchline_callbacks_total": ("kind", "outcome"),
    "batchline_undelivered_replies": (),
    "batchline_lanes": (),
    "batchline_lanes_aside": (),
    "batchline_last_tick_timestamp_seconds": ("role",),
    "batchline_store_up": (),
    "batchline_store_memory_ratio": (),
    "batchline_store_persistence_ok": (),
    "batchline_store_fsync_always": (),
    "batchline_build_info": ("version",),
}
"""The labels that the exporter gives each metric; docs/protocol.md says what they mean."""

ALERTS = 'ALERTS{alertname=~"Batchline.*", alertstate="firing", namespace=~"$namespace|"}'
"""Alerts that fire; some are sums over installations and have no namespace."""

WINDOW = "$__rate_interval"
RANGE = "$__range"


def now(name: str, only: str = "") -> str:
    """Return each series of a gauge, one value for all exporters; ``only`` is a further matcher, such as ``state="cut"``."""
    return f"{_one(name)} ({_series(name, only)})"


def rate(name: str, only: str = "") -> str:
    """Return how fast each series of a counter grows, per second, over Grafana's rate interval."""
    return f"{_one(name)} (rate({_series(name, only)}[{WINDOW}]))"


def gain(name: str, only: str = "", over: str = RANGE) -> str:
    """Return how much each series of a counter grew in the dashboard's time range: an exact count.

    It is the largest value less the smallest, of all exporters that there were. ``increase`` is no good over a long
    range: each replaced exporter starts a series of its own, and neither their sum nor their maximum is the growth.
    A range in which the store was emptied shows too much.
    """
    series = _series(name, only)
    smallest = _one(name).replace("max by", "min by", 1)
    return f"({_one(name)} (max_over_time({series}[{over}])) - {smallest} (min_over_time({series}[{over}])))"


def total(series: str, *by: str) -> str:
    """Return the sum of the series by the labels that are shown."""
    return f"sum by ({', '.join(by)}) ({series})" if by else f"sum({series})"


def count(series: str) -> str:
    """Return one sum that is 0 where there is no series yet, and nothing where the exporter or the store is away."""
    return or_zero(total(series))


def or_zero(figure: str) -> str:
    """Return a figure without labels, or 0 in its absence, but only as long as an exporter reads its store.

    Panels must not look quiet when nobody knows.
    """
    return f"{figure} or 0 * max({_series('batchline_store_up', '')} == 1)"


def ratio(part: str, whole: str) -> str:
    """Return a share that is 0, not NaN, where there is no whole; what is counted here is never as small as 1e-12."""
    return f"({part}) / clamp_min({whole}, 1e-12)"


def share(part: str, whole: str) -> str:
    """Return a share that has a gap where there is no whole: where 0 would be a lie, as with the savings of nothing."""
    return f"({part}) / ({whole} > 0)"


def quantile(q: float, name: str, *by: str, over: str = WINDOW, only: str = "") -> str:
    """Return a quantile of a histogram by the labels that are shown; a gap where nothing was observed."""
    grown = gain(f"{name}_bucket", only) if over == RANGE else rate(f"{name}_bucket", only)
    return f"histogram_quantile({q}, {total(grown, 'le', *by)}) >= 0"


def _series(name: str, only: str) -> str:
    matchers = [CHOSEN[label] for label in (*INSTALLATION, *_labels(name)) if label in CHOSEN]
    if name.startswith("batchline_budget_"):
        # What holds for a whole account has model="all", what some models share their pattern: shown whichever model is chosen.
        matchers = [matcher.replace('"$model"', '"$model|all|.*[*?].*"') for matcher in matchers]
    return f"{name}{{{', '.join([*matchers, *([only] if only else [])])}}}"


def _one(name: str) -> str:
    return f"max by ({', '.join((*INSTALLATION, *_labels(name)))})"


def _labels(name: str) -> tuple[str, ...]:
    for suffix, more in (("_bucket", ("le",)), ("_sum", ()), ("_count", ())):
        if name.endswith(suffix) and name not in LABELS:
            return (*LABELS[name.removesuffix(suffix)], *more)
    return LABELS[name]
