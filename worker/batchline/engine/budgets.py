"""What a provider's "no room" teaches: its budget is believed to be lower for a while, and the batch waits without an attempt used."""

from __future__ import annotations

import structlog

from batchline.budgets import Unit
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


def no_room(context: Context, where: Target, batch: Batch, error: ProviderError) -> int:
    """Deal with a create call that was refused for too much (429); returns when (unix ms) the batch may try again.

    Where the provider says how long to wait (Retry-After), it means the key and not this budget: the account waits.
    """
    lower(context, where, batch, unit=where.pool.unit)
    times = batch.busy + 1
    context.store.batches.note(batch, busy=times)
    if error.retry_after_s:
        return transitions.trouble(context, batch, error)
    return context.clock() + int(wait_s(times) * 1000)


def lower(context: Context, where: Target, batch: Batch, *, unit: Unit, told: int | None = None) -> int:
    """Believe in a lower limit of the batch's budget; ``told`` is what the provider named. Returns it, 0 if nothing was learned.

    ``unit``: what the provider counts.
    """
    limit = context.store.accounts.lower(
        batch,
        where.pool,
        tokens=batch.sent_tokens,
        requests=batch.rows,
        unit=unit,
        told=told,
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
