"""The store: the only room that knows Redis. Keys in ``keys.py``, one Lua file per verb in ``scripts/``."""

from __future__ import annotations

from batchline.store.batches import Batches
from batchline.store.callbacks import Callbacks
from batchline.store.connection import Connection
from batchline.store.intake import Intake
from batchline.store.ledger import Ledger
from batchline.store.settling import Settling


class Store:
    """One Redis or Valkey primary, taken apart by purpose."""

    def __init__(self, url: str, *, lease_s: float = 30.0, reply_ttl_s: float = 604_800.0) -> None:
        self.connection = Connection(url)
        self.intake = Intake(self.connection)
        self.batches = Batches(self.connection, lease_s=lease_s)
        self.settling = Settling(self.connection, lease_s=lease_s, reply_ttl_s=reply_ttl_s)
        self.callbacks = Callbacks(self.connection, reply_ttl_s=reply_ttl_s)
        self.ledger = Ledger(self.connection)

    def take_tick(self, role: str, *, holder: str, seconds: float) -> bool:
        """Take the tick of a role for so many seconds; False when another worker has it."""
        from batchline.store import keys  # noqa: PLC0415

        return self.connection.run("SET", keys.tick(role), holder, "NX", "PX", int(seconds * 1000)) is not None

    def ping(self) -> None:
        """Raise StoreError when the store cannot be reached."""
        self.connection.run("PING")

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()
