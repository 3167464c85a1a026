"""A child process of ours: what it says is heard, its end is noticed, and nothing of it stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchline.local.child import Child, ChildDied

Make = Callable[[str], Child]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    children: list[Child] = []

    def start(program: str) -> Child:
        command = [sys.executable, "-u", "-c", program]
        child = Child("worker-0", command, log=tmp_path / "worker-0.log", environment=os.environ)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()


def test_a_line_is_waited_for_and_kept_in_the_log(make: Make) -> None:
    child = make("print('one'); print('listening on port 17'); input()")
    assert child.wait_line(r"port (\d+)", timeout_s=30)[1] == "17"
    child.kill()
    assert child.log.read_text().splitlines()[:2] == ["one", "listening on port 17"]


def test_an_early_end_is_an_error_with_the_end_of_the_log(make: Make) -> None:
    child = make("import sys; print('no such setting'); sys.exit(2)")
    with pytest.raises(ChildDied, match=r"(?s)worker-0 ended with exit code 2.*no such setting"):
        child.wait_line("ready", timeout_s=30)


def test_a_line_that_never_comes_is_an_error(make: Make) -> None:
    child = make("import time; print('loading'); time.sleep(60)")
    child.wait_line("loading", timeout_s=30)
    with pytest.raises(ChildDied, match="did not become ready"):
        child.wait_line("ready", timeout_s=0.01)


def test_check_tells_of_a_child_that_was_killed(make: Make) -> None:
    child = make("import time; print('up'); time.sleep(60)")
    child.wait_line("up", timeout_s=30)
    child.check()
    os.kill(child.pid, signal.SIGSEGV)
    with pytest.raises(ChildDied, match="exit code -11"):
        child.wait_line("never", timeout_s=30)


def test_stop_ends_a_child_that_is_stopped_or_ignores_it(make: Make) -> None:
    deaf = make("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)")
    deaf.wait_line("up", timeout_s=30)
    deaf.signal(signal.SIGSTOP)
    assert deaf.stop(timeout_s=0.05) == -signal.SIGKILL


def test_kill_takes_grandchildren_along(make: Make) -> None:
    child = make(
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print('grandchild', p.pid); time.sleep(60)"
    )
    grandchild = int(child.wait_line(r"grandchild (\d+)", timeout_s=30)[1])
    child.kill()
    _wait_gone(grandchild)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells children of their parent's death")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import os, pathlib, sys
from batchline.local.child import Child
code = "import time; print('up', flush=True); time.sleep(60)"
child = Child("c", [sys.executable, "-c", code], log=pathlib.Path({str(tmp_path / "log")!r}), environment=os.environ)
child.wait_line("up", 30)
print(child.pid, flush=True)
input()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([watched], [], [], 30)[0], "the child outlived its parent"
    finally:
        os.close(watched)


def _wait_gone(pid: int) -> None:
    """Wait until a process that was killed is gone: the kernel takes a moment."""
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie that only waits to be reaped by init."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
