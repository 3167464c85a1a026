"""Removing what is kept without end, or longer than somebody wants: always a page at a time, and only when asked to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchline.store import keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import text

LANES_PAGE = 100
PAGE = 500
MOST_OPEN = 10_000
"""With more open batches than this no lane is pruned: each call looks at all of them."""
REPLIES = 100
BYTES = 2_000_000


class Pruning:
    """What `batchline prune` does to the store. Nothing here holds a lease: each script looks for itself, and removes at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lanes(self) -> Iterator[list[str]]:
        """Iterate, page by page, over all lanes, those set aside too; they may be removed meanwhile."""
        for key in (keys.LANES, keys.LANES_ASIDE):
            cursor = 0
            while True:
                cursor, names = self._connection.run("SSCAN", key, cursor, "COUNT", LANES_PAGE)
                yield [text(name) for name in names]
                cursor = int(cursor)
                if cursor == 0:
                    break

    def prune(self, lanes: Sequence[tuple[str, str]], *, idle_before_ms: int, now_ms: int, really: bool) -> list[str]:
        """Remove lanes (name, and the name of its ledger) that nobody can need; for each ``pruned``, or why it is kept.

        ``owed``, ``recent``, ``open``, ``traces``, ``dead``, ``batch``, ``busy``, ``broken``, ``gone``: see the script. Unless ``really``,
        ``pruned`` says what would be done.
        """
        where = [keys.LANES, keys.LANES_ASIDE, keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL, keys.LEDGERS]
        arguments: list[Argument] = [idle_before_ms, now_ms, "1" if really else "", MOST_OPEN]
        arguments += [keys.ledger(""), keys.batch("")]
        words: list[str] = []
        for at in range(0, len(lanes), LANES_PAGE):
            page = [part for lane in lanes[at : at + LANES_PAGE] for part in lane]
            words += [text(word) for word in self._connection.call("prune", where, [*arguments, *page])]
        return words

    def strays(self) -> Iterator[list[str]]:
        """Iterate over lanes that have a stream and stand in neither set of lanes: nobody works on them."""
        cursor, ends = 0, keys.requests("").partition("}")
        begins = ends[0]
        end = "".join(ends[1:])
        while True:
            cursor, found = self._connection.run(
                "SCAN", cursor, "MATCH", keys.requests("*"), "COUNT", PAGE, "TYPE", "stream"
            )
            names = [text(key).removeprefix(begins).removesuffix(end) for key in found]
            sets = [(each, name) for name in names for each in (keys.LANES, keys.LANES_ASIDE)]
            known = self._connection.run_many([("SISMEMBER", *each) for each in sets])
            yield [name for at, name in enumerate(names) if not any(known[2 * at : 2 * at + 2])]
            cursor = int(cursor)
            if cursor == 0:
                return

    def take_in(self, lanes: Sequence[str]) -> int:
        """Put lanes into the set of lanes; returns how many were not there."""
        return int(self._connection.run("SADD", keys.LANES, *lanes)) if lanes else 0

    def count_dead(self, *, before_ms: int) -> int:
        """Return how many requests were given up on before then and are still kept."""
        return int(self._connection.run("ZCOUNT", keys.DEAD, "-inf", f"({before_ms}"))

    def count_days(self, *, before_ms: int) -> int:
        """Return how many ledgers there are of days that began before then."""
        return int(self._connection.run("ZCOUNT", keys.DAYS, "-inf", f"({before_ms}"))

    def drop_days(self, *, before_ms: int) -> int:
        """Delete the ledgers of days that began before then; returns how many."""
        dropped = 0
        while True:
            bounds = ("-inf", f"({before_ms}", "BYSCORE", "LIMIT", 0, PAGE)
            names = [text(name) for name in self._connection.run("ZRANGE", keys.DAYS, *bounds)]
            if not names:
                return dropped
            # The name goes last: whoever dies in between leaves a name without a ledger, which is read as nothing.
            self._connection.run_many([("UNLINK", *(keys.day(name) for name in names)), ("ZREM", keys.DAYS, *names)])
            dropped += len(names)

    def discard(self, *, before_ms: int, really: bool) -> int:
        """Remove the undelivered replies to requests settled before then; returns how many, or how many it would be."""
        found = 0
        while True:
            arguments: list[Argument] = [before_ms, REPLIES, BYTES, "1" if really else "", 0 if really else found]
            count, more = self._connection.call("discard", [keys.UNDELIVERED], arguments)
            found += int(count)
            if not int(more):
                return found
