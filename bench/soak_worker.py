"""A worker of the soak: a real process, forked from one that has imported everything, and what it logs."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from batchline.cli import main as command_line
from batchline.engine import transitions

BRIEF = {"FIRST_LOOK_S": 0.5, "OUTAGE_MIN_S": 0.5, "OUTAGE_MAX_S": 4.0}
"""Waits of `engine.transitions` that are no settings, made brief in the workers."""

FORKS = multiprocessing.get_context("forkserver")
PR_SET_PDEATHSIG = 1
PRELOADED = (
    *(
        "batchline.app",
        "batchline.client",
        "batchline.local.stack",
        "batchline.cli.processes",
        "celery.bin.worker",
        "celery.apps.worker",
    ),
    *("celery.concurrency.thread", "celery.worker.consumer", "kombu.transport.redis", "genai_prices"),
    *("openai.resources.batches", "openai.resources.files", "anthropic.resources.messages.batches", "httpx2"),
)


class Worker:
    """A worker process, `batchline worker` in all but its start: it is forked from a process that has imported everything.

    An import of all SDKs costs seconds, and workers are killed every few seconds here. ``log`` is continued.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], counts: Counter[str], life_s: float) -> None:
        self.log = log
        self.ready = False
        self._life_s = life_s
        self._ready_at = 0.0
        self._counts = counts
        self._read = log.stat().st_size if log.exists() else 0
        self._process = FORKS.Process(target=work, args=(dict(environment), str(log)), daemon=True)
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    @property
    def ripe(self) -> bool:
        """Whether it has worked for its ``life_s``: one that is killed at its start has done nothing that could go wrong."""
        return self.ready and time.monotonic() >= self._ready_at + self._life_s

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it, and count what it logged to its end."""
        self._process.kill()
        self._process.join()
        self.follow()

    def stop(self) -> int | None:
        """Ask it to end; returns its exit code."""
        self.signal(signal.SIGTERM)
        self._process.join(30)
        self.kill()
        return self.exit_code

    def follow(self) -> None:
        """Count the events that were logged since the last time."""
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        whole = lines.rpartition(b"\n")[0]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                self._count(line)

    def _count(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:  # the last words of one that was killed
            return
        name = event.get("event", "")
        self._counts[name] += 1
        self._counts["retried"] += event.get("retried", 0)
        if name == "worker.ready":
            self.ready, self._ready_at = True, time.monotonic()
        if event.get("how"):
            self._counts[event["how"]] += 1


def work(environment: Mapping[str, str], log: str) -> None:
    """Be a worker; runs in a forked process."""
    if sys.platform.startswith("linux"):  # it dies with the process that forked it, which dies with this one
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    for name, seconds in BRIEF.items():
        if not hasattr(transitions, name):
            raise AttributeError(f"batchline.engine.transitions has no {name} any more: bring BRIEF up to date")
        setattr(transitions, name, seconds)
    command_line(["worker"])
