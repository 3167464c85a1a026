"""After an ambiguous create: find the batch at the provider, or show that it is not there."""

from __future__ import annotations

import structlog

from batchline.engine import transitions
from batchline.engine.context import Context, Target
from batchline.errors import ProviderError
from batchline.providers.protocol import Created, Found, Job
from batchline.store.records import Batch

log = structlog.get_logger("batchline.reconciler")

LOOK_AGAIN_S = 15.0
LISTING_LAG_S = 60.0
"""How long a provider's list may lag behind its creates; nothing is absent before that has passed."""


def reconcile(context: Context, where: Target, batch: Batch) -> None:
    """Look for a batch's attempt at the provider: adopt it, send it again if it is absent, or look again later."""
    if where.problem:
        transitions.held(batch, where)
        context.store.batches.ambiguous(batch, look_ms=context.clock() + int(LISTING_LAG_S * 1000))
        return
    provider = context.provider(batch.account)
    try:
        found = provider.find(_job(where, batch))
    except ProviderError as error:
        until = transitions.trouble(context, batch, error)
        context.store.batches.ambiguous(batch, look_ms=until)
        return
    found = _unclaimed(context, batch, found)
    chosen = _choose(where, found)
    if chosen is not None:
        transitions.submitted(context, batch, chosen, rows=batch.rows, how="adopted")
    elif not found.candidates and context.clock() >= absent_from_ms(batch):
        log.warning("batch.absent", batch=batch.id, lane=batch.lane, attempt=batch.nonce)
        context.store.batches.again(batch, not_before_ms=context.clock(), reason="absent")
    else:
        context.store.batches.ambiguous(batch, look_ms=context.clock() + int(LOOK_AGAIN_S * 1000))


def absent_from_ms(batch: Batch) -> int:
    """Return from when (unix ms) a batch that is not in the list is not there: no call runs and no list lags any more."""
    return batch.call_until + int(LISTING_LAG_S * 1000)


def _unclaimed(context: Context, batch: Batch, found: Found) -> Found:
    """Leave out what another batch of ours has claimed: it is no candidate, and does not speak against absence."""
    taken = context.store.batches.claimed_by_others(batch, [each.provider_id for each in found.candidates])
    return Found(proven=found.proven, candidates=tuple(c for c in found.candidates if c.provider_id not in taken))


def _choose(where: Target, found: Found) -> Created | None:
    """Return the batch to adopt: the oldest with proof, or a lone candidate where the account's settings allow it."""
    if found.proven:
        return min(found.proven, key=lambda created: created.created_ms)
    account, _, _ = where.ready
    if len(found.candidates) == 1 and account.on_ambiguous == "adopt":
        return found.candidates[0]
    return None


def _job(where: Target, batch: Batch) -> Job:
    lane = where.lane
    return Job(
        batch_id=batch.id,
        nonce=batch.nonce,
        endpoint=lane.endpoint,
        model=lane.model,
        rows=batch.rows,
        intent_ms=batch.intent_ms,
        beta=lane.beta,
        input_ref=batch.input_ref or None,
    )
