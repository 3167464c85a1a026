"""Output files of replies: one JSON object a line, appended and forced to disk before a reply is acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from batchline.errors import UsageError
from batchline.requests import Reply, encode_reply


class Unchanged(Reply, frozen=True, kw_only=True):
    """A reply whose JSON parts are kept as they came, so that they are written as the provider wrote them."""

    metadata: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")


def decode_unchanged(raw: bytes) -> Reply:
    """Decode a reply but not its JSON parts; raises ``msgspec.DecodeError`` on what is not one."""
    return msgspec.json.decode(raw, type=Unchanged)


class ReplyFile:
    """A file of replies that is only ever appended to; what a crash left of an unfinished line is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
        self._mend()

    def _mend(self) -> None:
        whole = 0
        self._file.seek(0)
        for line in self._file:
            if line.endswith(b"\n"):
                whole += len(line)
            elif _is_json(line):
                self._file.write(b"\n")
                return
        self._file.truncate(whole)

    def append(self, replies: Iterable[Reply]) -> None:
        """Write replies and force them to disk."""
        try:
            self._file.write(b"".join(reply_line(reply) for reply in replies))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be written: {error.strerror}; what was not written is not acknowledged"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_replies(path: Path) -> Iterator[Reply]:
    """Yield the replies of a file. Raises UsageError on a line that is none."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield decode_unchanged(line)
            except msgspec.DecodeError as error:
                raise UsageError(f"{path}:{number}: not a reply of batchline: {error}") from None


def reply_line(reply: Reply) -> bytes:
    """Return a reply as one line, whatever line breaks its provider put into the response."""
    line = encode_reply(reply)
    return (msgspec.json.format(line, indent=-1) if b"\n" in line or b"\r" in line else line) + b"\n"


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
