"""Kill points: without effect unless armed; armed, they act once, at the point and the time that was named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from batchline import killpoints
from batchline.settings import load_settings


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    killpoints.arm({})


def armed(said: str) -> None:
    killpoints.arm({"BATCHLINE_KILLPOINT": said})


def lost() -> Exception:
    return ConnectionError("lost")


def test_a_point_that_nobody_armed_does_nothing() -> None:
    killpoints.arm({})
    killpoints.point("script.cut.before", lost)


def test_an_armed_point_raises_what_no_code_of_ours_expects() -> None:
    armed("script.cut.before:raise")
    with pytest.raises(killpoints.Killed):
        killpoints.point("script.cut.before")


def test_a_point_acts_once() -> None:
    armed("script.cut.before:raise")
    with pytest.raises(killpoints.Killed):
        killpoints.point("script.cut.before")
    killpoints.point("script.cut.before")


def test_a_point_acts_at_the_time_that_was_named() -> None:
    armed("script.cut.before:raise:2")
    killpoints.point("script.cut.before")
    with pytest.raises(killpoints.Killed):
        killpoints.point("script.cut.before")


def test_other_points_are_left_alone() -> None:
    armed("script.cut.before:raise")
    killpoints.point("script.cut.after")


def test_several_points_can_be_armed_at_once() -> None:
    armed("a.before:raise,b.after:drop")
    with pytest.raises(killpoints.Killed):
        killpoints.point("a.before")
    with pytest.raises(ConnectionError, match="lost"):
        killpoints.point("b.after", lost)


def test_the_points_stand_on_both_sides_of_the_call() -> None:
    armed("call.after:drop")
    done = []
    with pytest.raises(ConnectionError), killpoints.around("call", lost):
        done.append(1)
    assert done == [1]
    armed("call.before:drop")
    with pytest.raises(ConnectionError), killpoints.around("call", lost):
        done.append(2)
    assert done == [1]


def test_a_call_whose_reply_cannot_be_lost_cannot_be_dropped() -> None:
    armed("call.after:drop")
    with pytest.raises(ValueError, match="nothing can be dropped"):
        killpoints.point("call.after")


@pytest.mark.parametrize(
    "said", ["cut", "script.cut.before", "script.cut.before:explode", "script.cut:kill", "a.after:kill:x"]
)
def test_what_is_no_kill_point_is_refused_with_the_form_that_is_one(said: str) -> None:
    with pytest.raises(ValueError, match=r"write name:action\[:nth\]"):
        armed(said)


def run(code: str, said: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"BATCHLINE_KILLPOINT": said, "BATCHLINE_KILLPOINT_HANG": "0.01"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30, check=False
    )


CODE = "from batchline import killpoints\nkillpoints.point('a.before')\nprint('went on')"


def test_a_killed_process_ends_there_and_says_where() -> None:
    ended = run(CODE, "a.before:kill")
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")
    assert ended.stderr == "killpoint a.before kill\n"


def test_a_process_that_hangs_goes_on_afterwards() -> None:
    ended = run(CODE, "a.before:hang")
    assert (ended.returncode, ended.stdout) == (0, "went on\n")
    assert ended.stderr == "killpoint a.before hang\nkillpoint a.before over\n"


def test_a_process_that_hangs_without_a_time_goes_on_when_it_is_told_to() -> None:
    environ = os.environ | {"BATCHLINE_KILLPOINT": "a.before:hang", "BATCHLINE_KILLPOINT_HANG": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", CODE], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as one:
        _, status = os.waitpid(one.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(one.pid, signal.SIGCONT)
        said, told = one.communicate(timeout=30)
    assert (one.returncode, said) == (0, b"went on\n")
    assert told == b"killpoint a.before hang\nkillpoint a.before over\n"


def test_the_variables_of_the_kill_points_are_no_unknown_settings() -> None:
    load_settings({"BATCHLINE_KILLPOINT": "a.before:kill", "BATCHLINE_KILLPOINT_HANG": "3"})
