"""A process of ours: its output line by line into a file, waiting for what it says, and its orderly or sudden end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from batchline.errors import BatchlineError
from batchline.local.leash import leash

Listener = Callable[[str, str], None]
"""Called with a child's name and one line of its output, from a thread of the child's own."""

TAIL_LINES = 20


class ChildDied(BatchlineError):
    """A process ended that was to keep running, or never became ready; the message has the end of its log."""


class Child:
    """A running process in a group of its own; ``log`` takes its stdout and stderr."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._listener = listener
        self._news = threading.Condition()
        self._lines: deque[str] = deque(maxlen=1_000)
        self._count = 0
        self._closed = False
        self._asked = False
        self._buried = False
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            preexec_fn=leash(),  # noqa: PLW1509 - a single system call, prepared before the fork
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id; its group's id too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it runs."""
        return self._process.poll()

    def wait_line(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Wait for an output line, one already seen included, in which ``pattern`` is found. Raises ChildDied."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._news:
            while True:
                for line in self._latest(self._count - seen):
                    if found := re.search(pattern, line):
                        return found
                seen = self._count
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    break
                self._news.wait(left)
        if self._closed:  # its output ends a moment before it does
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        raise ChildDied(self._report(f"did not become ready within {timeout_s:g} s"))

    def check(self) -> None:
        """Raise ChildDied if the process has ended."""
        if self.exit_code is not None:
            raise ChildDied(self._report("ended"))

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started; nothing happens when all are gone."""
        if self._buried:  # the number may be somebody else's by now
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def ask_to_end(self) -> None:
        """Send SIGTERM, once: to the process alone, for it ends its own children in order."""
        if self._asked or self.exit_code is not None:
            return
        self._asked = True
        self._process.terminate()
        # A stopped process would only hear of it when it goes on.
        self.signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask the process to end (SIGTERM), kill what is left of its group after ``timeout_s``; return the exit code."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.kill()

    def kill(self) -> int:
        """Kill the process and all that it started, as a power cut would; return the exit code."""
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        self._buried = True
        self._reader.join(timeout=5)
        return code

    def tail(self) -> str:
        """Return the last lines of the output."""
        with self._news:
            return "\n".join(self._latest(TAIL_LINES))

    def _latest(self, number: int) -> list[str]:
        return list(self._lines)[-number:] if number > 0 else []

    def _report(self, what: str) -> str:
        code = self.exit_code
        if code is not None:
            self._reader.join(timeout=5)
            what = f"ended with exit code {code}"
        return f"{self.name} {what}; the end of its log {self.log}:\n{self.tail()}"

    def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            raise AssertionError("stdout is a pipe")
        with output, self.log.open("ab", buffering=0) as log:
            for raw in output:
                log.write(raw)
                self._take(raw.decode(errors="replace").rstrip("\r\n"))
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _take(self, line: str) -> None:
        with self._news:
            self._lines.append(line)
            self._count += 1
            self._news.notify_all()
        if self._listener is not None:
            self._listener(self.name, line)
