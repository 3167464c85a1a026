"""What a worker says of itself over HTTP, from its own pulse and its own process; and one real worker that says it."""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from structlog.testing import capture_logs

from batchline import probes
from batchline.engine.context import Context
from batchline.engine.leases import LeaseKeeper
from batchline.engine.shutdown import Shutdown
from batchline.errors import ProviderError, StoreUnreachable
from batchline.local.child import Child
from batchline.local.stack import WORKER, Emulation, Stack
from batchline.providers.watched import Watched
from batchline.pulse import Pulse
from batchline.runtime import _count
from batchline.settings import Settings
from batchline.store import Store
from batchline.ticker import Ticker

NOBODY = "redis://127.0.0.1:1/0"


class Clock:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Untouchable:
    """A store that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the store was asked for {name}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own(clock: Clock) -> Context:
    """A worker whose store is away."""
    return Context(
        settings=Settings(redis_url=NOBODY, live_within=180),
        store=cast("Store", Untouchable()),
        provider=lambda _: cast("Any", None),
        clock=lambda: 5_000_000,
        dice=random.Random(1),
        worker="w",
        shutdown=Shutdown(),
        pulse=Pulse(clock),
    )


@pytest.fixture
def get(own: Context) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Ask an endpoint of this worker."""
    endpoints = probes.serve(own, 0)
    yield lambda path: ask(endpoints.port, path)
    endpoints.stop()


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


# --- /livez ---


def test_a_worker_whose_loop_beats_is_alive_though_its_store_is_away(get: Any, own: Context, clock: Clock) -> None:
    clock.now_s += 60
    assert get("/livez") == (200, "ok\n")


def test_a_worker_whose_loop_stands_still_is_not_alive_and_says_since_when(get: Any, clock: Clock) -> None:
    clock.now_s += 181
    assert get("/livez") == (503, "the loop last came round 181 s ago, live_within is 180 s\n")


def test_one_beat_brings_it_back(get: Any, own: Context, clock: Clock) -> None:
    clock.now_s += 1000
    own.pulse.beat()
    assert get("/livez") == (200, "ok\n")


def test_a_worker_that_was_asked_to_end_is_still_alive(get: Any, own: Context) -> None:
    own.shutdown.ask()
    assert get("/livez") == (200, "ok\n")


# --- /readyz ---


def test_a_worker_whose_store_is_away_is_not_ready(get: Any) -> None:
    status, reason = get("/readyz")
    assert (status, "cannot reach the store" in reason) == (503, True)


def test_a_worker_whose_store_answers_is_ready(own: Context, store: Store) -> None:
    assert probes.ready(own, store) == ""


def test_a_worker_that_was_asked_to_end_is_not_ready(own: Context, store: Store) -> None:
    own.shutdown.ask()
    assert probes.ready(own, store) == "this worker was asked to end"


def test_a_worker_whose_loop_stands_still_is_not_ready(own: Context, store: Store, clock: Clock) -> None:
    clock.now_s += 181
    assert probes.ready(own, store).startswith("the loop last came round 181 s ago")


# --- /metrics ---


def test_metrics_are_those_of_the_process_and_none_of_the_exporters(get: Any) -> None:
    status, page = get("/metrics")
    names = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    assert status == 200
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info", "python_gc_collections_total"} <= names
    ours = {name for name in names if name.startswith("batchline_")}
    assert ours == {"batchline_build_info", "batchline_worker_loop_timestamp_seconds"}


def test_the_loops_last_beat_is_told_by_the_wall_clock(get: Any, clock: Clock) -> None:
    clock.now_s += 20
    assert "\nbatchline_worker_loop_timestamp_seconds 4980.0\n" in get("/metrics")[1]


# --- who beats ---


def test_each_turn_of_the_ticker_beats_though_another_worker_ticks(own: Context) -> None:
    beats = Beats(own)
    settings = own.settings.model_copy(update={"tick_interval": 0.001})
    nobody = cast("Store", type("Taken", (), {"take_tick": lambda *_, **__: False})())
    context = replace(own, settings=settings, store=nobody, pulse=cast("Pulse", beats))
    ticker = Ticker(lambda: context, {"poll": lambda _: None})
    ticker.start()
    assert beats.came(3)
    ticker.stop()
    ticker.join(5)


def test_each_role_beats_so_that_two_long_ticks_are_not_one_silence(own: Context, clock: Clock) -> None:
    ages: list[float] = []
    over = threading.Event()

    def first(_: Context) -> None:
        clock.now_s += 200

    def second(context: Context) -> None:
        ages.append(context.pulse.age_s())
        over.set()

    store = cast("Store", type("Free", (), {"take_tick": lambda *_, **__: True, "note_tick": lambda *_: None})())
    context = replace(own, settings=own.settings.model_copy(update={"tick_interval": 0.001}), store=store)
    ticker = Ticker(lambda: context, {"accumulate": first, "poll": second})
    ticker.start()
    assert over.wait(10)
    ticker.stop()
    ticker.join(5)
    assert ages[0] == 0


def test_a_step_outside_of_the_loops_thread_says_nothing_of_the_loop(clock: Clock) -> None:
    pulse = Pulse(clock)
    loop = threading.Thread(target=pulse.begin)
    loop.start()
    loop.join()
    clock.now_s += 50
    pulse.of_this_thread()()
    assert pulse.age_s() == 50
    pulse.begin()
    clock.now_s += 50
    pulse.of_this_thread()()
    assert pulse.age_s() == 0


