"""Streaming multipart/form-data: the file part goes to disk as it arrives, 200 MB never sit in memory."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAX_FIELD_BYTES = 64 * 1024
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'filename="([^"]*)"', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)


class MultipartError(ValueError):
    """The body is not the multipart form that its content type promised."""


@dataclass(slots=True)
class Form:
    """A received form: small fields, and the file part (None without one). `size` counts all its bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0


async def receive_form(chunks: AsyncIterator[bytes], content_type: str, path: Path, max_bytes: int) -> Form:
    """Read a form, writing its file part to `path`; beyond `max_bytes` the part is counted, not written.

    Raises MultipartError.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise MultipartError("the content type is not multipart/form-data with a boundary")
    with path.open("wb") as target:
        parser = _Parser(b"\r\n--" + found[1].encode(), target, max_bytes)
        async for chunk in chunks:
            parser.feed(chunk)
        return parser.close()


class _Parser:
    """Push parser. Between calls the buffer holds less than a boundary, or the unfinished head of a part."""

    def __init__(self, delimiter: bytes, target: BinaryIO, max_bytes: int) -> None:
        self._delimiter = delimiter
        self._target = target
        self._max_bytes = max_bytes
        self._form = Form()
        self._buffer = b"\r\n"  # so that the first boundary looks like every other
        self._part: bytes | None = None  # name of a small field being read; b"" is the file, None the preamble
        self._value = bytearray()
        self._in_head = False
        self._ended = False

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk
        while not self._ended and self._step():
            pass

    def close(self) -> Form:
        if not self._ended:
            raise MultipartError("the form ends before its last boundary")
        return self._form

    def _step(self) -> bool:
        """Consume one head or the content up to one boundary; return False when more bytes are needed."""
        if self._in_head:
            return self._read_head()
        at = self._buffer.find(self._delimiter)
        if at < 0:
            keep = len(self._delimiter) - 1
            self._content(self._buffer[:-keep])
            self._buffer = self._buffer[-keep:]
            return False
        after = at + len(self._delimiter)
        if len(self._buffer) < after + 2:
            return False
        self._content(self._buffer[:at])
        self._end_part()
        self._ended = self._buffer[after : after + 2] == b"--"
        self._buffer = self._buffer[after:]
        self._in_head = True
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_FIELD_BYTES:
                raise MultipartError("a part's head is too long")
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        name = _NAME.search(head)
        if name is None:
            raise MultipartError("a part has no name")
        filename = _FILENAME.search(head)
        if filename is not None and name[1] == b"file":
            self._form.filename = filename[1].decode(errors="replace")
            self._part = b""
        else:
            self._part = name[1]
        self._in_head = False
        return True

    def _content(self, data: bytes) -> None:
        if self._part is None or not data:
            return
        if self._part == b"":
            self._form.size += len(data)
            if self._form.size <= self._max_bytes:
                self._target.write(data)
            return
        self._value += data
        if len(self._value) > MAX_FIELD_BYTES:
            raise MultipartError(f"the field {self._part.decode(errors='replace')!r} is too long")

    def _end_part(self) -> None:
        if self._part:
            self._form.fields[self._part.decode(errors="replace")] = self._value.decode(errors="replace")
        self._part = None
        self._value.clear()
