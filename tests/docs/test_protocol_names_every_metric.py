"""The table of metrics in docs/protocol.md: what the exporter serves, no more and no less, with everything that was promised first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from batchline.exporter import StoreCollector
from batchline.settings import Settings
from batchline.store import Store, keys

PROTOCOL = Path(__file__).parents[2] / "docs/protocol.md"
ROW = re.compile(r"^\| `(batchline_\w+)` \| (counter|gauge|histogram) \|((?:\\\||[^|])*)\| (.+) \|$", re.MULTILINE)
LANE = ("account", "endpoint", "model")
FIRST_PROMISED = {
    "batchline_requests_enqueued_total": LANE,
    "batchline_requests_pending": LANE,
    "batchline_requests_in_flight": LANE,
    "batchline_requests_settled_total": (*LANE, "status", "route"),
    "batchline_request_retries_total": (*LANE, "reason"),
    "batchline_request_latency_seconds": (*LANE, "route"),
    "batchline_request_queue_seconds": LANE,
    "batchline_batch_turnaround_seconds": LANE,
    "batchline_batches_cut_total": (*LANE, "trigger"),
    "batchline_batches": (*LANE, "state"),
    "batchline_batch_requests": LANE,
    "batchline_tokens_total": (*LANE, "kind"),
    "batchline_list_usd_total": (*LANE, "route"),
    "batchline_paid_usd_total": (*LANE, "route"),
    "batchline_saved_usd_total": (*LANE, "route"),
    "batchline_wasted_usd_total": (*LANE, "reason"),
    "batchline_unpriced_requests_total": LANE,
    "batchline_oldest_pending_seconds": LANE,
    "batchline_oldest_batch_seconds": LANE,
    "batchline_budget_used": ("account", "model", "unit"),
    "batchline_budget_limit": ("account", "model", "unit"),
    "batchline_deadlines_met_total": (*LANE, "route"),
    "batchline_deadlines_missed_total": (*LANE, "route"),
    "batchline_dead_letters": LANE,
    "batchline_ambiguous_submissions_total": ("account",),
    "batchline_duplicate_batches_total": ("account",),
    "batchline_orphan_batches": ("account",),
    "batchline_callbacks_total": ("kind", "outcome"),
    "batchline_provider_errors_total": ("account", "call", "code"),
    "batchline_last_tick_timestamp_seconds": ("role",),
    "batchline_store_up": (),
    "batchline_store_memory_ratio": (),
    "batchline_build_info": ("version",),
}
"""The first promise, which may grow and not change."""


def documented() -> dict[str, tuple[str, ...]]:
    """Return the labels of each metric in the table."""
    return {name: _labels(cell) for name, _, cell, _ in ROW.findall(PROTOCOL.read_text())}


def _labels(cell: str) -> tuple[str, ...]:
    words = [word.strip().strip("`").partition("=")[0] for word in cell.replace("\\|", "/").split(",") if word.strip()]
    return tuple(name for word in words for name in (LANE if word == "LANE" else (word,)))


def values(name: str) -> dict[str, set[str]]:
    """Return the values that the table names for labels of a metric."""
    cell = next(cell for each, _, cell, _ in ROW.findall(PROTOCOL.read_text()) if each == name)
    return {label: set(named.split("\\|")) for label, named in re.findall(r"`(\w+)=([^`]+)`", cell)}


@pytest.fixture
def families(store: Store) -> list[Metric]:
    """All families of a store with one known lane."""
    lane = "openai:chat:gpt-5-mini"
    store.connection.run("XADD", keys.requests(lane), "*", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, lane)
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, Settings()))
    return list(registry.collect())


def _served(family: Metric) -> tuple[str, tuple[str, ...]]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return name, tuple(label for label in family.samples[0].labels if label != "le")


def test_every_metric_is_in_the_table_with_its_labels(families: list[Metric]) -> None:
    assert dict(_served(family) for family in families) == documented()


def test_every_type_is_the_one_in_the_table(families: list[Metric]) -> None:
    told = {name: kind for name, kind, _, _ in ROW.findall(PROTOCOL.read_text())}
    assert {_served(family)[0]: family.type for family in families} == told


def test_what_was_promised_first_is_kept() -> None:
    table = documented()
    assert {name: table.get(name) for name in FIRST_PROMISED} == FIRST_PROMISED


def test_the_values_that_the_table_names_stand_at_zero_from_the_start(families: list[Metric]) -> None:
    for family in families:
        name, _ = _served(family)
        for label, named in values(name).items():
            assert {sample.labels[label] for sample in family.samples} == named, f"{name} {label}"


def test_no_family_comes_twice(families: list[Metric]) -> None:
    names = [family.name for family in families]
    assert len(names) == len(set(names))


def test_no_series_comes_twice(families: list[Metric]) -> None:
    series = [(s.name, *sorted(s.labels.items())) for family in families for s in family.samples]
    assert len(series) == len(set(series))
