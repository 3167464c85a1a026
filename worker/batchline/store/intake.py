"""Requests on their way in: enqueue, look, walk, and the cancel of what is owed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from batchline.errors import StoreError
from batchline.lanes import OpenRange, Trigger
from batchline.requests import Request
from batchline.store import keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import LaneLook, open_range, text

WALK_ENTRIES = 1000
WALK_BYTES = 2_000_000
PAGE = 500


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request: its entry, and whether this call created it (or its id was accepted before)."""

    entry: str
    new: bool


class Intake:
    """The lanes and what producers put into them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def enqueue(self, requests: Sequence[tuple[Request, int]]) -> list[Accepted]:
        """Enqueue requests, each with its id window in ms, in one round trip. Raises StoreFull, StoreError."""
        answers = self._connection.call_many(
            "enqueue", [_enqueue_call(request, window) for request, window in requests]
        )
        return [Accepted(entry=text(entry), new=bool(new)) for entry, new in answers]

    def look(self, cursor: int, *, max_lanes: int, page: int = PAGE) -> LaneLook:
        """Look at one page of the lanes, from the cursor of the page before (0 to begin)."""
        found = self._connection.call("look", [keys.LANES, keys.LANES_ASIDE], [cursor, page, max_lanes])
        return LaneLook(
            cursor=int(found[0]),
            aside=tuple(text(name) for name in found[1]),
            broken=tuple(text(name) for name in found[2]),
            ranges=tuple(open_range(row) for row in found[3]),
        )

    def walk(
        self,
        lane: str,
        *,
        max_requests: int,
        max_bytes: int,
        max_tokens: int | None,
        row_bytes: int,
        bytes_per_token: float,
        now_ms: int,
        most: int = WALK_ENTRIES,
        base: str = "",
    ) -> OpenRange:
        """Advance the lane's open range by at most ``most`` entries and about 2 MB, and list the ledger ``base``, if one is named."""
        limits: list[Argument] = [
            max_requests,
            max_bytes,
            max_tokens or 0,
            row_bytes,
            bytes_per_token,
            most,
            WALK_BYTES,
        ]
        since, last, requests, total, tokens, full, more = self._connection.call(
            "walk", [keys.requests(lane), keys.walk(lane), keys.LEDGERS], [*limits, now_ms, base]
        )
        return OpenRange(
            lane=lane,
            since_ms=int(since or 0),
            last=text(last),
            requests=int(requests),
            bytes=int(total),
            tokens=int(tokens),
            full=msgspec.convert(text(full), Trigger) if full else None,
            unwalked=bool(more),
        )

    def cancel(self, lane: str, entry: str) -> str:
        """Ask to cancel an entry: ``gone``, ``pending`` (settle it now) or ``carried`` (its batch will)."""
        return text(
            self._connection.call(
                "cancel", [keys.requests(lane), keys.walk(lane), keys.retry(lane), keys.cancels(lane)], [entry]
            )
        )

    def cancel_many(self, lane: str, entries: Sequence[str]) -> list[str]:
        """Ask to cancel entries of a lane in one round trip; per entry what ``cancel`` says."""
        where = [keys.requests(lane), keys.walk(lane), keys.retry(lane), keys.cancels(lane)]
        return [text(said) for said in self._connection.call_many("cancel", [(where, [entry]) for entry in entries])]

    def revoke(self, batch_id: str, *, now_ms: int) -> str:
        """Note that a batch is to be cancelled at its provider; returns its state, or ``gone``."""
        where = [keys.batch(batch_id), keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL]
        return text(self._connection.call("revoke", where, [batch_id, now_ms]))

    def entry_by_id(self, lane: str, request_id: str) -> str | None:
        """Return the entry of a request id that the Python client enqueued; None outside its id window."""
        window: bytes | None = self._connection.run("GET", keys.request_id(lane, request_id))
        return text(window).partition(":")[0] if window else None

    def find(self, lane: str, request_id: str | None = None) -> Iterator[list[str]]:
        """Iterate, page by page, over the entries that a lane has now: those of one request id, or all."""
        end = self._last(lane)
        after = "0-0"
        while after:
            arguments: list[Argument] = [request_id or "", after, end, WALK_ENTRIES, WALK_BYTES]
            last, found = self._connection.call("find", [keys.requests(lane)], arguments)
            after = text(last)
            yield [text(entry) for entry in found]

    def _last(self, lane: str) -> str:
        try:
            info = self._connection.run("XINFO STREAM", keys.requests(lane))
        except StoreError as error:
            if "no such key" in str(error):
                return "0-0"
            raise
        return text(info["last-generated-id"])

    def has_lane(self, lane: str) -> bool:
        """Tell whether a producer ever named this lane."""
        known = self._connection.run_many([("SISMEMBER", key, lane) for key in (keys.LANES, keys.LANES_ASIDE)])
        return any(known)

    def lanes(self) -> Iterable[str]:
        """Iterate over the names of all lanes, page by page."""
        cursor = 0
        while True:
            cursor, names = self._connection.run("SSCAN", keys.LANES, cursor, "COUNT", PAGE)
            yield from (text(name) for name in names)
            cursor = int(cursor)
            if cursor == 0:
                return


def _enqueue_call(request: Request, window_ms: int) -> tuple[list[str], list[Argument]]:
    where = [keys.LANES, keys.requests(request.lane), keys.request_id(request.lane, request.id)]
    arguments: list[Argument] = [request.lane, window_ms]
    for name, value in request.fields().items():
        arguments += [name, value]
    return where, arguments
