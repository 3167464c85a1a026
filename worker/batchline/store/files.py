"""Files at the providers that are to be deleted once nobody can need them any more."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.store import keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import text

AGAIN_MIN_MS = 600_000
AGAIN_MAX_MS = 86_400_000
"""How long a file that could not be deleted waits: from 10 minutes, doubled with each failure, up to a day."""


class Files:
    """The agenda of files; the scripts `settled` and `again` put them there, and the audit. A file is named ``account|file``."""

    def __init__(self, connection: Connection, *, lease_s: float) -> None:
        self._connection = connection
        self._lease_ms = int(lease_s * 1000)

    def ring(self, *, now_ms: int, most: int) -> list[str]:
        """Return files whose time has come; each rings again after a lease if nobody deletes it."""
        due = self._connection.call("ring", [keys.FILES], [now_ms, most, now_ms + self._lease_ms])
        return [text(file) for file in due]

    def add(self, names: Sequence[str], *, due_ms: int) -> int:
        """Put files on the agenda to be deleted at ``due_ms``; returns how many were not there yet."""
        rows = [part for name in names for part in (due_ms, name)]
        return int(self._connection.run("ZADD", keys.FILES, "NX", *rows)) if rows else 0

    def gone(self, file: str, *, now_ms: int) -> None:
        """Note that a file is deleted."""
        self._note(file, "1", now_ms)

    def failed(self, file: str, *, now_ms: int) -> int:
        """Note that a file could not be deleted; returns when (unix ms) it is tried again."""
        return self._note(file, "0", now_ms)

    def _note(self, file: str, gone: str, now_ms: int) -> int:
        arguments: list[Argument] = [file, gone, now_ms, AGAIN_MIN_MS, AGAIN_MAX_MS]
        return int(self._connection.call("deleted", [keys.FILES, keys.FILES_FAILED], arguments))


def named(account: str, ref: str) -> str:
    """Name a file of an account for the agenda."""
    return f"{account}|{ref}"


def parts(file: str) -> tuple[str, str]:
    """Take a file's name apart: account, and the provider's file id."""
    account, _, ref = file.rpartition("|")
    return account, ref
