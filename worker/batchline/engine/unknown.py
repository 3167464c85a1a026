"""A submitted batch that its provider does not know (404): reported at each poll, and given up when that is safe.

A 404 does not say that a batch is gone: a key of another project or workspace, or another base_url, gets the same answer
for a batch that runs and is paid for. (A key that is refused, 401 or 403, is `KeyRefused` and never comes here.) So its
requests are sent again only when all of these hold:

- It can cost nothing more: its expiry as the provider told it, else seven days, the longest window there is, and an hour on
  top have passed; and for an hour each poll has said that it is unknown.
- The key as it is now is the one of the project that had the batch: the provider's list shows another batch of ours that
  was made *before* it. A key of another project shows none, or only what was made since the key was changed.
- That list does not show the batch itself either.
- The account is not set to leave what is uncertain to a person (``on_ambiguous: hold``).

Where the second does not hold, the batch is kept and reported until a person cancels it: a cancelled batch needs no such
proof, since nothing of it is sent again. Results of an ended batch that are not found are asked for until then, too: they
were paid for. What was adopted without proof goes back to the reconciler instead. What remains:
a key that was changed for a while and changed back hides exactly the batches that were made meanwhile.
"""

from __future__ import annotations

from typing import Literal

import structlog

from batchline.engine.context import Context
from batchline.errors import NotFound
from batchline.providers.protocol import Listed, Provider
from batchline.store.records import Batch

log = structlog.get_logger("batchline.unknown")

Fate = Literal["waits", "held", "lost"]
"""``waits``: it may still cost something, or be found. ``held``: for a person to decide. ``lost``: its requests go again."""

ACTIONS: dict[Fate, str] = {"waits": "poll on", "held": "poll on, cancel it to give it up", "lost": "send again"}

WINDOW_MS = 7 * 24 * 3_600_000
"""How long a batch may run where its provider told no expiry: the longest window that any has. Source: console.groq.com/docs/batch"""
MARGIN_MS = 3_600_000
"""How much longer a batch may live than it should, and how long it must have been unknown."""
SKEW_MS = 300_000
"""By how much the provider's clock and ours may differ."""


def report(context: Context, batch: Batch, error: NotFound, *, again_in_s: float) -> None:
    """Raise the alarm, and note since when. Nothing is given up here, and the batch keeps its room. Raises LeaseLost."""
    since_ms = batch.unknown_since or context.clock()
    if not batch.unknown_since:
        context.store.batches.note(batch, unknown_since=since_ms)
    log.error(
        "batch.unknown",
        batch=batch.id,
        lane=batch.lane,
        provider_batch=batch.provider_id,
        call=error.call,
        for_s=(context.clock() - since_ms) // 1000,
        again_in_s=again_in_s,
        reason=str(error),
    )


def found_again(context: Context, batch: Batch) -> None:
    """End the alarm: the provider knows the batch. Raises LeaseLost."""
    if batch.unknown_since:
        context.store.batches.note(batch, unknown_since=0)
        log.warning("batch.found_again", batch=batch.id, lane=batch.lane, provider_batch=batch.provider_id)


def fate(context: Context, provider: Provider, batch: Batch) -> Fate:
    """Say what becomes of a submitted batch that its provider does not know. Raises ProviderError, StoreError."""
    if context.clock() < lost_from_ms(batch):
        return "waits"
    if batch.cancel_ms:
        return "lost"
    account = context.settings.accounts.get(batch.account)
    if account is None or account.on_ambiguous == "hold":
        return "held"
    return _by_the_list(context, provider, batch)


def lost_from_ms(batch: Batch) -> int:
    """Return from when (unix ms) nothing can be charged for a batch that is still unknown then."""
    if not batch.unknown_since:
        return 2**62
    return max(over_ms(batch), batch.unknown_since + MARGIN_MS)


def over_ms(batch: Batch) -> int:
    """Return from when (unix ms) a submitted batch does not run any more, whatever became of it."""
    return (batch.expires_ms or batch.submitted_ms + WINDOW_MS) + MARGIN_MS


def _by_the_list(context: Context, provider: Provider, batch: Batch) -> Fate:
    since_ms = batch.submitted_ms - int(context.settings.reconcile.audit_window * 1000)
    older: list[Listed] = []
    for listed in provider.recent(since_ms):
        if listed.provider_id == batch.provider_id:
            return "waits"
        if listed.created_ms <= batch.submitted_ms - SKEW_MS:
            older.append(listed)
    ours = context.store.orphans.claimed(batch.account, [listed.provider_id for listed in older])
    return "lost" if ours else "held"
