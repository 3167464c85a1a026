"""What the store knows of an account: its room, its trouble, and what was counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from batchline.budgets import PARTS, SLIVER, Pool, Room, Short, Unit, lower_of
from batchline.store import files, keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import Batch, Outage, flat, outage_record, pairs, text

HOUR_MS = 3_600_000
CREATES = "creates"
"""Field of an account's believed limits: until when (unix ms) nothing is to be created."""
DEFERRED_KEPT_MS = 24 * HOUR_MS
"""How long that is kept, and at least what else is believed of the account."""
MOST_FILES = 10_000
"""Most files that are counted: the figure is for people, and a scrape must stay short."""
STORAGE = ("storage_files", "storage_bytes", "storage_ours", "storage_our_bytes", "storage_ms")
"""Fields of an account's hash, in the order of ``StorageFacts``."""


class PoolUse(msgspec.Struct, frozen=True, kw_only=True):
    """What of a budget is in use, waiting batches included, and what is believed to be its limit until then (unix ms)."""

    tokens: int = 0
    requests: int = 0
    believed: Pool | None = None
    believed_until: int = 0


class StorageFacts(msgspec.Struct, frozen=True):
    """The files at an account's provider and their bytes, how many of both are ours, and when they were added up (unix ms)."""

    files: int
    bytes: int
    ours: int
    our_bytes: int
    at_ms: int


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the store knows it. Times are unix ms.

    ``batches`` are at its provider. ``requests`` and ``tokens`` (estimated) take up its room, also by pool, those of batches that
    wait included; ``creates`` are of the last hour. ``errors`` counts
    the provider calls that failed, by ``call:code``. ``files`` wait to be deleted, ``files_failed`` could not be so far.
    ``storage`` is None until the files at the provider were added up.
    """

    name: str
    batches: int = 0
    requests: int = 0
    tokens: int = 0
    pools: Mapping[str, PoolUse] = msgspec.field(default_factory=dict)
    creates: int = 0
    down_until: int = 0
    ambiguous: int = 0
    duplicates: int = 0
    errors: Mapping[str, int] = msgspec.field(default_factory=dict)
    files: int = 0
    files_failed: int = 0
    storage: StorageFacts | None = None


class Accounts:
    """Accounts: the room of their budgets, their trouble, and the figures for metrics and status in one round trip for all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def believed(self, names: Sequence[str], *, now_ms: int) -> dict[tuple[str, str], Pool]:
        """Read what providers seem to take for a while, by account and pool."""
        found = self._connection.run_many([("HGETALL", keys.account_believed(name)) for name in names])
        known = {name: _believed(believed, now_ms) for name, believed in zip(names, found, strict=True)}
        return {(name, pool): limits for name, pools in known.items() for pool, limits in pools.items()}

    def facts(self, names: Sequence[str], *, now_ms: int) -> list[AccountFacts]:
        """Read what the store knows of these accounts. Raises StoreError."""
        due = _by_account(self._connection.run("ZRANGE", keys.FILES, 0, MOST_FILES - 1))
        failed = _by_account(self._connection.run("HKEYS", keys.FILES_FAILED)[:MOST_FILES]) if due else Counter()
        commands = [command for name in names for command in _commands(name, now_ms)]
        found = self._connection.run_many(commands)
        each = len(commands) // len(names) if names else 1
        return [
            _facts(name, found[at * each : (at + 1) * each], due[name], failed[name], now_ms)
            for at, name in enumerate(names)
        ]

    def room(self, batch: Batch, pool: Pool, *, now_ms: int, max_open: int, max_creates: int) -> Room:
        """Ask whether a batch in ``cut`` may be sent as far as its account's room goes; where not, it keeps what it wants.

        Raises LeaseLost.
        """
        where = [keys.batch(batch.id), keys.account_open(batch.account), keys.account_believed(batch.account)]
        where.append(keys.account_creates(batch.account))
        arguments: list[Argument] = [batch.fence, batch.id, pool.name, pool.tokens or 0, pool.requests or 0, now_ms]
        arguments += [SLIVER, PARTS, max_open, max_creates, pool.rules]
        short, tokens, requests = self._connection.call("room", where, arguments)
        limits = Pool(name=pool.name, tokens=int(tokens) or None, requests=int(requests) or None)
        return Room(limits=limits, short=cast("Short", text(short)))

    def lower(
        self,
        batch: Batch,
        pool: Pool,
        *,
        tokens: int,
        requests: int,
        unit: Unit,
        told: int | None,
        least: int,
        now_ms: int,
        told_for_s: float,
        guess_for_s: float,
    ) -> int:
        """Believe for a while that the provider takes less than was thought; returns how much, 0 if nothing was learned.

        ``told`` is what the provider named, ``least`` the least that may be guessed without that.
        """
        where = [keys.account_open(batch.account), keys.account_believed(batch.account)]
        arguments: list[Argument] = [pool.name, batch.id, tokens, requests, unit, told or 0]
        arguments += [now_ms, int(told_for_s * 1000), int(guess_for_s * 1000), least, pool.rules]
        return int(self._connection.call("lower", where, arguments))

    def defer(self, account: str, *, until_ms: int) -> None:
        """Note until when nothing is to be created on an account: its provider took too many creates already."""
        self._connection.call("defer", [keys.account_believed(account)], [until_ms, CREATES, DEFERRED_KEPT_MS])

    def count_duplicate(self, account: str, provider_id: str, *, now_ms: int) -> bool:
        """Count a second provider batch for one attempt of ours; False when it was counted before."""
        return bool(self._connection.call("duplicate", [keys.account_duplicates(account)], [provider_id, now_ms]))

    def count_error(self, account: str, call: str, code: str, *, token: str) -> None:
        """Count a provider call that failed; ``token`` is this one failure's, so that a repeat is not counted."""
        self._connection.call("erred", [keys.account_errors(account)], [f"{call}:{code}", token])

    def note_outage(
        self,
        account: str,
        *,
        now_ms: int,
        min_s: float,
        max_s: float,
        asked_s: float | None,
        call: str,
        code: str,
        message: str,
    ) -> int:
        """Note provider trouble; returns until when (ms) the account is down."""
        arguments: list[Argument] = [
            now_ms,
            int(min_s * 1000),
            int(max_s * 1000),
            int((asked_s or 0) * 1000),
            call,
            code,
            message[:300],
        ]
        return int(self._connection.call("outage", [keys.account(account)], arguments))

    def clear_outage(self, account: str) -> None:
        """Note that the account's provider answers again."""
        self._connection.run(
            "HDEL", keys.account(account), "down_until", "since", "failures", "call", "code", "message"
        )

    def note_storage(self, account: str, found: StorageFacts | None) -> None:
        """Note what files an account has at its provider; None: its provider has none."""
        if found is None:
            self._connection.run("HDEL", keys.account(account), *STORAGE)
        else:
            noted = [part for pair in zip(STORAGE, msgspec.structs.astuple(found), strict=True) for part in pair]
            self._connection.run("HSET", keys.account(account), *noted)

    def outage(self, account: str) -> Outage:
        """Read an account's trouble."""
        return outage_record(account, pairs(flat(self._connection.run("HGETALL", keys.account(account)))))


