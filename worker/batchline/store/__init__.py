"""The store: the only room that knows Redis. Keys in ``keys.py``, one Lua file per verb in ``scripts/``."""

from __future__ import annotations

from batchline.store import keys
from batchline.store.accounts import Accounts
from batchline.store.batches import Batches
from batchline.store.callbacks import Callbacks
from batchline.store.connection import Connection, Patience
from batchline.store.days import Days
from batchline.store.dead import Dead
from batchline.store.durability import Durability
from batchline.store.files import Files
from batchline.store.intake import Intake
from batchline.store.ledger import Ledger
from batchline.store.memory import Memory
from batchline.store.orphans import Orphans
from batchline.store.pruning import Pruning
from batchline.store.records import flat, pairs, text
from batchline.store.server import Server
from batchline.store.settling import Settling
from batchline.store.unread import Unread


class Store:
    """One Redis or Valkey primary, taken apart by purpose."""

    def __init__(
        self,
        url: str,
        *,
        lease_s: float = 30.0,
        reply_ttl_s: float = 604_800.0,
        replicas: int = 0,
        durable_within_s: float = 5.0,
        files_kept_s: float = 3600.0,
        ledger_kept_s: float = 34_560_000.0,
        patience: Patience | None = None,
    ) -> None:
        self.connection = Connection(url, patience)
        self.durability = Durability(self.connection, replicas=replicas, timeout_s=durable_within_s)
        self.intake = Intake(self.connection)
        self.batches = Batches(
            self.connection, self.durability, lease_s=lease_s, files_kept_s=files_kept_s, ledger_kept_s=ledger_kept_s
        )
        self.settling = Settling(self.connection, lease_s=lease_s, reply_ttl_s=reply_ttl_s, ledger_kept_s=ledger_kept_s)
        self.callbacks = Callbacks(self.connection, reply_ttl_s=reply_ttl_s)
        self.accounts = Accounts(self.connection)
        self.ledger = Ledger(self.connection)
        self.days = Days(self.connection)
        self.orphans = Orphans(self.connection)
        self.dead = Dead(self.connection)
        self.unread = Unread(self.connection)
        self.pruning = Pruning(self.connection)
        self.server = Server(self.connection)
        self.files = Files(self.connection, lease_s=lease_s)
        self.memory = Memory(self.connection)

    def take_tick(self, role: str, *, holder: str, seconds: float) -> bool:
        """Take the tick of a role for so many seconds; False when another worker has it."""
        return bool(self.connection.call("tick", [keys.tick(role)], [holder, int(seconds * 1000)]))

    def note_tick(self, role: str, now_ms: int) -> None:
        """Note that a role's tick has done its work."""
        self.connection.call("ticked", [keys.TICKS], [role, now_ms])

    def last_ticks(self) -> dict[str, int]:
        """Return when (unix ms) each role's tick last did its work."""
        found = pairs(flat(self.connection.run("HGETALL", keys.TICKS)))
        return {text(role): int(at) for role, at in found.items()}

    def ping(self) -> None:
        """Raise StoreError when the store cannot be reached."""
        self.connection.run("PING")

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()
