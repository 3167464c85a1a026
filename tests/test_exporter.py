"""The metrics page: what stands there before anything happened, when the store is down, and how lanes are named."""

from __future__ import annotations

import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from batchline import exporter, figures, probes
from batchline.budgets import Pool
from batchline.errors import UsageError
from batchline.exporter import StoreCollector
from batchline.figures import Figures
from batchline.lanes import OpenRange, parse_lane
from batchline.pulse import Pulse
from batchline.settings import Settings
from batchline.store import Store, connection, keys
from batchline.store.connection import HASTY

LANE = "openai:chat:ft:gpt-5-mini:acme"
LABELS = ("openai", "chat", "ft:gpt-5-mini:acme")
NOW = 1_795_000_000_000
NOWHERE = "redis://127.0.0.1:1/0"


def page(store: Store, settings: Settings | None = None) -> str:
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, settings or Settings(), clock=lambda: NOW))
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
    rules: dict[str, Any] = {"batch_id": "b1", "now_ms": NOW, "max_open": 10, "max_creates": 10, "pool": Pool(name="m")}
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
    assert store.orphans.adopt("openai", **found, created_ms=NOW, expires_ms=NOW, now_ms=NOW, pool="m")
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
    assert samples(page(store))["batchline_requests_pending", "unknown", "unknown", "unknown"] == 3


# --- stores in trouble ---


@pytest.fixture
def hung() -> Iterator[str]:
    """The address of a store that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_store_that_never_answers_does_not_hold_a_scrape_up(hung: str) -> None:
    store = Store(hung, patience=HASTY._replace(timeout_s=0.02))
    assert samples(page(store))["batchline_store_up",] == 0
    store.close()


def test_scrapes_and_probes_give_up_before_prometheus_does() -> None:
    # A probe's own limit is 5 seconds in the chart.
    assert HASTY.timeout_s * (HASTY.retries + 1) < 4


def test_a_reading_that_takes_too_long_is_a_store_that_is_down_and_the_next_scrape_waits_for_the_same_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), []
    read = figures.read

    def slow(*args: Any, **more: Any) -> Figures:
        begun.append(1)
        assert go_on.wait(20)
        return read(*args, **more)

    monkeypatch.setattr(figures, "read", slow)
    hasty = StoreCollector(store, Settings(), within_s=0.01)
    for _ in range(3):
        assert {sample.name: sample.value for each in hasty.collect() for sample in each.samples}[
            "batchline_store_up"
        ] == 0
    assert begun == [1]
    go_on.set()
    patient = StoreCollector(store, Settings(), within_s=20)
    assert {sample.name: sample.value for each in patient.collect() for sample in each.samples}[
        "batchline_store_up"
    ] == 1


def test_the_exporters_and_the_probes_store_are_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def store(url: str, **more: Any) -> Store:
        given.append(more["patience"])
        return Store(url, **more)

    def taken(*_: object) -> None:
        raise UsageError("the port is taken")

    context = SimpleNamespace(settings=Settings(redis_url=NOWHERE), clock=lambda: 0, pulse=Pulse())
    for module in (exporter, probes):
        monkeypatch.setattr(module, "Store", store)
        monkeypatch.setattr(module, "Endpoints", taken)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(UsageError):
        exporter.serve(Settings(redis_url=NOWHERE), 0)
    with pytest.raises(UsageError):
        probes.serve(cast("Any", context), 0)
    assert given == [HASTY, HASTY]


@pytest.mark.parametrize(
    "write",
    [
        ("HSET", keys.ledger(LANE), "unpriced", "many"),
        ("HSET", keys.TICKS, "poll", "yesterday"),
        ("HSET", keys.batch("b1"), "cut_ms", "never"),
        ("HSET", keys.account_open("openai"), "b9", "a lot"),
        ("SET", keys.LANES_ASIDE, "no set"),
    ],
    ids=["ledger", "ticks", "batch", "room", "type"],
)
def test_what_cannot_be_read_is_a_store_that_is_not_up_and_no_server_error(
    store: Store, write: tuple[Any, ...]
) -> None:
    used(store)
    store.connection.run("DEL", keys.LANES_ASIDE)
    store.connection.run(*write)
    with capture_logs() as logs:
        assert samples(page(store))["batchline_store_up",] == 0
    assert [entry["event"] for entry in logs] == ["exporter.store_down"]


def test_a_user_who_may_only_read_is_enough(store: Store, store_process: Any) -> None:
    used(store)
    page(store)  # a script is loaded by whoever may
    rights = ["~batchline:*", "+@read", "+@connection", "+info", "+config|get", "+evalsha", "+script|load", "-@write"]
    store.connection.run("ACL SETUSER", "reader", "reset", "on", ">secret", *rights)
    reader = Store(store_process.url.replace("//", "//reader:secret@"))
    found = samples(page(reader))
    assert found["batchline_store_up",] == 1
    assert found["batchline_batches_cut_total", *LABELS, "age"] == 1
    reader.close()
    store.connection.run("ACL DELUSER", "reader")


def test_a_user_who_may_not_read_the_configuration_misses_fsync_alone(store: Store, store_process: Any) -> None:
    store.connection.run("ACL SETUSER", "reader", "reset", "on", ">secret", "~*", "+@all", "-config")
    reader = Store(store_process.url.replace("//", "//reader:secret@"))
    found = samples(page(reader))
    assert (found["batchline_store_up",], found["batchline_store_fsync_always",]) == (1, 0)
    reader.close()
    store.connection.run("ACL DELUSER", "reader")


# --- how much a scrape asks ---


class Trips:
    """Counts round trips: commands, scripts and pipelines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        real = connection.sending

        def counted(name: str, what: str) -> Any:
            self.names.append(name)
            return real(name, what)

        monkeypatch.setattr(connection, "sending", counted)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    return Trips(monkeypatch)


