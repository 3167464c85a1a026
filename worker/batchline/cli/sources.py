"""Where a command's requests are read from: a file, or what can be read only once (a pipe, standard input), copied to disk first."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from batchline.errors import UsageError

STDIN = Path("-")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An open file that can be read any number of times, and what errors call it."""

    name: str
    descriptor: int

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield its lines as they are now, numbered from 1; one reading at a time. Raises UsageError."""
        try:
            # A buffer of its own for each reading, lest what was read before stands for what is there.
            with open(self.descriptor, "rb", closefd=False) as lines:
                lines.seek(0)
                yield from enumerate(lines, 1)
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read: {error.strerror or error}") from None


@contextmanager
def opened(path: Path, spool_dir: Path | None) -> Iterator[Source]:
    """Open a file of requests, ``-`` for standard input; what is no regular file is read once, into an unnamed file on disk.

    ``spool_dir``: where that lies; None is the system's directory for temporary files. Raises UsageError.
    """
    with ExitStack() as stack:
        name = "stdin" if path == STDIN else str(path)
        file = _stdin() if path == STDIN else stack.enter_context(_open(path))
        if path == STDIN or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file = stack.enter_context(_copied(name, file, spool_dir))
        yield Source(name=name, descriptor=file.fileno())


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("stdin: cannot be read: it is closed")
    return sys.stdin.buffer


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _copied(name: str, file: BinaryIO, folder: Path | None) -> BinaryIO:
    with ExitStack() as undone:
        try:
            copy = undone.enter_context(tempfile.TemporaryFile(dir=folder))
            shutil.copyfileobj(file, copy)
            copy.flush()
        except OSError as error:
            raise UsageError(
                f"{name}: it can be read only once, and cannot be copied into {folder or 'the folder for temporary files'}: "
                f"{error.strerror or error}; set spool_dir to a folder with room, or name a file"
            ) from None
        undone.pop_all()
    return copy
