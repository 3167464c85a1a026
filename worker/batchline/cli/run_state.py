"""The state of ``batchline run`` beside its output, so that a run killed anywhere goes on where it was.

``OUT.run`` (the record) says which input the output belongs to and is locked while a run is at work; it stays, so that a
repeat of a finished run is known for what it is. ``OUT.part`` takes the replies and becomes ``OUT`` at the end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from batchline.cli.outputs import ReplyFile
from batchline.errors import UsageError


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Which run an output belongs to: its id, its input's SHA-256 and the model that was set for all of it."""

    v: int = 1
    run: str
    sha256: str
    model: str | None = None


class RunState:
    """One run's files. ``resumed``: it was begun before; ``finished``: its output is complete."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out.with_name(out.name + ".part")
        self._record_path = out.with_name(out.name + ".run")
        self._lock = -1
        self.resumed = False
        self.finished = False

    def open(self, *, sha256: str, model: str | None, new_run: Callable[[], str]) -> Record:
        """Begin a run or go on with one. Raises UsageError when the files beside the output do not fit."""
        if self.out.exists() and not self._record_path.exists():
            raise UsageError(f"{self.out} exists already and is no output of batchline run: name another, or remove it")
        try:
            self._lock = os.open(self._record_path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another batchline run is writing {self.out} at this moment") from None
        except OSError as error:
            raise UsageError(f"{self._record_path}: cannot be written: {error.strerror}") from None
        written = os.read(self._lock, 65_536)
        # A record that was not written whole belongs to a run that had not enqueued anything yet.
        record = _decode(written)
        if record is None and not self.out.exists():
            return self._begin(Record(run=new_run(), sha256=sha256, model=model))
        return self._go_on(record, sha256=sha256, model=model)

    def _begin(self, record: Record) -> Record:
        self.part.write_bytes(b"")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, msgspec.json.encode(record) + b"\n", 0)
        os.fsync(self._lock)
        return record

    def _go_on(self, record: Record | None, *, sha256: str, model: str | None) -> Record:
        files = f"{self.out} (with {self._record_path.name} and {self.part.name})"
        if record is None:
            raise UsageError(f"{self._record_path} is no record of a run: name another output, or remove {files}")
        if (record.sha256, record.model) != (sha256, model):
            raise UsageError(
                f"{self.out} belongs to another input, model or version of the input: name another output, or remove {files}"
            )
        self.resumed = True
        self.finished = self.out.exists() and not self.part.exists()
        if not self.finished and not self.part.exists():
            raise UsageError(
                f"{self.part}, which held the replies, is gone: put it back, or remove {self._record_path.name} to begin (and pay) anew"
            )
        return record

    def replies(self) -> ReplyFile:
        """Open the replies so far, to be added to."""
        return ReplyFile(self.part)

    def finish(self) -> None:
        """Give the output its name."""
        self.part.replace(self.out)

    def close(self) -> None:
        """Let another run take over."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _decode(written: bytes) -> Record | None:
    try:
        return msgspec.json.decode(written, type=Record)
    except msgspec.DecodeError:
        return None
