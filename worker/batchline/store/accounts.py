"""Reading what the store knows of an account: its room, its trouble, and what was counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batchline.store import files, keys
from batchline.store.connection import Connection
from batchline.store.records import text

HOUR_MS = 3_600_000
MOST_FILES = 10_000
"""Most files that are counted: the figure is for people, and a scrape must stay short."""


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the store knows it. Times are unix ms.

    ``batches``, ``requests`` and ``tokens`` (estimated) take up its room; ``creates`` are of the last hour. ``errors`` counts
    the provider calls that failed, by ``call:code``. ``files`` wait to be deleted, ``files_failed`` could not be so far.
    """

    name: str
    batches: int = 0
    requests: int = 0
    tokens: int = 0
    creates: int = 0
    down_until: int = 0
    ambiguous: int = 0
    duplicates: int = 0
    errors: Mapping[str, int] = msgspec.field(default_factory=dict)
    files: int = 0
    files_failed: int = 0


class Accounts:
    """Reads accounts for metrics and status: one round trip for all of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def facts(self, names: Sequence[str], *, now_ms: int) -> list[AccountFacts]:
        """Read what the store knows of these accounts. Raises StoreError."""
        due = _by_account(self._connection.run("ZRANGE", keys.FILES, 0, MOST_FILES - 1))
        failed = _by_account(self._connection.run("HKEYS", keys.FILES_FAILED)[:MOST_FILES]) if due else Counter()
        commands = [command for name in names for command in _commands(name, now_ms)]
        found = self._connection.run_many(commands)
        each = len(commands) // len(names) if names else 1
        return [
            _facts(name, found[at * each : (at + 1) * each], due[name], failed[name]) for at, name in enumerate(names)
        ]


def _commands(name: str, now_ms: int) -> list[tuple[str | int, ...]]:
    return [
        ("HVALS", keys.account_open(name)),
        ("ZCOUNT", keys.account_creates(name), now_ms - HOUR_MS, "+inf"),
        ("HMGET", keys.account(name), "down_until", "ambiguous"),
        ("HLEN", keys.account_duplicates(name)),
        ("HGETALL", keys.account_errors(name)),
    ]


def _facts(name: str, found: list[Any], due: int, failed: int) -> AccountFacts:
    rooms, creates, (down_until, ambiguous), duplicates, errors = found
    taken = [text(room).split(":") for room in rooms]
    return AccountFacts(
        name=name,
        batches=len(taken),
        requests=sum(int(requests) for requests, _ in taken),
        tokens=sum(int(tokens) for _, tokens in taken),
        creates=int(creates),
        down_until=int(down_until or 0),
        ambiguous=int(ambiguous or 0),
        duplicates=int(duplicates),
        errors={text(code): int(n) for code, n in errors.items() if code != b"last"},
        files=due,
        files_failed=failed,
    )


def _by_account(names: Sequence[bytes]) -> Counter[str]:
    return Counter(files.parts(text(name))[0] for name in names)
