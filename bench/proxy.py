"""A TCP proxy on the loopback interface that cuts connections, breaks requests off half way, and swallows replies.

proxy = Proxy(lambda: 6379)
port = proxy.start()
proxy.swallow()     # the next reply is lost, and its connection with it: the request had its effect
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable

CHUNK = 64 * 1024


class Proxy:
    """Passes connections on to ``upstream()``, a port of the loopback interface, from a thread of its own.

    ``counts`` says how often each kind of trouble was made; what finds no connection or no traffic is not counted.
    """

    def __init__(self, upstream: Callable[[], int]) -> None:
        self.counts: Counter[str] = Counter()
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tears = 0
        self._swallows = 0

    def start(self) -> int:
        """Listen on a free port and return it."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """Close every connection and stop listening."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, share: float) -> None:
        """Close one of the open connections, the one at ``share`` (0 to 1) of all in order of their opening."""
        self._loop.call_soon_threadsafe(self._cut, share)

    def tear(self) -> None:
        """Pass on only the first half of the next piece of a request, and close its connection."""
        self._loop.call_soon_threadsafe(self._arm, 1, 0)

    def swallow(self) -> None:
        """Lose the next piece of a reply, and close its connection."""
        self._loop.call_soon_threadsafe(self._arm, 0, 1)

    def calm(self) -> None:
        """Make no more trouble: what was armed and has not happened is forgotten."""
        self._loop.call_soon_threadsafe(self._disarm)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()
        while self._links:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream())
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                _pass(reader, far_writer, link, self._tear), _pass(far_reader, writer, link, self._swallow)
            )
        finally:
            self._links.discard(link)

    def _cut(self, share: float) -> None:
        links = sorted(self._links, key=lambda link: link.number)
        if links:
            self.counts["cut"] += 1
            links[min(int(share * len(links)), len(links) - 1)].close()

    def _arm(self, tears: int, swallows: int) -> None:
        self._tears += tears
        self._swallows += swallows

    def _disarm(self) -> None:
        self._tears = self._swallows = 0

    def _tear(self, data: bytes) -> tuple[bytes, bool]:
        if not self._tears:
            return data, False
        self._tears -= 1
        self.counts["torn"] += 1
        return data[: len(data) // 2], True

    def _swallow(self, data: bytes) -> tuple[bytes, bool]:
        if not self._swallows:
            return data, False
        self._swallows -= 1
        self.counts["swallowed"] += 1
        return b"", True


class _Link:
    """One connection from its client to the upstream."""

    _made = 0

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        _Link._made += 1
        self.number = _Link._made
        self._ends = ends

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(RuntimeError):
                end.close()


async def _pass(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    link: _Link,
    spoil: Callable[[bytes], tuple[bytes, bool]],
) -> None:
    """Pass on what comes until either end closes; then both do."""
    try:
        while data := await reader.read(CHUNK):
            some, over = spoil(data)
            writer.write(some)
            await writer.drain()
            if over:
                return
    except OSError:
        return
    finally:
        link.close()
