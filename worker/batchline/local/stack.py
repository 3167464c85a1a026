"""All of batchline on this machine as real processes: store, emulator, workers, exporter.

    with Stack(folder, emulation=Emulation(latency_s=2), workers=2) as stack:
        client = Client(stack.redis_url)

Whatever ends the block (an exception, SIGINT, SIGTERM), nothing is left running; and a killed parent takes its children along.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from batchline.local.child import Child, ChildDied, Listener
from batchline.local.environment import at_emulator, without_providers, without_settings
from batchline.local.signals import exit_on_signals, undisturbed
from batchline.local.store_process import StoreProcess, free_port

BATCHLINE = (sys.executable, "-m", "batchline.cli")
WORKER = (*BATCHLINE, "worker")
QUEUES = "batchline.accumulate,batchline.poll"
PLAIN_CELERY = (sys.executable, "-m", "celery", "-A", "batchline.app", "worker", "-Q", QUEUES)
READY_S = 60.0

_EMULATOR_READY = r"emulator listening on (http://\S+)"
_WORKER_READY = r"worker\.ready"
_EXPORTER_READY = r"exporter\.listening|exporter listening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """How the emulator is to behave; times in seconds, rates between 0 and 1, ``more`` further options as they are."""

    latency_s: float = 2.0
    seed: int = 0
    error_rate: float = 0.0
    expire_rate: float = 0.0
    more: Sequence[str] = ()

    def arguments(self) -> list[str]:
        """Return the emulator's command line arguments."""
        figures = {
            "--latency": self.latency_s,
            "--seed": self.seed,
            "--error-rate": self.error_rate,
            "--expire-rate": self.expire_rate,
        }
        return [part for name, value in figures.items() for part in (name, str(value))] + list(self.more)


