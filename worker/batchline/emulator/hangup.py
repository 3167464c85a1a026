"""Answers that break off: the connection is closed under the caller.

ASGI has no word for it, so `HangUpProtocol` (which `serve` uses) puts the connection's transport into the scope.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "batchline.transport"


class HangUpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, whose scope also has the transport, as `extensions` / `batchline.transport`."""

    def on_message_begin(self) -> None:
        """Start a request's scope."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # uvicorn's type is a TypedDict
        scope["extensions"] = {EXTENSION: self.transport}


class HangUp(Response):
    """No answer at all: the connection closes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Close the connection and wait until it is closed, so that the server does not answer for us."""
        _close(scope)
        await _closed(receive)


class Cut(Response):
    """The beginning of another answer, then the connection closes."""

    def __init__(self, whole: Response, after_bytes: int | None) -> None:
        """Cut `whole` after `after_bytes` of its body (None: half), at the latest before its last byte."""
        self._whole = whole
        length = int(whole.headers.get("content-length", "0"))
        self._left = min(length // 2 if after_bytes is None else after_bytes, max(0, length - 1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, the first bytes, and nothing more."""
        left: int | None = self._left  # None once it is cut

        async def send_some(message: Message) -> None:
            nonlocal left
            if left is None:
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            piece = message.get("body", b"")[:left]
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if left == 0:
                left = None
                _close(scope)

        await self._whole(scope, receive, send_some)
        await _closed(receive)


def _close(scope: Scope) -> None:
    transport: asyncio.Transport | None = scope.get("extensions", {}).get(EXTENSION)
    if transport is None:
        raise RuntimeError("a dropped connection needs the emulator's own server: start it with `serve` or `running`")
    transport.close()


async def _closed(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
