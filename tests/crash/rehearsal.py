"""What every worker would have to load and build for itself is loaded and built once, before the first of them is forked.

Most of a short-lived worker's CPU goes into imports, the SDKs' models and prices. So the process that forks them all runs
one small plain trip of the engine itself, without threads, against a store and an emulator of its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash import forked
from tests.crash.scenarios import LANES, Ask, body
from tests.crash.waiting import at_rest, until

from batchline import logs, runtime
from batchline.engine import accumulator, poller, submitter
from batchline.engine.context import Context
from batchline.local.environment import at_emulator
from batchline.local.store_process import StoreProcess
from batchline.requests import Request
from batchline.settings import load_settings

TRIP_S = 30.0

EMULATOR_NEEDS = (
    "anyio._backends._asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
)
CELERY_NEEDS = (
    "batchline.app",
    "batchline.cli",
    *(f"batchline.cli.{name}" for name in ("cancel", "dead", "demo", "dev", "doctor", "health", "processes")),
    *("batchline.cli.queues", "batchline.cli.run", "batchline.cli.status"),
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "celery.worker.loops",
    "celery.worker.strategy",
    "kombu.transport.redis",
)
"""What is imported late, where importing it starts nothing. One that is gone fails here: bring the list up to date."""


def rehearse(folder: Path, environ: Mapping[str, str], *, celery: bool) -> None:
    """Load all that workers (and emulators) need; ``environ`` is what workers are given besides store and emulator."""
    for name in (*EMULATOR_NEEDS, *(CELERY_NEEDS if celery else ())):
        importlib.import_module(name)
    with _surroundings(folder) as ours:
        context = runtime.build(load_settings(dict(environ) | ours))
        logs.configure("json", "ERROR")
        with _in_place_of(os.environ, dict(environ) | ours):
            trip(context, [Ask(lane=lane, id="r", body=body(lane, "rehearsal")) for lane in LANES.values()])
        close(context)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left:
        raise RuntimeError(f"the rehearsal left threads behind: {left}; nothing may be forked beside them")
    gc.collect()
    gc.freeze()  # what is loaded now stays: a child's collector need not touch (and so copy) its pages


@contextlib.contextmanager
def _surroundings(folder: Path) -> Iterator[dict[str, str]]:
    """Start a store and an emulator, and give the variables that lead to them."""
    folder.mkdir(parents=True)
    nothing = folder / "batchline.yaml"  # a config/batchline.yaml under the working directory must not count
    nothing.write_text("# all settings come from the environment\n", encoding="utf-8")
    store = StoreProcess(folder / "store").start()
    output = folder / "emulator.out"
    pid = forked.fork(partial(forked.emulate, folder / "emulator", 0.0), output=output)
    try:
        yield {"BATCHLINE_CONFIG": str(nothing), "BATCHLINE_REDIS_URL": store.url} | at_emulator(forked.address(output))
    finally:
        forked.end(pid)
        store.kill()


@contextlib.contextmanager
def _in_place_of(variables: os._Environ[str], ours: Mapping[str, str]) -> Iterator[None]:
    kept = dict(variables)
    variables.clear()
    variables.update(ours)
    try:
        yield
    finally:
        variables.clear()
        variables.update(kept)


class Now:
    """Doorbells that run the step at once."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def submit(self, batch_id: str) -> None:
        """Bring a batch on its way to the provider."""
        submitter.submit(self._context, batch_id)

    def poll(self, batch_id: str) -> None:
        """Poll a batch."""
        poller.poll(self._context, batch_id)

    def file(self, file: str) -> None:
        """No file is due."""

    def audit(self, account: str) -> None:
        """No account is due."""


def trip(context: Context, asks: Sequence[Ask]) -> None:
    """Enqueue requests and do all that is due, in this thread, until all are answered. Raises TimeoutError."""
    requests = [Request(id=ask.id, lane=ask.lane, body=ask.body.encode()) for ask in asks]
    context.store.intake.enqueue([(request, 3_600_000) for request in requests])
    bells, lanes = Now(context), sorted({ask.lane for ask in asks})

    def step() -> bool:
        accumulator.tick_accumulate(context, bells)
        accumulator.tick_poll(context, bells)
        return at_rest(context.store, lanes)

    if not until(step, TRIP_S):
        raise TimeoutError("the trip did not come to its end")


def close(context: Context) -> None:
    """Close the store's connections and the SDKs' clients, which a provider keeps for as long as its process lives."""
    context.store.close()
    for name in context.settings.accounts:
        provider: Any = context.provider(name)
        _key, client = provider._provider._keyed._made or ("", contextlib.nullcontext())
        with client:
            pass