def test_a_ticker_whose_store_is_away_beats_on(own: Context) -> None:
    beats = Beats(own)

    def away(*_: object, **__: object) -> bool:
        raise StoreUnreachable("away")

    settings = own.settings.model_copy(update={"tick_interval": 0.001})
    store = cast("Store", type("Away", (), {"take_tick": away})())
    context = replace(own, settings=settings, store=store, pulse=cast("Pulse", beats))
    ticker = Ticker(lambda: context, {"poll": lambda _: None})
    with capture_logs():
        ticker.start()
        assert beats.came(3)
        ticker.stop()
        ticker.join(5)


def test_a_step_that_takes_long_beats_while_it_keeps_its_lease(own: Context) -> None:
    beats = Beats(own)

    def away(_: object) -> None:
        raise StoreUnreachable("away")

    batches = type("Batches", (), {"renew": lambda _, batch: away(batch)})()
    store = cast("Store", type("Away", (), {"batches": batches})())
    batch = cast("Any", type("Batch", (), {"id": "b1"})())
    with LeaseKeeper(store, batch, lease_s=0.003, beat=beats.beat):
        assert beats.came(3)


class Beats(Pulse):
    """Counts beats."""

    def __init__(self, _own: Context) -> None:
        super().__init__()
        self._came = threading.Semaphore(0)

    def beat(self) -> None:
        """Count one."""
        self._came.release()

    def came(self, count: int) -> bool:
        """Wait for so many; False when they do not come."""
        return all(self._came.acquire(timeout=10) for _ in range(count))


# --- counting failed calls ---


def test_a_count_that_fails_does_not_hide_the_providers_error() -> None:
    store = Store(NOBODY)

    class Failing:
        kind, limits, endpoints, has_files, tagged, results_kept_s = "openai", None, None, True, True, 0

        def poll(self, _: str) -> Any:
            raise ProviderError("the provider is down", account="openai", call="poll", code="server_error", status=503)

    told: list[tuple[str, str]] = []

    def failed(verb: str, code: str) -> None:
        told.append((verb, code))
        _count(store, "openai", verb, code)

    with pytest.raises(ProviderError, match="the provider is down"):
        Watched(cast("Any", Failing()), "openai", failed).poll("batch_1")
    assert told == [("poll", "503")]
    store.close()


# --- real workers ---


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    settings = {"BATCHLINE_LOG_FORMAT": "json", "BATCHLINE_WORKER_PORT": "0"}
    with Stack(tmp_path, emulation=Emulation(latency_s=0.1), settings=settings) as stack:
        yield stack


def port_of(worker: Child | None) -> int:
    assert worker is not None
    found = re.search(r'"port": (\d+)', worker.wait_line(r".*worker\.listening.*", 30)[0])
    assert found
    return int(found[1])


@pytest.mark.e2e
def test_a_real_worker_listens_where_it_says_and_ends_in_order(stack: Stack) -> None:
    port = port_of(stack.workers[0])
    assert [ask(port, path) for path in ("/livez", "/readyz")] == [(200, "ok\n")] * 2
    assert "process_cpu_seconds_total" in ask(port, "/metrics")[1]
    stack.store.kill()
    assert [ask(port, path)[0] for path in ("/livez", "/readyz")] == [200, 503]
    stack.store.start()
    assert stack.stop_worker(0, timeout_s=40) == 0


@pytest.mark.e2e
def test_a_worker_without_a_port_listens_nowhere(tmp_path: Path) -> None:
    with Stack(tmp_path, emulation=None, settings={"BATCHLINE_LOG_FORMAT": "json"}) as stack:
        stack.wait_workers()
    assert "worker.listening" not in (tmp_path / "worker-0.log").read_text()


@pytest.mark.e2e
@pytest.mark.parametrize("command", [WORKER, (*WORKER[:-1], "exporter")], ids=["worker", "exporter"])
def test_a_port_that_is_taken_ends_a_process_with_code_2_and_one_line(
    command: Any, tmp_path: Path, own: Context
) -> None:
    taken = probes.serve(own, 0)
    settings = {"WORKER_PORT": str(taken.port), "EXPORTER_PORT": str(taken.port), "REDIS_URL": NOBODY}
    environment = {f"BATCHLINE_{name}": value for name, value in settings.items()} | {"PATH": os.environ["PATH"]}
    child = Child("process", command, log=tmp_path / "log", environment=environment, folder=tmp_path)
    line = child.wait_line(r"cannot listen on port \d+: Address already in use", 30)[0]
    assert str(taken.port) in line
    taken.stop()
    assert child._process.wait(30) == 2
    child.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.e2e
def test_a_worker_that_cannot_spool_ends_with_code_2_and_says_what_to_set(tmp_path: Path) -> None:
    settings = {"SPOOL_DIR": str(tmp_path / "nowhere"), "REDIS_URL": NOBODY}
    environment = {f"BATCHLINE_{name}": value for name, value in settings.items()} | {"PATH": os.environ["PATH"]}
    child = Child("process", WORKER, log=tmp_path / "log", environment=environment, folder=tmp_path)
    child.wait_line(r"spool\.trouble", 30)
    log = (tmp_path / "log").read_text()
    assert "nowhere" in log
    assert "set spool_dir" in log
    assert child._process.wait(30) == 2
    child.kill()
