"""Running the emulator: as a process, or beside a test in a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from batchline.emulator.app import create_app
from batchline.emulator.hangup import HangUpProtocol
from batchline.emulator.options import Options
from batchline.emulator.world import Emulator


@dataclass(frozen=True, slots=True)
class Running:
    """An emulator that answers at `url` (no trailing slash; OpenAI's base URL is `url` + /v1)."""

    url: str
    emulator: Emulator


def serve(host: str = "127.0.0.1", port: int = 8700, options: Options | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Port 0 takes a free one.  Prints `emulator listening on http://HOST:PORT`, one flushed line, once connections are
    taken.  Raises OSError when the port cannot be had.
    """
    with _listen(host, port) as listener:
        app = create_app(options or Options())
        _AnnouncingServer(_config(app)).run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens once it can be stopped properly: a parent may send SIGTERM right after reading the line."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            print(f"emulator listening on {_url(listener)}", flush=True)  # noqa: T201 - a parent reads this line


@contextmanager
def running(options: Options | None = None, clock: Callable[[], float] = time.time) -> Iterator[Running]:
    """Serve on a free loopback port from a thread of this process; for tests, which may bring their own clock."""
    app = create_app(options or Options(), clock)
    with serving(app) as url:
        yield Running(url, app.state.emulator)


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve `app` on a free loopback port from a thread of this process, and give its URL."""
    with _listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator", daemon=True)
        thread.start()
        try:
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HangUpProtocol,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
