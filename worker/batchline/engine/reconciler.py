"""After an ambiguous create: find the batch at the provider, or show that it is not there.

What is found with proof (our tag) is adopted, the oldest if there are several; the others are counted and put on record
too: the poller asks them to stop, and what they did is read and counted as waste. A lone candidate without proof is adopted
at once, and proven by the first line of its results; a wrong adoption is undone then (``disown``) and costs a delay, never a
second payment. An unproven candidate is never cancelled.

Nothing is absent before no create call can be running any more and the provider's list has had its lag. Where the batch
is made from an uploaded file, the file is deleted then, and the list is read once more after another lag: a create that
a frozen worker sends after that finds no file and ends without a charge.

An account may leave what is uncertain to a person (``on_ambiguous: hold``): then nothing is adopted without proof, and where
absence cannot be proven (no tags, no file) nothing is sent again either. The batch is held until the setting is ``adopt``
again, or until it is cancelled: its requests are answered as cancelled once no create call can be running any more.
"""

from __future__ import annotations

import structlog

from batchline.engine import answers, leases, transitions
from batchline.engine.context import Context, Target
from batchline.engine.entries import read_envelope
from batchline.errors import ProviderError
from batchline.providers.protocol import Created, Found, Job, Provider
from batchline.store import keys
from batchline.store.records import Batch

log = structlog.get_logger("batchline.reconciler")

LOOK_AGAIN_MS = 15_000
HELD_AGAIN_MS = 60_000
"""How often a batch that waits for a person is looked for, and reported."""


def reconcile(context: Context, where: Target, batch: Batch) -> None:
    """Look for a batch's attempt at the provider: adopt it, send it again if it is absent, or look again later."""
    if where.problem:
        transitions.held(batch, where)
        _look_again(context, batch)
        return
    provider = context.provider(batch.account)
    try:
        with leases.kept(context, batch):
            found = provider.find(_job(where, batch))
        if found.proven:
            _adopt_proven(context, batch, found.proven)
        else:
            _resolve(context, where, batch, provider, found)
    except ProviderError as error:
        until = transitions.trouble(context, batch, error)
        context.store.batches.ambiguous(batch, look_ms=until)


def absent_from_ms(context: Context, batch: Batch) -> int:
    """Return from when (unix ms) a batch that is not listed does not exist: no call runs and no list lags any more."""
    return batch.call_until + _lag_ms(context)


def _adopt_proven(context: Context, batch: Batch, proven: tuple[Created, ...]) -> None:
    oldest, *rest = sorted(proven, key=lambda created: (created.created_ms, created.provider_id))
    transitions.submitted(context, batch, oldest, rows=batch.rows, how="adopted")
    for duplicate in rest:
        transitions.adopt_duplicate(context, batch, duplicate)


def _resolve(context: Context, where: Target, batch: Batch, provider: Provider, found: Found) -> None:
    candidates = _unclaimed(context, batch, found)
    if _is_uncertain(where, candidates):
        _hold(context, where, batch, candidates)
    elif candidates and _others_may_be_creating(context, batch):
        _look_again(context, batch)
    elif candidates:
        nearest = min(candidates, key=lambda created: abs(created.created_ms - batch.intent_ms))
        transitions.submitted(context, batch, nearest, rows=batch.rows, how="adopted", proven=False)
    elif _may_be_held_by_others(context, batch, found):
        _look_again(context, batch)
    elif _is_absent(context, batch, provider):
        log.warning("batch.absent", batch=batch.id, lane=batch.lane, attempt=batch.nonce)
        context.store.batches.again(batch, not_before_ms=context.clock(), reason="absent")


def _is_uncertain(where: Target, candidates: list[Created]) -> bool:
    """Whether a person decides: the account is set so, and neither presence nor absence can be proven."""
    account, facts, _ = where.ready
    return account.on_ambiguous == "hold" and (bool(candidates) or not (facts.tagged and facts.has_files))