class Stack:
    """The processes, their logs in ``folder`` (``worker-0.log``, ``emulator.log``, ...), and their life.

    ``settings`` are added to the environment of the workers and the exporter, e.g. ``{"BATCHLINE_FLUSH__MAX_AGE": "2"}``.
    Without ``emulation`` the workers go where ``base`` (default: this process's environment) sends them; with it no
    provider's key or URL is left. ``keep_settings`` leaves the user's own ``BATCHLINE_`` variables in force.
    ``worker_folder`` is where the workers run, and so where they look for ``config/batchline.yaml`` (default: ``folder``).
    """

    def __init__(
        self,
        folder: Path,
        *,
        emulation: Emulation | None = Emulation(),
        settings: Mapping[str, str] | None = None,
        workers: int = 1,
        worker_command: Sequence[str] = WORKER,
        exporter_port: int | None = None,
        base: Mapping[str, str] | None = None,
        keep_settings: bool = False,
        worker_folder: Path | None = None,
        store_port: int | None = None,
        fsync: str = "everysec",
        listener: Listener | None = None,
    ) -> None:
        self.folder = folder
        self.store = StoreProcess(folder / "store", fsync=fsync, port=store_port)
        self.emulator: Child | None = None
        self.emulator_url: str | None = None
        self.exporter: Child | None = None
        self.workers: list[Child | None] = [None] * workers
        self._emulation = emulation
        self._settings = dict(settings or {})
        self._worker_command = tuple(worker_command)
        self._exporter_port = exporter_port
        self._base = dict(os.environ if base is None else base)
        self._keep_settings = keep_settings
        self._worker_folder = worker_folder or folder
        self._listener = listener
        self._signals = ExitStack()

    @property
    def redis_url(self) -> str:
        """Where the store is."""
        return self.store.url

    @property
    def exporter_url(self) -> str:
        """Where the metrics are, if there is an exporter."""
        return f"http://127.0.0.1:{self._exporter_port}/metrics"

    def environment(self) -> dict[str, str]:
        """Return the environment in which this stack's workers, and whoever uses it by the command line, run."""
        kept = self._base if self._keep_settings else without_settings(self._base)
        if self._emulation is not None:
            kept = without_providers(kept)
        # The broker too: one of the user's own would hear this stack's doorbells, and this stack theirs.
        ours = {
            "BATCHLINE_REDIS_URL": self.redis_url,
            "BATCHLINE_BROKER_URL": self.redis_url,
            "PYTHONUNBUFFERED": "1",
        }
        if not self._keep_settings:
            ours["BATCHLINE_CONFIG"] = str(self.folder / "batchline.yaml")
        emulator = at_emulator(self.emulator_url) if self.emulator_url else {}
        return kept | ours | emulator | self._settings

    def start(self, *, wait_workers: bool = True) -> Self:
        """Start everything; return when the store and the emulator answer and (``wait_workers``) the workers are ready.

        Raises ChildDied or StoreError; what was started until then is stopped.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # An empty file of our own: a config/batchline.yaml under the working directory must not count.
        (self.folder / "batchline.yaml").write_text("# all settings come from the environment\n", encoding="utf-8")
        self._signals.enter_context(exit_on_signals())
        try:
            self._start()
            if wait_workers:
                self.wait_workers()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        if self._emulation is not None:
            self.emulator = self._child("emulator", [*_emulator_command(), *self._emulation.arguments()], self._bare())
        self.store.start()
        if self.emulator is not None:
            self.emulator_url = self.emulator.wait_line(_EMULATOR_READY, READY_S)[1]
        for index in range(len(self.workers)):
            self.start_worker(index, wait=False)
        if self._exporter_port is not None:
            command = [*BATCHLINE, "exporter", "--port", str(self._exporter_port)]
            self.exporter = self._child("exporter", command, self.environment())

    def _bare(self) -> dict[str, str]:
        return without_providers(without_settings(self._base)) | {"PYTHONUNBUFFERED": "1"}

    def _child(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        log = self.folder / f"{name}.log"
        return Child(
            name, command, log=log, environment=environment, folder=self._worker_folder, listener=self._listener
        )

    def start_worker(self, index: int, *, wait: bool = True) -> Child:
        """Start the worker with this index, which must not run; its log is continued. Raises ChildDied."""
        running = self.workers[index]
        if running is not None and running.exit_code is None:
            raise ValueError(f"worker {index} runs already: stop or kill it first")
        worker = self._child(f"worker-{index}", self._worker_command, self.environment())
        self.workers[index] = worker
        if wait:
            worker.wait_line(_WORKER_READY, READY_S)
        return worker

    def wait_workers(self, timeout_s: float = READY_S) -> None:
        """Wait until every running worker has said that it is ready. Raises ChildDied."""
        for worker in self.workers:
            if worker is not None:
                worker.wait_line(_WORKER_READY, timeout_s)

    def stop_worker(self, index: int, timeout_s: float = 30.0) -> int | None:
        """Stop a worker by SIGTERM (by SIGKILL after ``timeout_s``); return its exit code, None if there was none."""
        worker, self.workers[index] = self.workers[index], None
        return None if worker is None else worker.stop(timeout_s)

    def kill_worker(self, index: int) -> None:
        """Kill a worker and its children with SIGKILL."""
        worker, self.workers[index] = self.workers[index], None
        if worker is not None:
            worker.kill()

    def check(self) -> None:
        """Raise ChildDied if something that was started, and not stopped by us, has ended."""
        for child in (self.emulator, self.exporter, *self.workers):
            if child is not None:
                child.check()
        if self.store.process is not None and self.store.process.poll() is not None:
            raise ChildDied(f"the store ended; see {self.store.folder / 'store.log'}")

    def watch(self, interval_s: float = 0.5) -> None:
        """Keep everything running until a signal comes or something dies. Raises ChildDied."""
        while True:
            self.check()
            time.sleep(interval_s)

    def stop(self) -> None:
        """Stop everything, workers first, so that they can hand back what they hold; may be called again."""
        with undisturbed(), ExitStack() as last:
            last.callback(self.store.stop)
            if self.emulator is not None:
                last.callback(self.emulator.stop)
            workers = [worker for worker in self.workers if worker is not None]
            exporters = [] if self.exporter is None else [self.exporter]
            self.workers = [None] * len(self.workers)
            self.exporter = self.emulator = None
            _stop_all([*workers, *exporters])
        self._signals.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _emulator_command() -> list[str]:
    return [sys.executable, "-m", "batchline.emulator", "--port", "0"]


def _stop_all(children: Sequence[Child], timeout_s: float = 10.0) -> None:
    """Ask all to end before waiting for the first, so that the waits are one wait."""
    for child in children:
        child.ask_to_end()
    deadline = time.monotonic() + timeout_s
    for child in children:
        child.stop(max(0.1, deadline - time.monotonic()))


__all__ = ["BATCHLINE", "PLAIN_CELERY", "WORKER", "Child", "ChildDied", "Emulation", "Stack", "free_port"]
