"""How a worker ends: steps hand back what can wait, and finish what cannot."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from batchline.errors import Stopping


class Shutdown:
    """Whether this worker was asked to end, and how many steps are at a point where they must not be broken off."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._finishing = 0
        self._changed = threading.Condition()

    def ask(self) -> None:
        """Ask all steps of this worker to hand back their work; may be called from a signal handler."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether this worker was asked to end."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise Stopping when this worker was asked to end."""
        if self._asked.is_set():
            raise Stopping("this worker was asked to end")

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Mark a block that must not be broken off: between an intent and the answer to its create call."""
        with self._changed:
            self._finishing += 1
        try:
            yield
        finally:
            with self._changed:
                self._finishing -= 1
                self._changed.notify_all()

    def wait_finished(self, timeout_s: float) -> bool:
        """Wait until no step is in such a block; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._finishing == 0, timeout_s)


class _Watched(io.RawIOBase):
    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int:
        self._check()
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def watched(file: BinaryIO, check: Callable[[], None]) -> BinaryIO:
    """Return a file for reading that calls ``check`` before each chunk it reads; what that raises breaks the reading off."""
    return cast("BinaryIO", io.BufferedReader(_Watched(file, check)))