def _believed(lowered: Mapping[bytes, bytes], now_ms: int) -> dict[str, Pool]:
    """Return what is still believed of each pool: the lower of what was named and what was guessed."""
    pools: dict[str, Pool] = {}
    for limits, _ in _lowered(lowered, now_ms):
        pools[limits.name] = lower_of(pools.get(limits.name, limits), limits)
    return pools


def _believed_until(lowered: Mapping[bytes, bytes], now_ms: int) -> dict[str, int]:
    """Return until when (unix ms) the limit that is believed of each pool holds: then it is a higher one."""
    believed = _believed(lowered, now_ms)
    until: dict[str, int] = {}
    for limits, until_ms in _lowered(lowered, now_ms):
        if limits == believed[limits.name]:
            until[limits.name] = max(until.get(limits.name, 0), until_ms)
    return until


def _lowered(lowered: Mapping[bytes, bytes], now_ms: int) -> Iterator[tuple[Pool, int]]:
    for field, raw in lowered.items():
        if text(field) == CREATES:
            continue
        tokens, requests, until_ms = map(int, raw.split(b":"))
        if until_ms > now_ms:
            name = text(field).partition("|")[2]
            yield Pool(name=name, tokens=tokens or None, requests=requests or None), until_ms


def _commands(name: str, now_ms: int) -> list[tuple[str | int, ...]]:
    return [
        ("HVALS", keys.account_open(name)),
        ("ZCOUNT", keys.account_creates(name), now_ms - HOUR_MS, "+inf"),
        ("HMGET", keys.account(name), "down_until", "ambiguous", *STORAGE),
        ("HLEN", keys.account_duplicates(name)),
        ("HGETALL", keys.account_errors(name)),
        ("HGETALL", keys.account_believed(name)),
    ]


def _facts(name: str, found: list[Any], due: int, failed: int, now_ms: int) -> AccountFacts:
    rooms, creates, (down_until, ambiguous, *storage), duplicates, errors, lowered = found
    taken = [_room(raw) for raw in rooms]
    return AccountFacts(
        name=name,
        batches=sum(room.sent for room in taken),
        requests=sum(room.requests for room in taken),
        tokens=sum(room.tokens for room in taken),
        pools=_pools(taken, lowered, now_ms),
        creates=int(creates),
        down_until=int(down_until or 0),
        ambiguous=int(ambiguous or 0),
        duplicates=int(duplicates),
        errors={text(code): int(n) for code, n in errors.items() if code != b"last"},
        files=due,
        files_failed=failed,
        storage=StorageFacts(*map(int, storage)) if all(storage) else None,
    )


class _Room(msgspec.Struct, frozen=True):
    requests: int
    tokens: int
    sent: bool
    pool: str


def _room(raw: bytes) -> _Room:
    requests, tokens, sent, place = text(raw).split(":", 3)
    return _Room(int(requests), int(tokens), sent == "1", place.split("|", 1)[0])


def _pools(taken: list[_Room], lowered: Mapping[bytes, bytes], now_ms: int) -> dict[str, PoolUse]:
    believed, until = _believed(lowered, now_ms), _believed_until(lowered, now_ms)
    return {
        name: PoolUse(
            tokens=sum(room.tokens for room in taken if room.pool == name),
            requests=sum(room.requests for room in taken if room.pool == name),
            believed=believed.get(name),
            believed_until=until.get(name, 0),
        )
        for name in {room.pool for room in taken} | believed.keys()
    }


def _by_account(names: Sequence[bytes]) -> Counter[str]:
    return Counter(files.parts(text(name))[0] for name in names)
