"""Result files as lines: split on byte 0x0A only, within bounded memory, and strict about what a line is.

The SDKs' own line readers also split on U+2028, U+2029 and U+0085, which may stand raw inside a JSON string, and so tear
rows apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

T = TypeVar("T")

_MARK = b"\xef\xbb\xbf"
"""What some write before the first line to say that it is UTF-8."""

MAX_LINE_BYTES = 256 * 1024 * 1024
"""Longest line that is held in memory. The largest answer known is an embedding of 2,048 inputs with 3,072 dimensions each,
about 130 MiB where every digit is written out."""

_ESCAPES = re.compile(
    rb"\\\\"  # an escaped backslash is no escape of what follows it
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
)


class LineTooLong(ValueError):
    """A line is longer than the bound; reading it again brings the same."""


class BadLine(ValueError):
    """A line is not what the provider promises: torn, not UTF-8, not JSON, or without its id. Never quotes the line."""

    code = "bad_line"


class Unassigned(BadLine):
    """A result does not tell of which row it is; reading it again brings the same."""

    code = "unassigned"


def split_lines(chunks: Iterable[bytes], *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a byte stream without their line feeds; the last one needs none. Raises LineTooLong.

    A byte order mark at its beginning is none of the first line's.
    """
    held: list[bytes] = []
    size = 0
    for chunk in _unmarked(chunks):
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if held:
                held.append(line)
                yield _bounded(b"".join(held), max_bytes)
                held, size = [], 0
            else:
                yield _bounded(line, max_bytes)
        if rest:
            held.append(rest)
            size += len(rest)
            if size > max_bytes:
                raise LineTooLong(f"a line is longer than {max_bytes} bytes")
    if held:
        yield b"".join(held)


def _unmarked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest, head = iter(chunks), b""
    for chunk in rest:
        head += chunk
        if len(head) >= len(_MARK):
            break
    yield head.removeprefix(_MARK)
    yield from rest


def _bounded(line: bytes, max_bytes: int) -> bytes:
    if len(line) > max_bytes:
        raise LineTooLong(f"a line is longer than {max_bytes} bytes")
    return line


def decode_line(line: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a line of strict UTF-8 JSON. Raises BadLine.

    Half a surrogate pair, escaped, is valid JSON but no text; models cut short leave such halves. It becomes U+FFFD, since
    refusing a paid answer for it, or handing on what the requester cannot decode, helps nobody.
    """
    try:
        if not line.isascii():
            line.decode()
        return decoder.decode(line)
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    except RecursionError:
        raise BadLine("nested too deeply to be read") from None
    except msgspec.DecodeError as exc:
        whole = mend_surrogates(line)
        if whole == line:
            raise BadLine(_reason(exc)) from None
        line = whole
    try:
        return decoder.decode(line)
    except msgspec.DecodeError as exc:
        raise BadLine(_reason(exc)) from None


def mend_surrogates(line: bytes) -> bytes:
    r"""Return JSON with each escaped half of a surrogate pair replaced by ``\ufffd``; whole pairs stay."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return line
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], line)


def is_told(raw: msgspec.Raw) -> bool:
    """Whether a value is there at all and not null: a decoded type cannot say ``Raw | None``."""
    view = memoryview(raw)
    return view.nbytes > 4 or bytes(view) not in {b"", b"null"}


def _reason(exc: msgspec.DecodeError) -> str:
    return "another shape than promised" if isinstance(exc, msgspec.ValidationError) else "not JSON, or cut off"
