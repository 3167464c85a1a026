"""Reading what is owed and answering it: the scripts behind rendering, settling and retrying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from batchline.lanes import Lane
from batchline.requests import Cost, Route, Status, Usage
from batchline.store import days, keys
from batchline.store.batches import UNUSED, sweep_entries
from batchline.store.connection import Argument, Connection
from batchline.store.records import Batch, Owed, owed_record, text

BUCKETS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 28800, 43200, 64800, 86400, 90000)
"""Upper bounds of the ledger's time histograms, seconds; what is slower goes to one more bucket."""


SOME = 500


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reply goes: a list or a stream by key, and the request's default list if that key has another type."""

    kind: Literal["list", "stream"]
    key: str
    default: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One request's end, ready to be settled. ``own``: only if the batch that reports it carries the entry (failures).

    ``dead`` is the attempts record (JSON) of a request given up on: it leaves a dead letter.
    """

    entry: str
    request_id: str
    queue: Queue
    status: Status
    reply: bytes
    own: bool
    usage: Usage
    cost: Cost | None
    unpriced: bool = False
    deadline_ms: int | None = None
    dead: bytes = b""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that goes to the retry pool: its attempts record (JSON), when it may go again, and why."""

    entry: str
    record: bytes
    not_before_ms: int
    reason: str


class Settling:
    """The scripts that read owed entries and answer them. Methods that take a batch may raise LeaseLost."""

    def __init__(self, connection: Connection, *, lease_s: float, reply_ttl_s: float, ledger_kept_s: float) -> None:
        self._connection = connection
        self._lease_ms = int(lease_s * 1000)
        self._reply_ttl_s = int(reply_ttl_s)
        self._ledger_kept_s = int(ledger_kept_s)

    def cancels(self, lane: str) -> Iterator[list[str]]:
        """Iterate, page by page, over the lane's entries that are carried and asked to be cancelled."""
        cursor = None
        while cursor != 0:
            cursor, found = self._connection.run("SSCAN", keys.cancels(lane), cursor or 0, "COUNT", SOME)
            cursor = int(cursor)
            yield [text(entry) for entry in found]

    def owed(self, lane: str, entries: Sequence[str], *, bodies: bool = False) -> list[Owed | None]:
        """Read entries by id; None for one that was answered already."""
        where = [keys.requests(lane), keys.attempts(lane), keys.cancels(lane)]
        rows = self._connection.call("owed", where, ["body" if bodies else "", *entries])
        return [owed_record(row) if row else None for row in rows]

    def carried(self, batch: Batch, *, bodies: bool = False) -> Iterator[list[Owed]]:
        """Read what a batch still carries, in pages of bounded size: riders first, then its range, in order."""
        for page in self._rider_pages(batch):
            found = self.owed(batch.lane, page, bodies=bodies)
            gone = [entry for entry, owed in zip(page, found, strict=True) if owed is None]
            if gone:
                # Answered by another batch meanwhile. A split counts riders, so none may stay that is not rendered.
                self._connection.run("ZREM", keys.riders(batch.id), *gone)
            yield [owed for owed in found if owed]
        where = [keys.batch(batch.id), keys.requests(batch.lane), keys.attempts(batch.lane), keys.cancels(batch.lane)]
        after = ""
        while True:
            arguments: list[Argument] = ["body" if bodies else "", after, sweep_entries(batch)]
            last, rows = self._connection.call("carried", where, arguments)
            yield [owed_record(row) for row in rows]
            after = text(last)
            if not after:
                return

    def _rider_pages(self, batch: Batch) -> Iterator[list[str]]:
        start, most = "-", sweep_entries(batch)
        while True:
            page = [
                text(entry)
                for entry in self._connection.run(
                    "ZRANGE", keys.riders(batch.id), start, "+", "BYLEX", "LIMIT", 0, most
                )
            ]
            if page:
                yield page
            if len(page) < most:
                return
            start = f"({page[-1]}"

    def settle(
        self, lane: Lane, answers: Sequence[Answer], *, batch: Batch | None, route: Route, now_ms: int
    ) -> list[int]:
        """Answer requests; per answer 1 delivered, 2 at the default queue, 3 undelivered, 0 skipped."""
        if not answers:
            return []
        where = [
            keys.batch(batch.id) if batch else UNUSED,
            keys.riders(batch.id) if batch else UNUSED,
            keys.requests(lane.name),
            keys.attempts(lane.name),
            keys.retry(lane.name),
            keys.cancels(lane.name),
            keys.walk(lane.name),
            keys.ledger(lane.base),
            keys.LEDGERS,
            keys.UNDELIVERED,
            keys.dead(lane.name),
            keys.DEAD,
            keys.day(day := days.name(lane, now_ms)),
            keys.DAYS,
            keys.UNREAD,
        ]
        arguments: list[Argument] = [
            batch.fence if batch else "",
            now_ms,
            self._reply_ttl_s,
            lane.base,
            route,
            ",".join(str(bound) for bound in BUCKETS_S),
            self._lease_ms,
            lane.name,
            day,
            self._ledger_kept_s,
        ]
        for answer in answers:
            arguments += _answer_arguments(lane.name, answer)
        return [int(code) for code in self._connection.call("settle", where, arguments)]

    def waiting(self, queues: Sequence[Queue]) -> list[int]:
        """Return how many replies wait in each callback queue."""
        return [int(n) for n in self._connection.call_many("length", [([each.key], [each.kind]) for each in queues])]

    def retry(self, lane: Lane, retries: Sequence[Retry], *, batch: Batch) -> int:
        """Put carried entries into the retry pool; returns how many were not skipped."""
        if not retries:
            return 0
        where = [
            keys.batch(batch.id),
            keys.riders(batch.id),
            keys.requests(lane.name),
            keys.attempts(lane.name),
            keys.retry(lane.name),
            keys.ledger(lane.base),
        ]
        arguments: list[Argument] = [batch.fence, self._lease_ms]
        for item in retries:
            arguments += [item.entry, item.record, item.not_before_ms, item.reason]
        return sum(int(code) for code in self._connection.call("retry", where, arguments))


def _answer_arguments(lane: str, answer: Answer) -> list[Argument]:
    usage, cost = answer.usage, answer.cost or Cost(list_nano=0, paid_nano=0)
    return [
        answer.entry,
        keys.request_id(lane, answer.request_id),
        answer.queue.kind,
        answer.queue.key,
        answer.queue.default,
        answer.status,
        answer.reply,
        int(answer.own),
        max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens),
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        cost.list_nano,
        cost.paid_nano,
        cost.saved_nano,
        int(answer.unpriced),
        "" if answer.deadline_ms is None else answer.deadline_ms,
        answer.dead,
        cost.cache_saved_nano,
        cost.cache_extra_nano,
    ]
