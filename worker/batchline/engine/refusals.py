"""When a provider refuses a whole batch: the guilty are settled as rejected, the rest goes again.

Where the provider does not say who is guilty, the batch is halved until the guilty are alone. Nothing was run and
nothing is charged, so no attempt is used up.
"""

from __future__ import annotations

import structlog

from batchline import custom_ids
from batchline.engine import answers
from batchline.engine.context import Context, Target
from batchline.engine.entries import read_envelope
from batchline.errors import Permanent
from batchline.providers.protocol import Refusal, RowRefusal
from batchline.store.records import Batch, Owed

log = structlog.get_logger("batchline.refusals")

PAGE = 500
BUSY_AGAIN_S = 60.0
"""How long a batch waits after its provider said that its queue is full."""
SHARED_FAULTS = frozenset(
    {"model_not_found", "invalid_model", "unsupported_model", "invalid_endpoint", "permission_denied"}
)
"""Refusals of what all rows share (model, endpoint): halving would only ask the same again."""


def refused(context: Context, where: Target, batch: Batch, refusal: Refusal) -> None:
    """Deal with a batch that failed in the provider's validation (state ``submitted``)."""
    log.warning(
        "batch.refused",
        batch=batch.id,
        lane=batch.lane,
        code=refusal.code,
        scope=refusal.scope,
        guilty=len(refusal.rows),
    )
    now_ms = context.clock()
    if refusal.scope == "busy":
        again_ms = now_ms + int(BUSY_AGAIN_S * 1000)
        context.store.batches.again(batch, not_before_ms=again_ms, reason=refusal.code)
    elif refusal.scope == "rows" and _settle_rows(context, where, batch, refusal.rows):
        context.store.batches.again(batch, not_before_ms=now_ms, reason=refusal.code)
    else:
        _settle_alone_or_halve(context, where, batch, code=refusal.code, message=refusal.message)


def refused_at_create(context: Context, where: Target, batch: Batch, error: Permanent) -> None:
    """Deal with a create call that the provider refused (4xx; state ``submitting``): nothing was created."""
    log.warning("batch.refused", batch=batch.id, lane=batch.lane, code=error.code, scope="unknown", guilty=0)
    _settle_alone_or_halve(context, where, batch, code=error.code, message=str(error))


def _settle_rows(context: Context, where: Target, batch: Batch, rows: tuple[RowRefusal, ...]) -> int:
    """Settle the named rows as rejected; returns how many are of this batch's attempt, settled by now or before."""
    parsed = ((custom_ids.parse(row.custom_id), row) for row in rows)
    named = {custom_id.entry_id: row for custom_id, row in parsed if custom_id and custom_id.nonce == batch.nonce}
    for start in range(0, len(named), PAGE):
        page = list(named)[start : start + PAGE]
        owed = [entry for entry in context.store.settling.owed(where.lane.name, page) if entry]
        _reject(context, where, batch, [(entry, named[entry.entry].code, named[entry.entry].message) for entry in owed])
    return len(named)


def _settle_alone_or_halve(context: Context, where: Target, batch: Batch, *, code: str, message: str) -> None:
    guilty = batch.rows <= 1 or code in SHARED_FAULTS
    if guilty:
        for page in context.store.settling.carried(batch):
            _reject(context, where, batch, [(owed, code, message) for owed in page])
    context.store.batches.again(batch, not_before_ms=context.clock(), reason=code or "refused")
    if not guilty:
        halve(context, batch)


def _reject(context: Context, where: Target, batch: Batch, guilty: list[tuple[Owed, str, str]]) -> None:
    now_ms = context.clock()
    settled = [
        answers.rejected(read_envelope(owed, where.lane), batch, code=code, message=message, now_ms=now_ms)
        for owed, code, message in guilty
    ]
    context.store.settling.settle(where.lane, settled, batch=batch, route="batch", now_ms=now_ms)


def halve(context: Context, batch: Batch) -> None:
    """Split a batch in ``cut``: its riders from its range, or what it has of either in the middle."""
    riders, in_range = 0, []
    for page in context.store.settling.carried(batch):
        riders += sum(1 for owed in page if owed.attempts)
        in_range += [owed.entry for owed in page if not owed.attempts]
    at, requests, keep_riders = _middle(batch, riders, in_range)
    context.store.batches.split(
        batch,
        new_id=context.batch_id(),
        at=at,
        requests=requests,
        tokens=batch.tokens * requests // max(len(in_range), 1),
        total_bytes=batch.bytes * requests // max(len(in_range), 1),
        keep_riders=keep_riders,
        not_before_ms=context.clock(),
    )
    log.info("batch.halved", batch=batch.id, lane=batch.lane, kept=requests + keep_riders)


def _middle(batch: Batch, riders: int, in_range: list[str]) -> tuple[str, int, int]:
    """Return what stays with a batch that is halved: the last entry of its range ('' for all of it), how many, and riders."""
    if riders and in_range:
        return batch.after, 0, riders
    if in_range:
        half = max(1, len(in_range) // 2)
        return in_range[half - 1], half, 0
    return "", 0, riders // 2
