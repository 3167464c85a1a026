"""The exporter: /metrics from the store's own figures, read at scrape time: they survive restarts and equal the replies."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from importlib.metadata import version

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batchline import figures
from batchline.endpoints import Endpoints
from batchline.errors import StoreError
from batchline.figures import Figures
from batchline.metrics import metrics
from batchline.settings import Settings
from batchline.store import Store
from batchline.store.connection import HASTY

log = structlog.get_logger("batchline.exporter")


WITHIN_S = 8.0
"""A reading that takes longer counts as a store that does not answer: Prometheus itself gives up after 10 seconds."""


class _Reading:
    """Reads in a thread of its own, one reading at a time: scrapes that come meanwhile share it, and none waits for ever."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._running: Future[Figures] | None = None

    def result(self, timeout_s: float) -> Figures:
        """Return what was read. Raises TimeoutError, and what reading raises."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                threading.Thread(target=self._run, args=(self._running,), name="scrape", daemon=True).start()
            running = self._running
        return running.result(timeout_s)

    def _run(self, running: Future[Figures]) -> None:
        try:
            running.set_result(self._read())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            running.set_exception(error)


class StoreCollector(Collector):
    """Collects every metric from one reading of the store; a store that does not answer is ``batchline_store_up 0``."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        within_s: float = WITHIN_S,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._within_s = within_s
        self._reading = _Reading(lambda: figures.read(store, settings, now_ms=clock()))

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics for one scrape."""
        yield build_info()
        try:
            read = self._reading.result(self._within_s)
        except (StoreError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
            # What is no number where one should be: somebody else wrote it, and nothing can be told.
            log.warning("exporter.store_down", reason=str(error) or f"it takes longer than {self._within_s:g} s")
            yield GaugeMetricFamily("batchline_store_up", "Whether the store answers", value=0)
            return
        yield GaugeMetricFamily("batchline_store_up", "Whether the store answers", value=1)
        yield from metrics(read, self._settings, now_ms=self._clock())

    def describe(self) -> Iterable[Metric]:
        """Say nothing before the first scrape, so that a start needs no store."""
        return ()


def build_info() -> Metric:
    """Return the metric of the running version, of exporters and workers alike."""
    build = GaugeMetricFamily("batchline_build_info", "The running version", labels=["version"])
    build.add_metric([version("batchline")], 1)
    return build


def serve(settings: Settings, port: int) -> None:
    """Serve /metrics, /livez and /readyz until SIGTERM or SIGINT; port 0 takes a free one. Raises UsageError when it is taken."""
    registry = CollectorRegistry()
    store = Store(settings.redis_url, patience=HASTY)
    registry.register(StoreCollector(store, settings))
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    endpoints = Endpoints(port, registry, {"/livez": lambda: "", "/readyz": lambda: answers(store)})
    log.info("exporter.listening", port=endpoints.port)
    over.wait()
    endpoints.stop()


def answers(store: Store) -> str:
    """Return what is wrong with the store, empty when it answers."""
    try:
        store.ping()
    except StoreError as error:
        return str(error)
    return ""
