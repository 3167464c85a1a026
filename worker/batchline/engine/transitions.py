"""Transitions of a batch that more than one step makes, each with its log event."""

from __future__ import annotations

import structlog

from batchline.budgets import NOTHING_OBSERVED, Observed, observed
from batchline.engine.context import Context, Target
from batchline.errors import ProviderError
from batchline.lanes import next_poll_s
from batchline.providers.protocol import PROGRESS, Created
from batchline.requests import usd
from batchline.store.ledger import size_bucket, time_bucket
from batchline.store.records import Batch

log = structlog.get_logger("batchline.batches")

OUTAGE_MIN_S = 5.0
OUTAGE_MAX_S = 300.0
"""Longest wait before a provider that fails is asked again, also where it asks for more (Retry-After)."""
FIRST_LOOK_S = 5.0
"""How soon after an ambiguous create the provider is asked for the first time."""


def ambiguous(context: Context, batch: Batch, *, reason: str) -> None:
    """Note that a create may have happened; the reconciler looks soon."""
    context.store.batches.ambiguous(batch, look_ms=context.clock() + int(FIRST_LOOK_S * 1000))
    log.warning("batch.ambiguous", batch=batch.id, lane=batch.lane, reason=reason)


def submitted(
    context: Context,
    batch: Batch,
    created: Created,
    *,
    rows: int,
    how: str,
    proven: bool = True,
    forgotten: tuple[str, int] | None = None,
) -> None:
    """Put on record which provider batch is ours; ``how`` is ``created`` or ``adopted``, ``proven`` whether that is certain."""
    now_ms = context.clock()
    poll = context.settings.poll
    first_poll_s = next_poll_s(0, min_interval_s=poll.min_interval, max_interval_s=poll.max_interval)
    ours = context.store.batches.submitted(
        batch,
        provider_id=created.provider_id,
        submitted_ms=created.created_ms if how == "adopted" and created.created_ms else now_ms,
        expires_ms=created.expires_ms,
        first_poll_ms=now_ms + int(first_poll_s * 1000),
        proven=proven,
        forgotten=forgotten,
    )
    if not ours:
        ambiguous(context, batch, reason=f"provider batch {created.provider_id} belongs to another batch of ours")
        return
    context.store.accounts.clear_outage(batch.account)
    log.info(
        "batch.submitted",
        batch=batch.id,
        lane=batch.lane,
        provider_batch=created.provider_id,
        rows=rows,
        trigger=batch.trigger,
        how=how,
        proven=proven,
    )


def asked_s(error: ProviderError) -> float:
    """Return how long the provider asks to wait, in seconds, at most ``OUTAGE_MAX_S``; 0 where it does not say."""
    return min(error.retry_after_s or 0.0, OUTAGE_MAX_S)


def trouble(context: Context, batch: Batch, error: ProviderError) -> int:
    """Note that the account's provider fails; returns when (unix ms) to try again."""
    until = context.store.accounts.note_outage(
        batch.account,
        now_ms=context.clock(),
        min_s=OUTAGE_MIN_S,
        max_s=OUTAGE_MAX_S,
        asked_s=asked_s(error),
        call=error.call,
        code=error.code,
        message=str(error),
    )
    log.error(
        "account.trouble",
        account=batch.account,
        batch=batch.id,
        call=error.call,
        code=error.code,
        again_in_s=round((until - context.clock()) / 1000, 1),
        reason=str(error),
    )
    return until


def duplicate(context: Context, batch: Batch, provider_id: str) -> None:
    """Count a second batch at the provider for one attempt of ours."""
    log.error("batch.duplicate", batch=batch.id, lane=batch.lane, provider_batch=provider_id)
    context.store.accounts.count_duplicate(batch.account, provider_id, now_ms=context.clock())


