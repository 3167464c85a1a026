"""What a worker says of itself over HTTP: /livez, /readyz, and /metrics of its own process."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batchline.endpoints import Endpoints
from batchline.engine.context import Context
from batchline.exporter import answers, build_info
from batchline.store import Store
from batchline.store.connection import HASTY


class WorkerCollector(Collector):
    """Collects what only this process knows; what was settled is told by the exporter, for all workers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        """Yield this worker's metrics."""
        yield build_info()
        at_s = self._context.clock() / 1000 - self._context.pulse.age_s()
        meaning = "When this worker's loop last came round"
        yield GaugeMetricFamily("batchline_worker_loop_timestamp_seconds", meaning, value=at_s)


def serve(context: Context, port: int) -> Endpoints:
    """Serve the endpoints until they are stopped; port 0 takes a free one. Raises UsageError when it is taken."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(context))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    # A store of its own that gives up soon: a probe is over after seconds, and the next one comes.
    store = Store(context.settings.redis_url, patience=HASTY)
    return Endpoints(port, registry, {"/livez": lambda: alive(context), "/readyz": lambda: ready(context, store)})


def alive(context: Context) -> str:
    """Return what is wrong with this process, empty when its loop beat lately. Never asks the store: a restart mends no store."""
    age_s = context.pulse.age_s()
    if age_s <= context.settings.live_within:
        return ""
    return f"the loop last came round {age_s:.0f} s ago, live_within is {context.settings.live_within:g} s"


def ready(context: Context, store: Store) -> str:
    """Return why this worker can do nothing now, empty when it can."""
    if context.shutdown.asked:
        return "this worker was asked to end"
    return alive(context) or answers(store)
