"""An incremental splitter of Anthropic's create body: one JSON object of up to 256 MB whose `requests` is a long list.

Decoding it whole would take about a gigabyte of objects, and a throw-away process would only move that elsewhere.
So the body lies on disk, and this walks over it, counts brackets and skips strings by a search for their closing
quote (C speed, and most of a body is strings); each element of the list is handed out as its own bytes and decoded alone.  Memory is one read
(256 KiB) and one element.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

READ_BYTES = 256 * 1024

_TOKEN = re.compile(rb'[{}\[\]"]')
_SCALAR = re.compile(rb"[^\s,\]}:]*")
_SPACE = re.compile(rb"[ \t\r\n]*")


class SplitError(ValueError):
    """The body is not one JSON object with a list under the wanted key."""


class UnknownKeyError(SplitError):
    """The object has a key beside the wanted one."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def elements(stream: BinaryIO, key: str) -> Iterator[bytes]:
    """Yield the bytes of each element of the list under `key`.

    Raises SplitError when the outer structure is broken or the key is missing, UnknownKeyError on any other key.
    The elements themselves are not checked.
    """
    reader = _Reader(stream)
    reader.expect(b"{")
    seen = False
    while True:
        if not seen and reader.peek() == b"}":
            break
        name = reader.value()
        reader.expect(b":")
        if name != f'"{key}"'.encode():
            raise UnknownKeyError(name.decode(errors="replace").strip('"'))
        if seen:
            raise SplitError(f"{key} stands twice")
        seen = True
        yield from _list_elements(reader)
        if reader.peek() != b",":
            break
        reader.expect(b",")
    reader.expect(b"}")
    if reader.peek():
        raise SplitError("there is more behind the JSON object")
    if not seen:
        raise SplitError(f"{key} is missing")


def _list_elements(reader: "_Reader") -> Iterator[bytes]:
    reader.expect(b"[")
    if reader.peek() == b"]":
        reader.expect(b"]")
        return
    while True:
        yield reader.value()
        if reader.peek() != b",":
            break
        reader.expect(b",")
    reader.expect(b"]")


class _Reader:
    """A window on the stream, from the value being read to the end of the last read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0

    def peek(self) -> bytes:
        """Skip white space and return the next byte; b"" at the end."""
        while True:
            self._at = _end(_SPACE, self._buffer, self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not self._more():
                return b""

    def expect(self, byte: bytes) -> None:
        """Consume `byte`."""
        if self.peek() != byte:
            raise SplitError(f"the JSON object is broken: {byte.decode()} is missing")
        self._at += 1

    def value(self) -> bytes:
        """Consume one JSON value and return its bytes."""
        first = self.peek()
        if first in (b"{", b"["):
            end = self._bracket_end()
        elif first == b'"':
            end = self._string_end()
        else:
            end = self._scalar_end()
        start, self._at = self._at, end
        return self._buffer[start:end]

    def _more(self) -> bool:
        piece = self._stream.read(max(READ_BYTES, len(self._buffer) - self._at))
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        return bool(piece)

    def _need(self) -> None:
        if not self._more():
            raise SplitError("the JSON object ends in the middle of a value")

    def _bracket_end(self) -> int:
        depth = 0
        offset = 0  # from the value's start, which a read moves to the front of the buffer
        while True:
            found = _TOKEN.search(self._buffer, self._at + offset)
            if found is None:
                offset = len(self._buffer) - self._at
                self._need()
                continue
            offset = found.end() - self._at
            token = found[0]
            if token == b'"':
                offset = self._string_end(offset - 1) - self._at
            elif token in b"{[":
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return self._at + offset

    def _string_end(self, offset: int = 0) -> int:
        """Return where the string ends whose opening quote stands `offset` bytes behind the value's start."""
        search = offset + 1
        while True:
            quote = self._buffer.find(b'"', self._at + search)
            if quote < 0:
                search = max(offset + 1, len(self._buffer) - self._at)
                self._need()
            elif _is_escaped(self._buffer, quote):
                search = quote + 1 - self._at
            else:
                return quote + 1

    def _scalar_end(self) -> int:
        while (end := _end(_SCALAR, self._buffer, self._at)) == len(self._buffer):
            self._need()
        if end == self._at:
            raise SplitError("the JSON object is broken: a value is missing")
        return end


def _end(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    found = pattern.match(buffer, at)
    return at if found is None else found.end()


def _is_escaped(buffer: bytes, at: int) -> bool:
    """Return whether an odd number of backslashes stands before `at`."""
    count = 0
    while buffer[at - 1 - count] == 0x5C:
        count += 1
    return count % 2 == 1
