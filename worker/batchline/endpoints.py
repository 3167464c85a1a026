"""The HTTP endpoints of a process: /metrics, /livez and /readyz, answered by threads of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from batchline.errors import BatchlineError, UsageError

# Each answer takes a list of its own: wsgiref adds the length to it.
HEADERS = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
SLOW_CALLER_S = 30
MOST_CALLERS = 32

Check = Callable[[], str]
"""Returns what is wrong, empty when all is well."""


class Endpoints:
    """Serves until ``stop``. A check that finds something wrong is answered with 503 and what it is, any other path with 404."""

    def __init__(self, port: int, registry: CollectorRegistry, checks: Mapping[str, Check]) -> None:
        """Listen on a port of all addresses, 0 for a free one. Raises UsageError when it is taken."""
        self._metrics = make_wsgi_app(registry)
        self._checks = checks
        try:
            self._server = make_server("", port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise UsageError(f"cannot listen on port {port}: {error.strerror}; give another one") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoints", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return self._server.server_port

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = request.get("PATH_INFO", "/")
        if path == "/metrics":
            return cast("Iterable[bytes]", self._metrics(request, start))
        check = self._checks.get(path)
        if check is None:
            start("404 Not Found", [*HEADERS])
            return [b"there are /metrics, " + ", ".join(self._checks).encode() + b"\n"]
        problem = _problem(check)
        start("503 Service Unavailable" if problem else "200 OK", [*HEADERS])
        return [(problem or "ok").encode() + b"\n"]


def _problem(check: Check) -> str:
    try:
        return check()
    except BatchlineError as error:
        return str(error)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request; takes IPv4 and, where this machine has it, IPv6."""

    daemon_threads = True
    request_queue_size = 64
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, which may take its time."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "batchline", int(self.server_address[1])
        self.setup_environ()
        self._free = threading.BoundedSemaphore(MOST_CALLERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; too many at once are turned away, so that they use up no thread or file of ours."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one caller, who has so long for all of it, and make room for the next."""
        patience = threading.Timer(SLOW_CALLER_S, _hang_up, [request])
        patience.daemon = True
        patience.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            patience.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that went away."""


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Log nothing: probes and scrapes come every few seconds."""
