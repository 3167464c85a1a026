"""From what happened to a request to the answer that settles it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchline.engine.context import Context, Target
from batchline.engine.entries import Envelope, Failure
from batchline.errors import InvalidRequest
from batchline.lanes import backoff_s, entry_ms
from batchline.money import price
from batchline.providers.protocol import Result
from batchline.requests import (
    BatchRef,
    Cost,
    CostUsd,
    Reply,
    ReplyError,
    Status,
    Timing,
    Usage,
    encode_reply,
    usd,
)
from batchline.settings import Retry as RetrySettings
from batchline.settings.prices import PriceOverride, price_for
from batchline.store.records import Batch
from batchline.store.settling import Answer, Retry

NO_USAGE = Usage()


def succeeded(
    target: Target,
    batch: Batch,
    envelope: Envelope,
    result: Result,
    *,
    now_ms: int,
    prices: Sequence[PriceOverride],
) -> Answer:
    """Answer a request with the provider's response, priced."""
    cost = cost_of(target, batch, result, prices)
    reply = Reply(
        id=envelope.request_id,
        metadata=envelope.metadata,
        status="succeeded",
        response=result.body,
        usage=result.usage,
        cost=_in_usd(cost),
        attempts=envelope.history.used + 1,
        batch=_ref(batch),
        timing=_timing(envelope, batch, now_ms),
    )
    return _answer(envelope, reply, own=False, usage=result.usage or NO_USAGE, cost=cost, unpriced=cost is None)


def refused(envelope: Envelope, batch: Batch, problem: InvalidRequest, *, now_ms: int) -> Answer:
    """Answer a request that batchline itself refuses; no provider saw it."""
    error = ReplyError(code=problem.code, message=str(problem))
    return _ended(envelope, "failed", error, now_ms=now_ms, batch=batch, sent=False)


def rejected(envelope: Envelope, batch: Batch, *, code: str, message: str, now_ms: int) -> Answer:
    """Answer a request that the provider refused (4xx): asking again would be refused again."""
    error = ReplyError(code="rejected", message=message, provider_code=code or None)
    return _ended(envelope, "failed", error, now_ms=now_ms, batch=batch, sent=True)


def given_up(envelope: Envelope, batch: Batch, failure: Failure, *, now_ms: int) -> Answer:
    """Answer a request that got no answer in its last attempt; it is kept as a dead letter."""
    errors = (*envelope.history.errors, failure)
    expired = all(error.code == "expired" for error in errors)
    error = ReplyError(
        code="expired" if expired else "provider_error",
        message=f"no answer in {envelope.history.used + 1} attempts; the last: {failure.message}",
        retryable=True,
        provider_code=failure.code,
    )
    answer = _ended(envelope, "failed", error, now_ms=now_ms, batch=batch, sent=True)
    return msgspec.structs.replace(answer, dead=msgspec.json.encode(envelope.history.after(failure)))


def cancelled(envelope: Envelope, batch: Batch | None, *, now_ms: int, sent: bool) -> Answer:
    """Answer a request that its producer cancelled before it had an answer; without a batch, only while none carries it."""
    error = ReplyError(code="cancelled", message="cancelled on request")
    return _ended(envelope, "cancelled", error, now_ms=now_ms, batch=batch, sent=sent)


def retry(context: Context, settings: RetrySettings, envelope: Envelope, failure: Failure, *, now_ms: int) -> Retry:
    """Send a request again later: one more attempt is used, and it waits with backoff."""
    history = envelope.history.after(failure)
    wait_s = backoff_s(history.used, min_s=settings.backoff_min, max_s=settings.backoff_max, dice=context.dice)
    return Retry(
        entry=envelope.entry,
        record=msgspec.json.encode(history),
        not_before_ms=now_ms + int(wait_s * 1000),
        reason=failure.code,
    )


def cost_of(target: Target, batch: Batch, result: Result, prices: Sequence[PriceOverride]) -> Cost | None:
    """Return what a result cost in nano-dollars, None when the model has no known price; ``prices`` are the settings' own."""
    account, facts, endpoint = target.ready
    lane = target.lane
    if result.body is None:
        return None
    if not endpoint.price_flavor:  # free of charge
        return Cost(list_nano=0, paid_nano=0)
    return price(
        facts.price_provider,
        lane.model,
        endpoint.price_flavor,
        result.body,
        batch.submitted_ms,
        discount=account.discount,
        override=price_for(prices, kind=account.provider, account=lane.account, model=lane.model),
    )


def _ended(
    envelope: Envelope, status: Status, error: ReplyError, *, now_ms: int, batch: Batch | None, sent: bool
) -> Answer:
    reply = Reply(
        id=envelope.request_id,
        metadata=envelope.metadata,
        status=status,
        error=error,
        attempts=envelope.history.used + int(sent),
        batch=_ref(batch) if batch and sent else None,
        timing=_timing(envelope, batch if sent else None, now_ms),
    )
    return _answer(envelope, reply, own=True)


def _answer(
    envelope: Envelope,
    reply: Reply,
    *,
    own: bool,
    usage: Usage = NO_USAGE,
    cost: Cost | None = None,
    unpriced: bool = False,
) -> Answer:
    return Answer(
        entry=envelope.entry,
        request_id=envelope.request_id,
        queue=envelope.queue,
        status=reply.status,
        reply=encode_reply(reply),
        own=own,
        usage=usage,
        cost=cost,
        unpriced=unpriced,
        deadline_ms=envelope.deadline_ms,
    )


def _ref(batch: Batch) -> BatchRef:
    return BatchRef(id=batch.id, provider_id=batch.provider_id or None)


def _timing(envelope: Envelope, batch: Batch | None, now_ms: int) -> Timing:
    return Timing(
        enqueued=entry_ms(envelope.entry),
        submitted=(batch.submitted_ms or None) if batch else None,
        ended=(batch.ended_ms or None) if batch else None,
        settled=now_ms,
    )


def _in_usd(cost: Cost | None) -> CostUsd | None:
    if cost is None:
        return None
    return CostUsd(
        list_usd=usd(cost.list_nano),
        paid_usd=usd(cost.paid_nano),
        saved_usd=usd(cost.saved_nano),
        cache_saved_usd=usd(cost.cache_saved_nano),
        cache_extra_usd=usd(cost.cache_extra_nano),
    )
