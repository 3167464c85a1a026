"""Bodies in and out: strict JSON, streamed files, nothing large in memory."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

CHUNK_BYTES = 256 * 1024
MAX_REALTIME_BYTES = 32 * 1024 * 1024


class StoppedError(Exception):
    """The emulator is shutting down; the pass over a batch ends here."""


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `body` as a JSON answer."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def decode_object(raw: bytes) -> dict[str, Any] | None:
    """Return `raw` as a JSON object, or None when it is not one.

    Strict: UTF-8 only, no byte order mark, no NaN, no number out of range, no more nesting than the interpreter bears.
    """
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


async def read_body(request: Request, limit: int = MAX_REALTIME_BYTES) -> bytes | None:
    """Return the whole request body, or None (after draining it) when it is over `limit` bytes."""
    kept = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            kept += chunk
    return bytes(kept) if size <= limit else None


async def drain(request: Request) -> None:
    """Read what is left of a body, so that the client can finish sending and see the answer."""
    try:
        async for _ in request.stream():
            pass
    except (RuntimeError, ClientDisconnect):  # read already, or nobody there
        return


def file_response(path: Path, media_type: str) -> Response:
    """Return an answer that streams `path` in small pieces."""
    headers = {"content-length": str(path.stat().st_size)}
    return StreamingResponse(_pieces(path), headers=headers, media_type=media_type)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(CHUNK_BYTES):
            yield piece


def numbered_lines(path: Path, stop: Event) -> Iterator[tuple[int, bytes]]:
    """Yield (1-based line number, line without its line feed); lines end at byte 0x0A only.

    Raises StoppedError soon after `stop` is set.
    """
    with path.open("rb", buffering=1024 * 1024) as source:
        for number, line in enumerate(source, start=1):
            if number % 256 == 0 and stop.is_set():
                raise StoppedError
            yield number, line.rstrip(b"\n")
