"""Provider batches that the store does not know, and whether an account was audited since the store was last replaced."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.budgets import BYTES_PER_TOKEN
from batchline.store import keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import Batch, text


class Orphans:
    """What the audit needs of the store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def audited(self, account: str) -> str:
        """Return the identity of the store for which the account was last audited, '' if it never was."""
        found = self._connection.run("HGET", keys.AUDITED, account)
        return text(found) if found else ""

    def accounts(self) -> list[str]:
        """Return the accounts that were ever audited: those that ever created a batch."""
        return sorted(text(name) for name in self._connection.run("HKEYS", keys.AUDITED))

    def note_audited(self, account: str, identity: str) -> None:
        """Note that the account was audited for this store."""
        self._connection.call("ticked", [keys.AUDITED], [account, identity])

    def replaced_ms(self, identity: str, *, now_ms: int) -> int:
        """Return since when (unix ms) this store stands in place of another one, 0 when there was none before."""
        return int(self._connection.call("replaced", [keys.IDENTITY], [identity, now_ms]))

    def take_turn(self, account: str, *, holder: str, seconds: float) -> bool:
        """Take the account's periodic audit (``holder``: unique to this call); False when it was taken so many seconds ago."""
        return bool(self._connection.call("tick", [keys.audit_turn(account)], [holder, int(seconds * 1000)]))

    def claimed(self, account: str, provider_ids: Sequence[str]) -> set[str]:
        """Return which provider batches a batch of ours has claimed."""
        if not provider_ids:
            return set()
        owners = self._connection.run("MGET", *(keys.provider_batch(account, each) for each in provider_ids))
        return {each for each, owner in zip(provider_ids, owners, strict=True) if owner}

    def adopt(
        self,
        account: str,
        *,
        batch_id: str,
        lane: str,
        provider_id: str,
        nonce: str,
        rows: int,
        created_ms: int,
        expires_ms: int,
        now_ms: int,
        pool: str,
        duplicate_of: str = "",
        embarks: bool = True,
    ) -> bool:
        """Put a provider's batch on record as one of ours; False when it is claimed already.

        ``duplicate_of``: the batch whose attempt has another one. ``embarks``: what it has and nobody else carries comes aboard.
        """
        where = [
            keys.batch(batch_id),
            keys.provider_batch(account, provider_id),
            keys.AGENDA_POLL,
            keys.batch(duplicate_of or batch_id),
        ]
        arguments: list[Argument] = [batch_id, lane, account, provider_id, nonce, rows, created_ms, expires_ms, now_ms]
        arguments += [pool, duplicate_of, int(embarks)]
        return bool(self._connection.call("adopt", where, arguments))

    def embark(
        self, batch: Batch, entries: Sequence[str], *, record: bytes, cut: Sequence[str] = (), last: bool = False
    ) -> int:
        """Let entries ride with an adopted batch unless a batch beyond ``cut`` carries them; returns how many do.

        ``cut``: the lane's batches in that state; one that loses an entry loses its lease too. ``last``: all are aboard.
        """
        waiting = [key for each in cut for key in (keys.batch(each), keys.riders(each))]
        where = [
            keys.batch(batch.id),
            keys.riders(batch.id),
            keys.requests(batch.lane),
            keys.attempts(batch.lane),
            keys.retry(batch.lane),
            keys.walk(batch.lane),
            keys.account_open(batch.account),
            *waiting,
        ]
        ends = keys.riders("").removeprefix(keys.batch(""))
        arguments: list[Argument] = [batch.fence, record, int(last), keys.batch(""), ends, BYTES_PER_TOKEN, *entries]
        return int(self._connection.call("embark", where, arguments))
