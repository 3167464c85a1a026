"""How durable a write is made before something that costs money depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from batchline.errors import StoreError
from batchline.store.connection import Argument, Connection


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which store this is: a restart changes the run id, a failover the replication id or both."""

    run_id: str
    replication_id: str

    def __str__(self) -> str:
        return f"{self.run_id}:{self.replication_id}"


class Durability:
    """Makes a script's effect durable: fsynced where there is an append-only file, and acknowledged by replicas."""

    def __init__(self, connection: Connection, *, replicas: int, timeout_s: float) -> None:
        self._connection = connection
        self._replicas = replicas
        self._timeout_ms = int(timeout_s * 1000)

    def call(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Any, bool]:
        """Run a script and wait for its durability on the same connection: its answer, and whether it is durable.

        Redis 7.0 cannot be asked to wait for an fsync; there ``appendfsync always`` is what makes a write durable, and
        `doctor` asks for it. A store without an append-only file is as durable as its replicas.
        """
        wait = self._wait_command()
        if wait is None:
            return self._connection.call(name, keys, args), True
        answer, acknowledged = self._connection.call_then(name, keys, args, wait)
        return answer, self._enough(wait, acknowledged)

    def identity(self) -> Identity:
        """Read which store this is. Raises StoreError."""
        info = self._info("server") | self._info("replication")
        return Identity(run_id=str(info["run_id"]), replication_id=str(info["master_replid"]))

    def _wait_command(self) -> list[Argument] | None:
        server, persistence = self._info("server"), self._info("persistence")
        appends = bool(int(persistence.get("aof_enabled", 0)))
        if appends and _waits_for_fsync(server):
            return ["WAITAOF", 1, self._replicas, self._timeout_ms]
        return ["WAIT", self._replicas, self._timeout_ms] if self._replicas else None

    def _enough(self, wait: list[Argument], acknowledged: Any) -> bool:
        if wait[0] == "WAITAOF":
            local, replicas = acknowledged
            return int(local) >= 1 and int(replicas) >= self._replicas
        return int(acknowledged) >= self._replicas

    def _info(self, section: str) -> dict[str, Any]:
        raw = self._connection.run("INFO", section)
        if isinstance(raw, dict):
            return raw
        text = raw.decode() if isinstance(raw, bytes) else str(raw)
        lines = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {key: value.strip() for key, _, value in lines}


def _waits_for_fsync(server: dict[str, Any]) -> bool:
    """Whether the server knows WAITAOF: Redis 7.2 and later, and every Valkey."""
    if "valkey_version" in server:
        return True
    version = str(server.get("redis_version", ""))
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        raise StoreError(f"the store does not tell its version ({version[:20]!r})") from None
    return (major, minor) >= (7, 2)
