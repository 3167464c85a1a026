"""The tick: walk the lanes, cut what is due and has room, and ring for batches whose time has come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import msgspec
import structlog

from batchline.budgets import BYTES_PER_TOKEN, NO_LIMIT, lower_of, most_in_range
from batchline.engine import expiry, turns
from batchline.engine.context import Context, target
from batchline.engine.turns import Line
from batchline.lanes import OpenRange, due
from batchline.providers.protocol import Limits
from batchline.store import keys
from batchline.store.records import CutAnswer

log = structlog.get_logger("batchline.accumulator")

ROW_BYTES = 200
"""What a provider's row adds to its body: custom_id, method and URL."""
WALKS_PER_TICK = 100
"""At most so many walk calls (of up to 1,000 entries) for one lane in one tick, so that no lane holds up the others."""
FILES_PER_TICK = 10
RETRY_WAITS_MS = 60_000
"""A retry that waited so long for room in full ranges goes in a batch of riders alone."""


class Doorbells(Protocol):
    """How the tick says that there is work; a doorbell may be lost or ring twice."""

    def submit(self, batch_id: str) -> None:
        """A batch waits to be brought on towards its provider."""

    def poll(self, batch_id: str) -> None:
        """A batch is due to be polled or settled."""

    def file(self, file: str) -> None:
        """A provider's file (``account|file``) is due to be deleted."""

    def audit(self, account: str) -> None:
        """An account is due to be audited for batches that nobody knows."""


def tick_accumulate(context: Context, doorbells: Doorbells) -> None:
    """Ring for batches on the agenda; then look at all lanes in pages, walk those with news, let those that are due take turns.

    What waits comes before what is new: a place that became free is not taken by the next batch of the largest backlog.
    """
    for batch_id in context.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=context.clock()):
        doorbells.submit(batch_id)
    turns.take(
        list(_lines(context)), partial(_cut, context, doorbells), partial(_goes_on, context), now_ms=context.clock()
    )


def tick_poll(context: Context, doorbells: Doorbells) -> None:
    """Ring for batches that are due to be polled or settled, and for files that nobody needs any more; let replies expire."""
    for batch_id in context.store.batches.ring(keys.AGENDA_POLL, now_ms=context.clock()):
        doorbells.poll(batch_id)
    for file in context.store.files.ring(now_ms=context.clock(), most=FILES_PER_TICK):
        doorbells.file(file)
    for account in context.store.orphans.accounts():
        if context.store.orphans.take_turn(
            account, holder=context.holder(), seconds=context.settings.reconcile.audit_every
        ):
            doorbells.audit(account)
    expiry.expire(context)


def _look(context: Context) -> Iterator[OpenRange]:
    cursor = 0
    while True:
        look = context.store.intake.look(cursor, max_lanes=context.settings.limits.max_lanes)
        for name in look.aside:
            log.warning("lane.set_aside", lane=name, max_lanes=context.settings.limits.max_lanes)
        for name in look.broken:
            log.error("lane.broken", lane=name, reason="its requests key is not a stream")
        yield from look.ranges
        cursor = look.cursor
        if cursor == 0:
            return


def _lines(context: Context) -> Iterator[Line]:
    """Walk every lane that has something to walk, and yield those that are due for a cut."""
    believed = context.store.accounts.believed(list(context.settings.accounts), now_ms=context.clock())
    for seen in _look(context):
        where = target(context.settings, seen.lane)
        limits = believed.get((where.lane.account, where.pool.name), where.pool)
        line = Line(where=where, seen=seen, limits=lower_of(where.pool, limits), walks=WALKS_PER_TICK, trigger="age")
        if turns.alone(seen.lane, partial(_is_due, context, line)):
            yield line


def _is_due(context: Context, line: Line) -> bool:
    """Walk a lane as far as this tick allows; whether its open range is due then."""
    # Age decides only over what is walked to its end, lest a backlog be cut into pieces of one walk each.
    while line.seen.unwalked and not line.seen.full:
        if not line.walks:
            return False
        line.seen = _walk(context, line)
        line.walks -= 1
    # Requests that can go nowhere wait for nothing: they are answered at the next tick.
    max_age_s = context.settings.flush_for(line.seen.lane).max_age if line.where.account else 0.0
    trigger = due(line.seen, max_age_s=max_age_s, now_ms=context.clock())
    line.trigger = trigger or line.trigger
    return trigger is not None


def _walk(context: Context, line: Line) -> OpenRange:
    flush, seen = context.settings.flush_for(line.seen.lane), line.seen
    limits = line.where.facts.limits if line.where.facts else Limits(max_requests=NO_LIMIT, max_bytes=NO_LIMIT)
    max_tokens, max_requests = most_in_range(line.limits.tokens), most_in_range(line.limits.requests)
    walked = context.store.intake.walk(
        seen.lane,
        max_requests=min(flush.max_requests, limits.max_requests, max_requests or NO_LIMIT),
        max_bytes=min(flush.max_bytes, limits.max_bytes),
        max_tokens=min(flush.max_tokens or NO_LIMIT, max_tokens or NO_LIMIT),
        row_bytes=ROW_BYTES,
        bytes_per_token=BYTES_PER_TOKEN,
        now_ms=context.clock(),
        base=line.where.lane.base,
    )
    return msgspec.structs.replace(walked, retry_ms=seen.retry_ms, cut_ms=seen.cut_ms)


def _cut(context: Context, doorbells: Doorbells, line: Line, squeeze: bool) -> CutAnswer:
    now_ms, seen, where = context.clock(), line.seen, line.where
    batch_id = context.batch_id()
    starved = seen.full is not None and seen.retry_ms is not None and seen.retry_ms + RETRY_WAITS_MS <= now_ms
    answer = context.store.batches.cut(
        where.lane,
        seen,
        line.trigger,
        batch_id=batch_id,
        now_ms=now_ms,
        max_open=where.account.max_open_batches if where.account else NO_LIMIT,
        max_creates=(where.account.creates_per_hour if where.account else None) or NO_LIMIT,
        pool=where.pool,
        squeeze=squeeze,
        riders_only=starved,
    )
    if answer == "cut":
        log.info(
            "batch.cut",
            batch=batch_id,
            lane=seen.lane,
            trigger=line.trigger,
            requests=0 if starved else seen.requests,
            bytes=seen.bytes,
            tokens=seen.tokens,
        )
        doorbells.submit(batch_id)
    return answer


def _goes_on(context: Context, line: Line) -> bool:
    """Look at what follows a range that was cut; whether it is due as well."""
    line.seen = OpenRange(lane=line.seen.lane, last=line.seen.last, cut_ms=context.clock(), unwalked=True)
    return _is_due(context, line)
