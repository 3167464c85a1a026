"""A provider on the loopback whose answers a test writes down beforehand, and which remembers what it was asked."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer; ``drop`` closes the connection instead, after the request was read (``cut``: after the answer)."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: int | None = None
    """Bytes of the body after which the connection breaks off."""
    hang: bool = False
    unread: int | None = None
    """Bytes of the request to read before the connection is reset."""


class Stage:
    """The server: answers in the order given, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.over = threading.Event()
        self.url = ""

    def says(self, *bodies: bytes | str | dict[str, Any], **headers: str) -> None:
        """Answer 200 with each of these, one after the other."""
        for body in bodies:
            text = json.dumps(body) if isinstance(body, dict) else body
            self._will(body=text.encode() if isinstance(text, str) else text, headers=_dashed(headers))

    def refuses(
        self, status: int, *, code: str = "some_code", message: str = "what went wrong", **headers: str
    ) -> None:
        """Answer with an error of this status, in the shape that both providers share."""
        body = {"type": "error", "error": {"type": code, "code": code, "message": message}}
        self._will(status=status, body=json.dumps(body).encode(), headers=_dashed(headers))

    def drops(self) -> None:
        """Read the whole request, then reset the connection."""
        self._will(drop=True)

    def hangs(self) -> None:
        """Read the whole request and never answer."""
        self._will(hang=True)

    def cuts(self, body: bytes, at: int) -> None:
        """Promise the whole body, and close the connection after ``at`` bytes of it."""
        self._will(body=body, cut=at)

    def resets_after(self, size: int) -> None:
        """Reset the connection when this many bytes of the request were read."""
        self._will(unread=size)

    def _will(self, **fields: Any) -> None:
        self.answers.append(Answer(**fields))

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Pieces(io.BytesIO):
    """A file that remembers the largest piece that was asked of it."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.largest = max(self.largest, len(piece))
        return piece


@pytest.fixture
def big_rows() -> Pieces:
    """Return 4 MB of rows in a file that remembers how it was read."""
    return Pieces((b'{"custom_id":"a","params":{"t":"' + b"x" * 4000 + b'"}}\n') * 1000)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stage: Stage

    def _serve(self) -> None:
        answer = self.stage.next()
        length = int(self.headers.get("Content-Length") or 0)
        if answer.unread is not None:
            self.rfile.read(answer.unread)
            self._reset()
            return
        body = self.rfile.read(length)
        self.stage.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if answer.hang:
            self.stage.over.wait()
        if answer.drop or answer.hang:
            self._reset()
            return
        self.send_response(answer.status)
        for name, value in ({"Content-Type": "application/json"} | answer.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        # No connection outlives its call, so that no client of a test has any left to close.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 50

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Return a loopback provider, ready to be told what to answer."""
    stage = Stage()
    handler = type("Handler", (_Handler,), {"stage": stage})
    server = _Server(("127.0.0.1", 0), handler)
    stage.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield stage
    stage.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the SDKs from what the machine's environment says."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
