"""Kill points: named places at which a test lets this process die, fail, hang or lose a reply. Without effect otherwise.

``BATCHLINE_KILLPOINT`` in the environment at the process's start arms points, ``name:action`` or ``name:action:nth``, several
with commas between them; each acts once, the ``nth`` time (default 1) that the process comes by. Actions:

    kill    SIGKILL, as the kernel's out-of-memory killer or a power cut would end it
    raise   an error that no code of ours expects
    hang    stop the whole process, all threads, for BATCHLINE_KILLPOINT_HANG seconds (default 90), then let it go on;
            with 0 it stays stopped until somebody sends it SIGCONT
    drop    the connection breaks: before the call it never left, after it the reply was lost; the caller cannot tell which

Names end in ``.before`` or ``.after``. What acts says so on stderr: ``killpoint <name> <action>``, and after a hang ``killpoint <name> over``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

ACTIONS = ("kill", "raise", "hang", "drop")
VARIABLE = "BATCHLINE_KILLPOINT"
HANG_VARIABLE = "BATCHLINE_KILLPOINT_HANG"
HANG_S = 90.0


class Killed(Exception):
    """What the action ``raise`` raises: none of batchline's own errors."""


@dataclass(slots=True)
class _Charge:
    action: str
    nth: int
    seen: int = 0


@dataclass(slots=True)
class _Armed:
    hang_s: float
    charges: dict[str, _Charge] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def arm(environ: Mapping[str, str]) -> None:
    """Arm what the environment says, and nothing else. Raises ValueError on what is no kill point."""
    global _armed  # noqa: PLW0603 - one state per process, read at its start; a test's forked worker sets it anew
    said = environ.get(VARIABLE, "")
    if not said:
        _armed = None
        return
    _armed = _Armed(float(environ.get(HANG_VARIABLE) or HANG_S))
    for part in said.split(","):
        name, charge = _parse(part.strip())
        _armed.charges[name] = charge


def point(name: str, lost: Callable[[], Exception] | None = None) -> None:
    """Come by a kill point. ``lost`` makes the error of a broken connection, for the action ``drop``."""
    if _armed is not None:
        _come_by(_armed, name, lost)


@contextmanager
def around(name: str, lost: Callable[[], Exception] | None = None) -> Iterator[None]:
    """Put the points ``name.before`` and ``name.after`` around a block that leaves this process."""
    point(f"{name}.before", lost)
    yield
    point(f"{name}.after", lost)


def _parse(said: str) -> tuple[str, _Charge]:
    name, _, rest = said.partition(":")
    action, _, nth = rest.partition(":")
    if not name.endswith((".before", ".after")) or action not in ACTIONS or not (nth or "1").isdecimal():
        raise ValueError(
            f"{VARIABLE}: {said!r} is no kill point; write name:action[:nth], the name ending in .before or .after,"
            f" the action one of {', '.join(ACTIONS)}"
        )
    return name, _Charge(action, int(nth or 1))


def _come_by(armed: _Armed, name: str, lost: Callable[[], Exception] | None) -> None:
    charge = armed.charges.get(name)
    if charge is None:
        return
    with armed.lock:
        charge.seen += 1
        if charge.seen != charge.nth:
            return
    if charge.action == "drop" and lost is None:
        raise ValueError(f"{VARIABLE}: nothing can be dropped at {name}; choose another action")
    os.write(2, f"killpoint {name} {charge.action}\n".encode())
    _act(charge.action, name, armed.hang_s, lost)


def _act(action: str, name: str, hang_s: float, lost: Callable[[], Exception] | None) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # the signal is on its way; nothing after this point may run
    elif action == "hang":
        _freeze(hang_s)
        os.write(2, f"killpoint {name} over\n".encode())
    elif action == "drop" and lost is not None:
        raise lost()
    else:
        raise Killed(f"the kill point {name} was armed to fail here")


def _freeze(seconds: float) -> None:
    """Stop all threads of this process; a shell wakes it up again, unless ``seconds`` is 0."""
    if not seconds:
        _stop()
        return
    wake = f"sleep {seconds:.3f}; kill -CONT {os.getpid()}"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(["/bin/sh", "-c", wake], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True):
        _stop()


def _stop() -> None:
    # To this very thread: it stops on its way back from the call, before anything that follows here is run.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


_armed: _Armed | None = None
arm(os.environ)
