"""The metrics page: what stands there before anything happened, when the store is down, and how lanes are named."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from batchline.exporter import StoreCollector
from batchline.lanes import OpenRange, parse_lane
from batchline.settings import Settings
from batchline.store import Store, keys

LANE = "openai:chat:ft:gpt-5-mini:acme"
NOW = 1_795_000_000_000


def page(store: Store) -> str:
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, Settings()))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return name and label values → value."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def used(store: Store) -> Store:
    """Let a lane have a ledger."""
    lane = parse_lane(LANE)
    store.connection.run("XADD", keys.requests(LANE), f"{NOW}-1", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, LANE)
    seen = store.intake.walk(
        LANE, max_requests=10, max_bytes=10**9, max_tokens=None, row_bytes=200, bytes_per_token=4.0, now_ms=NOW
    )
    assert isinstance(seen, OpenRange)
    rules: dict[str, Any] = {"batch_id": "b1", "now_ms": NOW, "max_open": 10, "max_creates": 10}
    assert store.batches.cut(lane, seen, "age", **rules) == "cut"
    return store


@pytest.fixture
def unreachable() -> Iterator[Store]:
    store = Store("redis://127.0.0.1:1/0")
    yield store
    store.close()


def test_an_empty_store_is_up_and_has_a_version(store: Store) -> None:
    found = samples(page(store))
    assert found["batchline_store_up",] == 1
    assert any(name[0] == "batchline_build_info" for name in found)


def test_an_orphan_is_counted_until_it_is_settled(store: Store) -> None:
    used(store)
    assert samples(page(store))["batchline_orphan_batches", "openai"] == 0
    found: dict[str, Any] = {"batch_id": "b2", "lane": LANE, "provider_id": "batch_9", "nonce": "n", "rows": 3}
    assert store.orphans.adopt("openai", **found, created_ms=NOW, expires_ms=NOW, now_ms=NOW)
    assert samples(page(store))["batchline_orphan_batches", "openai"] == 1
    store.connection.run("ZREM", keys.AGENDA_POLL, "b2")
    assert samples(page(store))["batchline_orphan_batches", "openai"] == 0


def test_a_store_that_is_down_is_told_as_a_figure(unreachable: Store) -> None:
    found = samples(page(unreachable))
    assert found["batchline_store_up",] == 0
    assert {name[0] for name in found} == {"batchline_build_info", "batchline_store_up"}


def test_a_store_that_is_down_is_no_server_error(unreachable: Store) -> None:
    registry = CollectorRegistry()
    registry.register(StoreCollector(unreachable, Settings()))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            assert answer.status == 200
            assert b"batchline_store_up 0.0" in answer.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_collector_needs_no_store_to_be_registered(unreachable: Store) -> None:
    CollectorRegistry(auto_describe=True).register(StoreCollector(unreachable, Settings()))


def test_a_models_own_colons_stay_in_the_model(store: Store) -> None:
    found = samples(page(used(store)))
    assert found["batchline_requests_enqueued_total", "openai", "chat", "ft:gpt-5-mini:acme"] == 1


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (
            "batchline_requests_settled_total",
            [(r, s) for r in ("batch", "realtime") for s in ("succeeded", "failed", "cancelled")],
        ),
        ("batchline_batches_cut_total", [(t,) for t in ("requests", "bytes", "tokens", "drain", "deadline")]),
        ("batchline_tokens_total", [("input_uncached",), ("cache_read",), ("cache_write",), ("output",)]),
        ("batchline_paid_usd_total", [("batch",), ("realtime",)]),
        ("batchline_list_usd_total", [("batch",), ("realtime",)]),
        ("batchline_saved_usd_total", [("batch",), ("realtime",)]),
        ("batchline_deadlines_met_total", [("batch",), ("realtime",)]),
        ("batchline_deadlines_missed_total", [("batch",), ("realtime",)]),
        ("batchline_request_latency_seconds_count", [("batch",), ("realtime",)]),
        ("batchline_request_retries_total", [("provider_error",), ("expired",), ("missing",), ("cancelled",)]),
        ("batchline_unpriced_requests_total", [()]),
    ],
)
def test_what_was_never_counted_stands_at_zero(store: Store, name: str, labels: list[tuple[str, ...]]) -> None:
    families = text_string_to_metric_families(page(used(store)))
    found = {
        (s.name, *(s.labels[k] for k in s.labels if k not in {"account", "endpoint", "model"})): s.value
        for f in families
        for s in f.samples
    }
    assert {label: found[name, *label] for label in labels} == dict.fromkeys(labels, 0.0)


def test_a_histogram_ends_in_infinity_and_holds_its_count(store: Store) -> None:
    store.connection.run("HSET", keys.ledger(LANE), "latency:batch:0", 2, "latency:batch:3", 1, "latency:batch:19", 4)
    store.connection.run("HSET", keys.ledger(LANE), "latency_ms:batch", 12_500)
    store.connection.run("ZADD", keys.LEDGERS, NOW, LANE)
    families = {f.name: f for f in text_string_to_metric_families(page(store))}
    series = [s for s in families["batchline_request_latency_seconds"].samples if s.labels["route"] == "batch"]
    buckets = {s.labels["le"]: s.value for s in series if "le" in s.labels}
    assert (buckets["1.0"], buckets["30.0"], buckets["90000.0"], buckets["+Inf"]) == (2, 3, 3, 7)
    assert {s.name.rsplit("_", 1)[1]: s.value for s in series if "le" not in s.labels} == {"count": 7, "sum": 12.5}


def test_money_is_told_to_the_nano_dollar(store: Store) -> None:
    store.connection.run("HSET", keys.ledger(LANE), "paid_nano:batch", 1_234_567_890_123)
    store.connection.run("ZADD", keys.LEDGERS, NOW, LANE)
    assert (
        samples(page(store))["batchline_paid_usd_total", "openai", "chat", "ft:gpt-5-mini:acme", "batch"]
        == 1234.567890123
    )


def test_the_last_ticks_are_told_by_role(store: Store) -> None:
    store.note_tick("poll", NOW)
    assert samples(page(store))["batchline_last_tick_timestamp_seconds", "poll"] == NOW / 1000


def test_lanes_that_have_no_proper_name_share_one(store: Store) -> None:
    for name in ("{x}", "openai", b"\xff"):
        store.connection.run("SADD", keys.LANES, name)
        store.connection.run(
            "XADD",
            b"batchline:{" + (name if isinstance(name, bytes) else name.encode()) + b"}:requests",
            "*",
            "id",
            "r",
        )
    assert samples(page(store))["batchline_requests_enqueued_total", "unknown", "unknown", "unknown"] == 3
