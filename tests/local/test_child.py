"""A child process of ours: what it says is heard, its end is noticed, and nothing of it stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    child = make("import signal; print('loading'); signal.pause()")
    child.wait_line("loading", timeout_s=30)
    with pytest.raises(ChildDied, match="did not become ready"):
        child.wait_line("ready", timeout_s=0.01)


def test_check_tells_of_a_child_that_was_killed(make: Make) -> None:
    child = make("import signal; print('up'); signal.pause()")
    child.wait_line("up", timeout_s=30)
    child.check()
    os.kill(child.pid, signal.SIGSEGV)
    with pytest.raises(ChildDied, match="exit code -11"):
        child.wait_line("never", timeout_s=30)


def test_stop_ends_a_child_that_is_stopped_or_ignores_it(make: Make) -> None:
    deaf = make("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()")
    deaf.wait_line("up", timeout_s=30)
    deaf.signal(signal.SIGSTOP)
    assert deaf.stop(timeout_s=0.05) == -signal.SIGKILL


@contextmanager
def gone(fifo: Path) -> Iterator[None]:
    """Wait in the end until the process is gone that has opened ``fifo`` to write: its last writer's end is its end."""
    with fifo.open("rb") as alive:
        yield
        assert select.select([alive], [], [], 30)[0], "it still runs"
        assert alive.read() == b""


def test_kill_takes_grandchildren_along(make: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "grandchild")
    grandchild = f"import signal; alive = open({str(tmp_path / 'grandchild')!r}, 'wb'); signal.pause()"
    child = make(
        f"import signal, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); signal.pause()"
    )
    with gone(tmp_path / "grandchild"):
        child.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells children of their parent's death")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "child")
    program = f"""
import os, pathlib, sys
from batchline.local.child import Child
code = "import signal; alive = open({str(tmp_path / "child")!r}, 'wb'); print('up', flush=True); signal.pause()"
child = Child("c", [sys.executable, "-c", code], log=pathlib.Path({str(tmp_path / "log")!r}), environment=os.environ)
child.wait_line("up", 30)
print("up", flush=True)
input()
"""
    command = [sys.executable, "-c", program]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent,
        gone(tmp_path / "child"),
    ):
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