def adopt_duplicate(context: Context, batch: Batch, created: Created) -> None:
    """Put a second batch for an attempt on record: the poller asks it to stop, what it did is read, its cost counts as waste."""
    duplicate(context, batch, created.provider_id)
    now_ms = context.clock()
    context.store.orphans.adopt(
        batch.account,
        batch_id=context.batch_id(),
        lane=batch.lane,
        provider_id=created.provider_id,
        nonce=batch.nonce,
        rows=batch.rows,
        created_ms=created.created_ms or now_ms,
        expires_ms=created.expires_ms,
        now_ms=now_ms,
        pool=batch.pool,
        duplicate_of=batch.id,
        embarks=False,
    )


def disowned(context: Context, batch: Batch) -> None:
    """Give up a provider batch that was adopted without proof and is not ours; the reconciler looks on."""
    log.error("batch.disowned", batch=batch.id, lane=batch.lane, provider_batch=batch.provider_id)
    context.store.batches.disown(batch, look_ms=context.clock())


def held(batch: Batch, where: Target) -> None:
    """Say that a batch at its provider waits for its account or endpoint to be in the settings again."""
    log.error("batch.held", batch=batch.id, lane=batch.lane, state=batch.state, reason=str(where.problem))


def settled(context: Context, where: Target, batch: Batch, *, waste_nano: int) -> bool:
    """Close a batch that carries nothing any more; False when it still does: settle or retry that first."""
    done = context.store.batches.settled(
        batch,
        where.lane,
        now_ms=context.clock(),
        waste_nano=waste_nano,
        kept_s=int(context.settings.batch_record_ttl),
        turnaround_bucket=time_bucket((batch.ended_ms - batch.submitted_ms) / 1000),
        size_bucket=size_bucket(batch.rows),
        refs=_files(where, batch),
        observed=_observed(context, batch),
    )
    if done is None:
        return False
    log.info("batch.settled", **figures(done))
    return True


def _observed(context: Context, batch: Batch) -> Observed:
    """Return what a batch's answers tell of how many bytes a token has in its lane."""
    record = context.store.batches.get(batch.id) if batch.body_bytes else None
    if record is None or record.state != "ended" or record.orphan:
        return NOTHING_OBSERVED
    return observed(
        rows=record.rows,
        succeeded=record.succeeded,
        body_bytes=record.body_bytes,
        input_tokens=record.input_tokens,
    )


def _files(where: Target, batch: Batch) -> list[str]:
    """Return the provider's files of a batch that are ours to delete: what was uploaded, and what it made of that.

    An orphan has the mark of another installation of batchline too, if one shares the API key: that may not have read it yet.
    A duplicate is ours, and was made from the file of the other one.
    """
    if where.facts is None or not where.facts.has_files or (batch.orphan and not batch.duplicate):
        return []
    results = PROGRESS.decode(batch.results).results if batch.results else ()
    return [ref for ref in (batch.input_ref, *results) if ref]


def figures(batch: Batch) -> dict[str, object]:
    """Return the figures of a settled batch's one log event; money in USD, times unix ms."""
    answered, failed = batch.succeeded, batch.failed
    requests = answered + failed + batch.cancelled
    return {
        "batch": batch.id,
        "lane": batch.lane,
        "provider_batch": batch.provider_id,
        "trigger": batch.trigger,
        "outcome": batch.outcome or "nothing to send",
        "rows": batch.rows,
        "submitted_ms": batch.submitted_ms,
        "expected_end_ms": batch.expires_ms,
        "ended_ms": batch.ended_ms,
        "settled_ms": batch.settled_ms,
        "answered": answered,
        "failed": failed,
        "cancelled": batch.cancelled,
        "retried": batch.retried,
        "error_ratio": round((failed + batch.retried) / max(1, requests + batch.retried), 6),
        "input_tokens": batch.input_tokens,
        "output_tokens": batch.output_tokens,
        "list_usd": usd(batch.list_nano),
        "paid_usd": usd(batch.paid_nano),
        "saved_usd": usd(batch.saved_nano),
        "wasted_usd": usd(batch.waste_nano),
        "paid_usd_per_request": usd(batch.paid_nano // max(1, answered)),
    }
