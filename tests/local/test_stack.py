"""The stack: store, emulator and workers as real processes (here the workers only pretend)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchline.local.stack import ChildDied, Stack

WORKER = (sys.executable, "-u", "-c", "import signal; print('worker.ready'); signal.pause()")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, workers=2, worker_command=WORKER) as stack:
        yield stack


def test_workers_are_killed_and_started_by_index(stack: Stack) -> None:
    before = [worker.pid for worker in stack.workers if worker]
    stack.kill_worker(0)
    stack.check()
    after = stack.start_worker(0)
    assert after.pid not in before
    assert stack.workers[1] is not None
    assert stack.workers[1].pid == before[1]


def test_check_names_what_died(stack: Stack) -> None:
    worker = stack.workers[1]
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ChildDied):
        worker.wait_line("its output ends", 30)
    with pytest.raises(ChildDied, match="worker-1 ended with exit code -9"):
        stack.check()


def test_a_failed_start_leaves_nothing_running(tmp_path: Path) -> None:
    stack = Stack(tmp_path, worker_command=(sys.executable, "-c", "import sys; sys.exit('no account')"))
    with pytest.raises(ChildDied, match="no account"):
        stack.start()
    assert stack.store.process is None
    assert stack.emulator is None
