"""The progress of a batch at its provider: put on record when it changes, reported when it does not for too long."""

from __future__ import annotations

import structlog

from batchline.engine import orphans
from batchline.engine.context import Context
from batchline.providers.protocol import Progress, Provider
from batchline.store.records import Batch

log = structlog.get_logger("batchline.stuck")


def follow(context: Context, batch: Batch, provider: Provider, progress: Progress) -> None:
    """Note the progress of a running batch. One that is stuck is reported at each poll, and cancelled where that is set.

    What may be somebody else's (`orphans.may_be_theirs`) is reported and never cancelled. A cancelled batch ends like any
    other: what it has is settled, the rest goes again. Raises ProviderError, LeaseLost.
    """
    now_ms = context.clock()
    if (progress.done, progress.status) != (batch.done, batch.status):
        context.store.batches.note(batch, done=progress.done, status=progress.status, progress_ms=now_ms, stuck_since=0)
        return
    # A batch that goes again keeps the notes of its attempt before.
    since_ms = max(batch.progress_ms, batch.submitted_ms)
    stuck = context.settings.stuck
    if now_ms - since_ms < stuck.after * 1000:
        return
    if batch.stuck_since != since_ms:
        context.store.batches.note(batch, stuck_since=since_ms)
    log.error(
        "batch.stuck",
        batch=batch.id,
        lane=batch.lane,
        provider_batch=batch.provider_id,
        status=progress.status,
        done=progress.done,
        total=progress.total,
        for_s=(now_ms - since_ms) // 1000,
        action=stuck.action,
    )
    if stuck.action == "cancel" and not orphans.may_be_theirs(batch):
        provider.cancel(batch.provider_id)
