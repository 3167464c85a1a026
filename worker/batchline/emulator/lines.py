"""Results on their way to disk."""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

_BUFFER_BYTES = 1024 * 1024


class LineWriter:
    """Writes JSON lines to a file that exists only once there is one; text is not escaped beyond what JSON asks."""

    def __init__(self, path: Path) -> None:
        """Remember where to write."""
        self._path = path
        self._file: BinaryIO | None = None
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, value: Any) -> None:
        """Append `value` as one line."""
        self.write_raw(self._encoder.encode(value))

    def write_raw(self, line: bytes) -> None:
        """Append bytes that are one line already, without their line feed."""
        file = self.open()
        file.write(line)
        file.write(b"\n")

    def open(self) -> BinaryIO:
        """Make the file, though nothing may ever be written to it."""
        if self._file is None:
            self._file = self._path.open("wb", buffering=_BUFFER_BYTES)
        return self._file

    @property
    def path(self) -> Path | None:
        """Where the lines are, or None when there is none."""
        return self._path if self._file is not None else None
