"""The tick: walk the lanes, cut what is due and has room, and ring for batches whose time has come."""

from __future__ import annotations

from typing import Protocol

import msgspec
import structlog

from batchline.engine import expiry
from batchline.engine.context import Context, Target, target
from batchline.errors import StoreError, StoreUnreachable
from batchline.lanes import OpenRange, Trigger, due
from batchline.providers.protocol import Limits
from batchline.store import keys

log = structlog.get_logger("batchline.accumulator")

ROW_BYTES = 200
"""What a provider's row adds to its body: custom_id, method and URL."""
BYTES_PER_TOKEN = 4.0
WALKS_PER_TICK = 100
"""At most so many walk calls (of up to 1,000 entries) for one lane in one tick, so that no lane holds up the others."""
FILES_PER_TICK = 10
NO_LIMIT = 10**9
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
    """Look at all lanes in pages, walk those with news, cut what is due; then ring for batches on the agenda."""
    cursor = 0
    while True:
        look = context.store.intake.look(cursor, max_lanes=context.settings.limits.max_lanes)
        for name in look.aside:
            log.warning("lane.set_aside", lane=name, max_lanes=context.settings.limits.max_lanes)
        for name in look.broken:
            log.error("lane.broken", lane=name, reason="its requests key is not a stream")
        for seen in look.ranges:
            _advance_alone(context, doorbells, seen)
        cursor = look.cursor
        if cursor == 0:
            break
    for batch_id in context.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=context.clock()):
        doorbells.submit(batch_id)


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


def _advance_alone(context: Context, doorbells: Doorbells, seen: OpenRange) -> None:
    """Advance a lane so that whatever is wrong with it holds up no other."""
    try:
        _advance(context, doorbells, seen)
    except StoreUnreachable:
        raise
    except StoreError as error:
        log.error("lane.failed", lane=seen.lane, reason=str(error))  # noqa: TRY400 - the reason says it all


def _advance(context: Context, doorbells: Doorbells, seen: OpenRange) -> None:
    """Walk one lane and cut its open range as often as it is due and has room."""
    where = target(context.settings, seen.lane)
    walks = WALKS_PER_TICK
    while walks:
        # Age decides only over what is walked to its end, lest a backlog be cut into pieces of one walk each.
        while seen.unwalked and not seen.full:
            if not walks:
                return
            seen = _walk(context, where, seen)
            walks -= 1
        trigger = _trigger(context, where, seen)
        if trigger is None or not _cut(context, where, doorbells, seen, trigger):
            return
        seen = OpenRange(lane=seen.lane, last=seen.last, unwalked=True)


def _walk(context: Context, where: Target, seen: OpenRange) -> OpenRange:
    flush = context.settings.flush_for(seen.lane)
    limits = where.facts.limits if where.facts else Limits(max_requests=NO_LIMIT, max_bytes=NO_LIMIT)
    walked = context.store.intake.walk(
        seen.lane,
        max_requests=min(flush.max_requests, limits.max_requests),
        max_bytes=min(flush.max_bytes, limits.max_bytes),
        max_tokens=flush.max_tokens,
        row_bytes=ROW_BYTES,
        bytes_per_token=BYTES_PER_TOKEN,
        now_ms=context.clock(),
        base=where.lane.base,
    )
    return msgspec.structs.replace(walked, retry_ms=seen.retry_ms)


def _trigger(context: Context, where: Target, seen: OpenRange) -> Trigger | None:
    # Requests that can go nowhere wait for nothing: they are answered at the next tick.
    max_age_s = context.settings.flush_for(seen.lane).max_age if where.account else 0.0
    return due(seen, max_age_s=max_age_s, now_ms=context.clock())


def _cut(context: Context, where: Target, doorbells: Doorbells, seen: OpenRange, trigger: Trigger) -> bool:
    now_ms = context.clock()
    account = where.account
    batch_id = context.batch_id()
    starved = seen.full is not None and seen.retry_ms is not None and seen.retry_ms + RETRY_WAITS_MS <= now_ms
    answer = context.store.batches.cut(
        where.lane,
        seen,
        trigger,
        batch_id=batch_id,
        now_ms=now_ms,
        max_open=account.max_open_batches if account else NO_LIMIT,
        max_creates=(account.creates_per_hour if account else None) or NO_LIMIT,
        riders_only=starved,
    )
    if answer != "cut":
        log.debug("lane.not_cut", lane=seen.lane, reason=answer, requests=seen.requests)
        return False
    log.info(
        "batch.cut",
        batch=batch_id,
        lane=seen.lane,
        trigger=trigger,
        requests=0 if starved else seen.requests,
        bytes=seen.bytes,
        tokens=seen.tokens,
    )
    doorbells.submit(batch_id)
    return True
