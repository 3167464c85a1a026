"""What a provider's "no room" teaches: its budget is believed to be lower for a while, and the batch waits without an attempt used."""

from __future__ import annotations

import math
import re

import structlog

from batchline.budgets import SLIVER, Unit
from batchline.engine import transitions
from batchline.engine.context import Context, Target
from batchline.errors import ProviderError
from batchline.store.records import Batch

log = structlog.get_logger("batchline.budgets")

TOLD_FOR_S = 86_400.0
"""How long a limit that the provider named is believed."""
GUESS_FOR_S = 600.0
"""How long a guess is: the room may be in use by others of the same organization, who let go of it."""
AGAIN_S = 60.0
"""How long a batch waits after its provider had no room for the first time; each time doubles it."""
AGAIN_MAX_S = 900.0
LEAST_GUESS: dict[Unit, int] = {"tokens": 50_000, "requests": 1_000}
"""No queue is thought to be smaller where no limit is known. OpenAI's smallest is 90,000 tokens, Anthropic's 100,000 requests.
Sources: developers.openai.com/api/docs/models (tier 1), platform.claude.com/docs/en/api/rate-limits"""
_RATE = re.compile(r"(?:\bper[\s_]|_per_|/\s*)(sec|min|hour|day)(?:ond|ute)?s?(?![a-z])")
_RATE_WAITS_S = {"sec": AGAIN_S, "min": AGAIN_S, "hour": AGAIN_MAX_S, "day": AGAIN_MAX_S}


def no_room(context: Context, where: Target, batch: Batch, error: ProviderError) -> int:
    """Deal with a create call that was refused for too much (429); returns when (unix ms) the batch may try again.

    Where the provider says how long to wait (Retry-After), it means the key and not this budget: the account waits as well.
    """
    lower(context, where, batch, unit=where.pool.unit)
    times = batch.busy + 1
    context.store.batches.note(batch, busy=times)
    until = context.clock() + int(wait_s(times) * 1000)
    return max(until, transitions.trouble(context, batch, error)) if error.retry_after_s else until


def rate_wait_s(error: ProviderError) -> float:
    """Return how long to wait, in seconds, after a 429 that limits calls in a time and not what is enqueued; 0 where it is not such."""
    said = str(error).lower()
    told = _RATE.search(said)
    return _RATE_WAITS_S[told[1]] if told and not ("queue" in said or "token" in said) else 0.0


def too_many_calls(context: Context, where: Target, batch: Batch, error: ProviderError) -> int:
    """Deal with a create call that came too soon after others (429): no budget is at fault, and no other create has a chance.

    Returns when (unix ms) the batch may try again. A rate that is of one model holds up no other batch.
    """
    context.store.batches.note(batch, busy=batch.busy + 1)
    if error.retry_after_s:
        return transitions.trouble(context, batch, error)
    wait, said = rate_wait_s(error), str(error).lower()
    until = context.clock() + int(wait * 1000)
    if where.lane.model.lower() not in said and "model" not in said:
        context.store.accounts.defer(batch.account, until_ms=until)
    log.warning("account.too_many_creates", account=batch.account, batch=batch.id, again_in_s=wait, reason=str(error))
    return until


def lower(context: Context, where: Target, batch: Batch, *, unit: Unit, told: int | None = None) -> int:
    """Believe in a lower limit of the batch's budget; ``told`` is what the provider named. Returns it, 0 if nothing was learned.

    ``unit``: what the provider counts. What it names is of one model, and nothing is known by it of a budget that several share.
    """
    told = told if where.pool.name == where.lane.model else None
    known = told or (where.pool.tokens if unit == "tokens" else where.pool.requests)
    limit = context.store.accounts.lower(
        batch,
        where.pool,
        tokens=batch.sent_tokens,
        requests=batch.rows,
        unit=unit,
        told=told,
        least=math.ceil(known * SLIVER) if known else LEAST_GUESS[unit],
        now_ms=context.clock(),
        told_for_s=TOLD_FOR_S,
        guess_for_s=GUESS_FOR_S,
    )
    if limit:
        log.warning(
            "budget.lowered",
            account=batch.account,
            pool=where.pool.name,
            unit=unit,
            limit=limit,
            told=told,
            batch=batch.id,
        )
    return limit


def wait_s(times: int) -> float:
    """Return how long a batch waits, in seconds, whose provider had no room so many times in a row."""
    return min(AGAIN_S * 2.0 ** min(times - 1, 10), AGAIN_MAX_S)
