"""Prometheus metrics from the store's own figures, read at scrape time: they survive restarts and equal the replies."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from batchline import figures
from batchline.errors import StoreError
from batchline.figures import Figures
from batchline.requests import NANO
from batchline.settings import Settings
from batchline.store import Store
from batchline.store.ledger import SIZE_BUCKETS, Account
from batchline.store.settling import BUCKETS_S

log = structlog.get_logger("batchline.exporter")

LANE = ("account", "endpoint", "model")
STATES = ("cut", "submitting", "reconciling", "submitted", "ended")
TRIGGERS = ("requests", "bytes", "tokens", "age", "drain", "deadline")
STATUSES = ("succeeded", "failed", "cancelled")
ROUTES = ("batch", "realtime")
REASONS = ("provider_error", "expired", "missing", "cancelled")
TOKENS = ("input_uncached", "cache_read", "cache_write", "output")
MONEY = (
    ("list", "batchline_list_usd", "What the answered requests cost at the realtime list price"),
    ("paid", "batchline_paid_usd", "What the answered requests cost as paid"),
    ("saved", "batchline_saved_usd", "What was saved against the list price"),
)


class StoreCollector(Collector):
    """Collects every metric from one reading of the store; a store that does not answer is ``batchline_store_up 0``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics for one scrape."""
        build = GaugeMetricFamily("batchline_build_info", "The running version", labels=["version"])
        build.add_metric([version("batchline")], 1)
        yield build
        try:
            read = figures.read(self._store)
        except StoreError as error:
            log.warning("exporter.store_down", reason=str(error))
            yield GaugeMetricFamily("batchline_store_up", "Whether the store answers", value=0)
            return
        yield GaugeMetricFamily("batchline_store_up", "Whether the store answers", value=1)
        yield from metrics(read, now_s=time.time())

    def describe(self) -> Iterable[Metric]:
        """Say nothing before the first scrape, so that a start needs no store."""
        return ()


def metrics(read: Figures, *, now_s: float) -> Iterator[Metric]:
    """Turn one reading into metric families; series that were never counted stand at 0."""
    yield from _depths(read, now_s)
    yield _orphans(read)
    yield from _outcomes(read.ledger)
    yield from _times(read.ledger)
    yield from _money(read.ledger)
    ticks = GaugeMetricFamily("batchline_last_tick_timestamp_seconds", "When a role last ticked", labels=["role"])
    for role, at_ms in read.ticks.items():
        ticks.add_metric([role], at_ms / 1000)
    yield ticks
    used, limit = read.memory
    ratio = used / limit if limit else 0.0
    yield GaugeMetricFamily(
        "batchline_store_memory_ratio", "Store memory in use, of maxmemory (0: no limit)", value=ratio
    )


def _depths(read: Figures, now_s: float) -> Iterator[Metric]:
    enqueued = CounterMetricFamily("batchline_requests_enqueued", "Requests ever enqueued", labels=LANE)
    pending = GaugeMetricFamily("batchline_requests_pending", "Requests waiting to be sent", labels=LANE)
    flying = GaugeMetricFamily("batchline_requests_in_flight", "Requests in batches at a provider", labels=LANE)
    waiting = GaugeMetricFamily("batchline_oldest_pending_seconds", "Age of the oldest pending request", labels=LANE)
    oldest = GaugeMetricFamily("batchline_oldest_batch_seconds", "Age of the oldest unsettled batch", labels=LANE)
    dead = GaugeMetricFamily("batchline_dead_letters", "Requests given up on and kept", labels=LANE)
    states = GaugeMetricFamily("batchline_batches", "Unsettled batches", labels=(*LANE, "state"))
    for base, depth in read.depths.items():
        lane = _labels(base)
        enqueued.add_metric(lane, depth.enqueued)
        pending.add_metric(lane, depth.pending)
        flying.add_metric(lane, depth.in_flight)
        waiting.add_metric(lane, _age_s(depth.oldest_pending_ms, now_s))
        dead.add_metric(lane, depth.dead)
        oldest.add_metric(lane, _age_s(depth.oldest_batch_ms, now_s))
        for state in STATES:
            states.add_metric([*lane, state], depth.states[state])
    yield from (enqueued, pending, flying, waiting, oldest, dead, states)


def _orphans(read: Figures) -> Metric:
    meaning = "Provider batches that the store had not known when they were found, and that are not settled yet"
    family = GaugeMetricFamily("batchline_orphan_batches", meaning, labels=["account"])
    found = Counter(batch.account for batch in read.batches if batch.orphan)
    for account in sorted({base.split(":", 1)[0] for base in read.depths} | found.keys()):
        family.add_metric([account], found[account])
    return family


def _outcomes(ledger: Mapping[str, Account]) -> Iterator[Metric]:
    settled = CounterMetricFamily("batchline_requests_settled", "Requests answered", labels=(*LANE, "status", "route"))
    retries = CounterMetricFamily("batchline_request_retries", "Requests sent again", labels=(*LANE, "reason"))
    cut = CounterMetricFamily("batchline_batches_cut", "Batches cut", labels=(*LANE, "trigger"))
    met = CounterMetricFamily("batchline_deadlines_met", "Deadlines met", labels=(*LANE, "route"))
    missed = CounterMetricFamily("batchline_deadlines_missed", "Deadlines missed", labels=(*LANE, "route"))
    callbacks: dict[str, int] = {}
    for base, account in ledger.items():
        lane = _labels(base)
        for route in ROUTES:
            for status in STATUSES:
                settled.add_metric([*lane, status, route], account.get(f"settled:{status}:{route}"))
            met.add_metric([*lane, route], account.get(f"deadlines_met:{route}"))
            missed.add_metric([*lane, route], account.get(f"deadlines_missed:{route}"))
        for reason in {*REASONS, *account.having("retries:")}:
            retries.add_metric([*lane, reason], account.get(f"retries:{reason}"))
        for trigger in TRIGGERS:
            cut.add_metric([*lane, trigger], account.get(f"cut:{trigger}"))
        for outcome, count in account.having("callbacks:").items():
            callbacks[outcome] = callbacks.get(outcome, 0) + count
    yield from (settled, retries, cut, met, missed, _callbacks(callbacks))


def _callbacks(counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily("batchline_callbacks", "Replies delivered", labels=("kind", "outcome"))
    for name in {"list:delivered", "stream:delivered"} | counts.keys():
        family.add_metric(name.split(":", 1), counts.get(name, 0))
    return family


def _times(ledger: Mapping[str, Account]) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "batchline_request_latency_seconds", "From enqueued to settled", labels=(*LANE, "route")
    )
    queue = HistogramMetricFamily("batchline_request_queue_seconds", "From enqueued to submitted", labels=LANE)
    turnaround = HistogramMetricFamily("batchline_batch_turnaround_seconds", "From submitted to ended", labels=LANE)
    size = HistogramMetricFamily("batchline_batch_requests", "Requests in a batch", labels=LANE)
    for base, account in ledger.items():
        lane = _labels(base)
        for route in ROUTES:
            _histogram(latency, [*lane, route], account, f"latency:{route}:", f"latency_ms:{route}")
        _histogram(queue, lane, account, "queue:", "queue_ms")
        _histogram(turnaround, lane, account, "turnaround:", "turnaround_ms")
        _histogram(size, lane, account, "size:", "size_sum", bounds=SIZE_BUCKETS, unit=1)
    yield from (latency, queue, turnaround, size)


def _histogram(
    family: HistogramMetricFamily,
    labels: list[str],
    account: Account,
    prefix: str,
    total: str,
    *,
    bounds: tuple[int, ...] = BUCKETS_S,
    unit: int = 1000,
) -> None:
    counts = accumulate(account.get(f"{prefix}{i}") for i in range(len(bounds) + 1))
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    family.add_metric(labels, list(zip(names, counts, strict=True)), account.get(total) / unit)


def _money(ledger: Mapping[str, Account]) -> Iterator[Metric]:
    for field, name, meaning in MONEY:
        family = CounterMetricFamily(name, meaning, labels=(*LANE, "route"))
        for base, account in ledger.items():
            for route in ROUTES:
                family.add_metric([*_labels(base), route], account.get(f"{field}_nano:{route}") / NANO)
        yield family
    wasted = CounterMetricFamily("batchline_wasted_usd", "Paid for and of no use", labels=(*LANE, "reason"))
    tokens = CounterMetricFamily("batchline_tokens", "Tokens of answered requests", labels=(*LANE, "kind"))
    unpriced = CounterMetricFamily("batchline_unpriced_requests", "Answered, without a known price", labels=LANE)
    for base, account in ledger.items():
        lane = _labels(base)
        wasted.add_metric([*lane, "unmatched"], account.get("wasted_nano:unmatched") / NANO)
        for kind in TOKENS:
            tokens.add_metric([*lane, kind], account.get(f"tokens:{kind}"))
        unpriced.add_metric(lane, account.get("unpriced"))
    yield from (wasted, tokens, unpriced)


def _labels(base: str) -> list[str]:
    return base.split(":", 2)


def _age_s(since_ms: int, now_s: float) -> float:
    return max(0.0, now_s - since_ms / 1000) if since_ms else 0.0


def serve(settings: Settings, port: int) -> None:
    """Serve /metrics until SIGTERM or SIGINT; port 0 takes a free one."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(Store(settings.redis_url)))
    server, _ = start_http_server(port, registry=registry)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    log.info("exporter.listening", port=server.server_port)
    over.wait()
    server.shutdown()
