"""What a producer in any language does: Redis commands over a plain socket, without redis-py and without our client."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

CHUNK = 200
"""Transactions sent before their answers are read."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as the protocol has it; without ``reply_to`` its reply comes to a list of its own."""

    lane: str
    id: str
    body: str
    reply_to: str | None = None


def connect(host: str, port: int) -> BinaryIO:
    """Return a connection to the store, to be read and written."""
    connection = socket.create_connection((host, port), timeout=120)
    return cast("BinaryIO", connection.makefile("rwb"))


def enqueue(connection: BinaryIO, requests: Sequence[RawRequest]) -> None:
    """Enqueue each request by a transaction of its own. Raises RuntimeError or TypeError when one is not acknowledged."""
    for start in range(0, len(requests), CHUNK):
        chunk = requests[start : start + CHUNK]
        commands = [line for request in chunk for line in _transaction(request)]
        connection.writelines(_encode(*line) for line in commands)
        connection.flush()
        answers = [_read(connection) for _ in commands]
        for request, executed in zip(chunk, answers[3::4], strict=True):
            if not isinstance(executed, list):
                raise TypeError(f"EXEC for {request.id} answered {executed!r}")


def pop_reply(connection: BinaryIO, request: RawRequest, *, timeout_s: int) -> bytes | None:
    """Pop the next reply from the request's callback list; None when none came in time."""
    popped = command(connection, "BLPOP", reply_list(request), str(timeout_s))
    return None if popped is None else bytes(popped[1])


def reply_list(request: RawRequest) -> str:
    """Return the key of the list to which the reply comes."""
    return f"batchline:reply:{request.reply_to or f'{request.lane}:{request.id}'}"


def command(connection: BinaryIO, *words: str) -> Any:
    """Send one command and return its answer. Raises RuntimeError with the store's error."""
    connection.write(_encode(*words))
    connection.flush()
    return _read(connection)


def _transaction(request: RawRequest) -> Iterator[tuple[str, ...]]:
    reply_to = () if request.reply_to is None else ("reply_to", request.reply_to)
    yield ("MULTI",)
    yield ("XADD", f"batchline:{{{request.lane}}}:requests", "*", "id", request.id, "body", request.body, *reply_to)
    yield ("SADD", "batchline:lanes", request.lane)
    yield ("EXEC",)


def _encode(*words: str) -> bytes:
    raw = [word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(raw), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)])


def _read(connection: BinaryIO) -> Any:
    """Read one answer of the RESP2 protocol. Source: redis.io/docs/latest/develop/reference/protocol-spec."""
    line = connection.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise RuntimeError(f"the store answered: {rest.decode()}")
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else connection.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [_read(connection) for _ in range(int(rest))]
    raise RuntimeError(f"not an answer of the store: {line!r}")