def trips_of_a_scrape(store: Store, trips: Trips, settings: Settings) -> int:
    trips.names.clear()
    figures.read(store, settings, now_ms=NOW)
    return len(trips.names)


def test_round_trips_of_a_scrape_do_not_grow_with_ledgers_batches_and_accounts(store: Store, trips: Trips) -> None:
    plain = Settings()
    empty = trips_of_a_scrape(store, trips, plain)
    for n in range(300):
        base = f"openai:chat:model-{n}"
        store.connection.run("HSET", keys.ledger(base), "unpriced", 1)
        store.connection.run("ZADD", keys.LEDGERS, NOW + n, base)
        fields = {"id": f"b{n}", "lane": base, "account": "openai", "state": "cut", "trigger": "age"}
        record = [part for pair in (fields | {"after": "0-0", "last": "0-0"}).items() for part in pair]
        store.connection.run("HSET", keys.batch(f"b{n}"), *record)
        store.connection.run("ZADD", keys.AGENDA_ACCUMULATE, NOW, f"b{n}")
    more = {f"account-{n}": plain.accounts["openai"] for n in range(50)}
    many = plain.model_copy(update={"accounts": {**plain.accounts, **more}})
    assert trips_of_a_scrape(store, trips, many) == empty < 20


def test_round_trips_of_a_scrape_grow_by_pages_of_lanes(store: Store, trips: Trips) -> None:
    few = trips_of_a_scrape(store, trips, Settings())
    for n in range(2000):
        store.connection.run("SADD", keys.LANES, f"openai:chat:model-{n}")
    # SSCAN gives about as many as it is asked for.
    assert few + 3 <= trips_of_a_scrape(store, trips, Settings()) <= few + 8


# --- what the settings allow as labels ---


def test_lanes_of_nobody_are_unknown_and_add_up(store: Store) -> None:
    for n, lane in enumerate(("nobody:chat:a", "openai:messages:b", "openai:nowhere:c")):
        store.connection.run("XADD", keys.requests(lane), "*", "id", f"r{n}", "body", "{}")
        store.connection.run("SADD", keys.LANES, lane)
    found = samples(page(store))
    assert found["batchline_requests_pending", "unknown", "unknown", "unknown"] == 3
    assert {name[1] for name in found if name[0] == "batchline_requests_pending"} == {"unknown"}


def test_models_beyond_the_limit_are_other_and_the_sum_stays(store: Store) -> None:
    for n in range(5):
        base = f"openai:chat:model-{n}"
        store.connection.run("HSET", keys.ledger(base), "settled:succeeded:batch", 10**n)
        store.connection.run("ZADD", keys.LEDGERS, NOW + n, base)
    plain = Settings()
    two = plain.model_copy(update={"metrics": plain.metrics.model_copy(update={"max_models": 2})})
    found = {
        name[3]: value
        for name, value in samples(page(store, two)).items()
        if name[0] == "batchline_requests_settled_total" and value
    }
    assert found == {"model-0": 1, "model-1": 10, "other": 11_100}