def _hold(context: Context, where: Target, batch: Batch, candidates: list[Created]) -> None:
    """Keep a batch for a person; one that is to be cancelled is answered so, once no create call can be running."""
    if context.clock() < absent_from_ms(context, batch):
        _look_again(context, batch)
        return
    listed = [each.provider_id for each in candidates]
    if batch.cancel_ms:
        log.warning("batch.given_up", batch=batch.id, lane=batch.lane, attempt=batch.nonce, candidates=listed)
        _answer_cancelled(context, where, batch)
        context.store.batches.again(batch, not_before_ms=context.clock(), reason="cancelled")
        return
    log.error(
        "batch.held",
        batch=batch.id,
        lane=batch.lane,
        state=batch.state,
        candidates=listed,
        reason="its create may have gone through, and its account is set to hold: set on_ambiguous: adopt to go on, or cancel it",
    )
    context.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=context.clock() + HELD_AGAIN_MS)


def _answer_cancelled(context: Context, where: Target, batch: Batch) -> None:
    for page in context.store.settling.carried(batch):
        now_ms = context.clock()
        rows = [answers.cancelled(read_envelope(owed, where.lane), batch, now_ms=now_ms, sent=True) for owed in page]
        context.store.settling.settle(where.lane, rows, batch=batch, route="batch", now_ms=now_ms)


def _is_absent(context: Context, batch: Batch, provider: Provider) -> bool:
    """Whether a batch that is not listed is proven absent; if not yet, says when to look again."""
    now_ms = context.clock()
    if now_ms < absent_from_ms(context, batch):
        _look_again(context, batch)
        return False
    if not batch.input_ref:
        return True
    if not batch.fenced_ms:
        provider.delete_file(batch.input_ref)
        context.store.batches.ambiguous(batch, look_ms=now_ms + _lag_ms(context), fenced_ms=now_ms)
        return False
    if now_ms < batch.fenced_ms + _lag_ms(context):
        _look_again(context, batch)
        return False
    return True


def _unclaimed(context: Context, batch: Batch, found: Found) -> list[Created]:
    """Return the candidates that no other batch of ours has claimed and this one has not disowned."""
    taken = context.store.batches.claimed_by_others(batch, [each.provider_id for each in found.candidates])
    taken |= set(batch.disowned.split())
    return [candidate for candidate in found.candidates if candidate.provider_id not in taken]


def _may_be_held_by_others(context: Context, batch: Batch, found: Found) -> bool:
    """Whether another batch adopted one of the candidates without proof: it may be this one's, and is given back then."""
    listed = {each.provider_id for each in found.candidates} - set(batch.disowned.split())
    others = context.store.batches.records(context.store.batches.open_ids())
    return any(other.id != batch.id and other.provider_id in listed and not other.proven for other in others)


def _others_may_be_creating(context: Context, batch: Batch) -> bool:
    """Whether a create of this account with as many rows runs right now: a candidate could be its batch."""
    others = context.store.batches.records(context.store.batches.open_ids())
    return any(
        other.id != batch.id
        and other.account == batch.account
        and other.state == "submitting"
        and other.rows == batch.rows
        for other in others
    )


def _look_again(context: Context, batch: Batch) -> None:
    context.store.batches.ambiguous(batch, look_ms=context.clock() + min(LOOK_AGAIN_MS, max(1000, _lag_ms(context))))


def _lag_ms(context: Context) -> int:
    return int(context.settings.reconcile.listing_lag * 1000)


def _job(where: Target, batch: Batch) -> Job:
    lane = where.lane
    # A worker's clock that was ahead must not hide the batch that it created.
    asked_ms = min(batch.intent_ms, batch.asked_ms or batch.intent_ms)
    return Job(
        batch_id=batch.id,
        nonce=batch.nonce,
        endpoint=lane.endpoint,
        model=lane.model,
        rows=batch.rows,
        intent_ms=asked_ms,
        lane=lane.name,
        beta=lane.beta,
        input_ref=batch.input_ref or None,
    )
