"""What the store's server says of itself: its version, memory, persistence, replicas and clock."""

from __future__ import annotations

from typing import Any

import msgspec

from batchline.errors import StoreError
from batchline.store.connection import Connection


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it is set up and doing. Sizes are bytes; ``limit`` is 0 where there is no maxmemory.

    ``fsync`` is None where the server does not let its configuration be read, as managed services do.
    """

    product: str
    version: str
    role: str
    used: int
    limit: int
    policy: str
    append_only: bool
    fsync: str | None
    last_write_ok: bool
    last_rewrite_ok: bool
    replicas: int


class Server:
    """Reads what an operator must have set right."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def facts(self) -> ServerFacts:
        """Read everything in three commands. Raises StoreError."""
        info: dict[str, Any] = self._connection.run("INFO")
        valkey = info.get("valkey_version")
        return ServerFacts(
            product="Valkey" if valkey else "Redis",
            version=str(valkey or info.get("redis_version", "")),
            role=str(info.get("role", "")),
            used=int(info.get("used_memory", 0)),
            limit=int(info.get("maxmemory", 0)),
            policy=str(info.get("maxmemory_policy", "")),
            append_only=str(info.get("aof_enabled", 0)) == "1",
            fsync=self._configured("appendfsync"),
            last_write_ok=info.get("aof_last_write_status", "ok") == "ok",
            last_rewrite_ok=info.get("aof_last_bgrewrite_status", "ok") == "ok",
            replicas=int(info.get("connected_slaves", 0)),
        )

    def _configured(self, name: str) -> str | None:
        try:
            found: dict[str, str] = self._connection.run("CONFIG GET", name)
        except StoreError:
            return None
        return found.get(name)

    def clock_ms(self) -> int:
        """Return the server's clock, unix ms. Raises StoreError."""
        seconds, micros = self._connection.run("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