def test_configured_accounts_stand_at_zero_before_anything_was_sent(store: Store) -> None:
    found = samples(page(store))
    for account in ("openai", "anthropic"):
        for name in ("ambiguous_submissions_total", "duplicate_batches_total", "orphan_batches", "account_down"):
            assert found[f"batchline_{name}", account] == 0
        for code in ("401", "429", "500", "503", "529", "timeout", "connection"):
            assert found["batchline_provider_errors_total", account, "create", code] == 0
        assert found["batchline_budget_used", account, "all", "batches"] == 0


def test_room_has_a_limit_where_the_account_has_one(store: Store) -> None:
    found = samples(page(store))
    limits = {name[1:]: value for name, value in found.items() if name[0] == "batchline_budget_limit"}
    assert limits == {
        ("openai", "all", "batches"): 100,
        ("openai", "all", "creates"): 2000,
        ("anthropic", "all", "batches"): 100,
        ("anthropic", "all", "requests"): 200_000,
        ("gemini", "all", "batches"): 100,
    }


def test_the_oldest_request_is_told_though_no_worker_has_seen_it(store: Store) -> None:
    store.connection.run("XADD", keys.requests(LANE), f"{NOW - 90_000}-1", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, LANE)
    found = samples(page(store))
    assert found["batchline_oldest_pending_seconds", *LABELS] == 90
    assert found["batchline_requests_pending", *LABELS] == 1


# --- counters never go back ---


ENQUEUED = ("batchline_requests_enqueued_total", *LABELS)


def pruned_while_read(store: Store, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let lanes of the base be pruned between the reading of the lanes and that of the ledger, so many times."""
    real, left = store.ledger.accounts, list(range(times))

    def accounts() -> Any:
        if left:
            lane = f"{LANE}|tenant=t{left.pop()}"
            store.connection.run("SADD", keys.LANES, lane)
            (entry,) = [store.connection.run("XADD", keys.requests(lane), f"{NOW - 100}-1", "id", "r")]
            store.connection.run("XDEL", keys.requests(lane), entry)
            assert store.pruning.prune([(lane, LANE)], idle_before_ms=NOW, now_ms=NOW, really=True) == ["pruned"]
        return real()

    monkeypatch.setattr(store.ledger, "accounts", accounts)


def test_a_lane_that_is_pruned_while_it_is_read_counts_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    used(store)
    walked = f"{LANE}|tenant=gone"
    entry = store.connection.run("XADD", keys.requests(walked), f"{NOW - 100}-1", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, walked)
    store.connection.run("XDEL", keys.requests(walked), entry)
    store.connection.run("HSET", keys.walk(walked), "last", entry)
    assert samples(page(store))[ENQUEUED] == 2
    real = store.ledger.accounts

    def accounts() -> Any:
        store.pruning.prune([(walked, LANE)], idle_before_ms=NOW, now_ms=NOW, really=True)
        return real()

    monkeypatch.setattr(store.ledger, "accounts", accounts)
    assert samples(page(store))[ENQUEUED] == 2
    assert store.connection.run("EXISTS", keys.walk(walked)) == 0


def test_a_count_that_is_pruned_whenever_it_is_read_is_not_told_and_all_else_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(store)
    pruned_while_read(store, monkeypatch, figures.READS)
    found = samples(page(store))
    assert ENQUEUED not in found
    assert found["batchline_requests_pending", *LABELS] == 1
    assert samples(page(store))[ENQUEUED] == 1 + figures.READS


def test_a_batch_that_moves_between_the_agendas_while_they_are_read_counts_once(store: Store) -> None:
    used(store)
    store.connection.run("ZADD", keys.AGENDA_POLL, NOW, "b1")
    assert samples(page(store))["batchline_batches", *LABELS, "cut"] == 1


def test_lanes_that_a_set_names_twice_while_it_shrinks_count_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(store)
    real, cursors = store.connection.call, ["7", "0"]

    def call(name: str, *args: Any, **more: Any) -> Any:
        answer = real(name, *args, **more)
        return [cursors.pop(0), answer[1]] if name == "depths" else answer

    monkeypatch.setattr(store.connection, "call", call)
    assert [depth.lane for depth in store.ledger.depths()] == [LANE]
    assert cursors == []
