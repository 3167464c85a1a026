"""Poll submitted batches, and settle those that ended."""

from __future__ import annotations

import msgspec
import structlog

from batchline.engine import cancelling, leases, orphans, refusals, settler, stuck, transitions, unknown
from batchline.engine.context import Context, Target, target
from batchline.errors import NotFound, Paused, ProviderError, PutOff
from batchline.lanes import next_poll_s
from batchline.providers.protocol import PROGRESS, Progress, Provider
from batchline.store import keys
from batchline.store.records import Batch

log = structlog.get_logger("batchline.poller")

UNKNOWN = "its provider does not know it and it can cost nothing more: its requests go again; if it ran, it was paid for nothing"
"""Why a batch is given up that is lost."""


def poll(context: Context, batch_id: str) -> None:
    """Ask how a batch is doing, if nobody else does and it is time; settle it when it has ended."""
    batch = context.store.batches.claim(batch_id, holder=context.holder(), now_ms=context.clock())
    if not isinstance(batch, Batch):
        log.debug("batch.not_claimed", batch=batch_id, reason=batch)
        return
    if batch.state not in {"submitted", "ended"}:
        log.debug("batch.not_to_poll", batch=batch.id, state=batch.state)
        return
    where = target(context.settings, batch.lane)
    if where.problem:
        transitions.held(batch, where)
        _look_again(context, batch, context.settings.poll.max_interval)
        return
    try:
        context.shutdown.check()
        try:
            _advance(context, where, batch)
        except NotFound as error:
            _unknown(context, where, batch, error)
        except ProviderError as error:
            if error.code not in settler.UNREADABLE or not _is_given_up(context, batch):
                _note_short(context, batch, error)
                raise
            _give_up(context, where, batch, f"its results cannot be read and it was cancelled: {error}")
    except PutOff as why:
        _put_off(context, batch, why)
    except ProviderError as error:
        wait_s = max(_interval_s(context, batch), transitions.asked_s(error))
        log.warning(
            "batch.poll_failed", batch=batch.id, call=error.call, code=error.code, again_in_s=wait_s, reason=str(error)
        )
        _look_again(context, batch, wait_s)


def _advance(context: Context, where: Target, batch: Batch) -> None:
    provider = context.provider(batch.account)
    if batch.state == "ended":
        batch, progress = _as_ended(context, batch, provider)
        settler.settle(context, where, batch, provider, progress)
        return
    # A provider may take longer to answer than a lease lasts.
    with leases.kept(context, batch):
        progress = provider.poll(batch.provider_id)
    unknown.found_again(context, batch)
    if progress.refusal:
        refusals.refused(context, where, batch, progress.refusal)
    elif progress.outcome is None:
        interval_s = _interval_s(context, batch)
        log.debug("batch.running", batch=batch.id, status=progress.status, done=progress.done, total=progress.total)
        stuck.follow(context, batch, provider, progress)
        cancelling.ask_provider(batch, provider, progress)
        _look_again(context, batch, interval_s)
    else:
        _end(context, where, batch, provider, progress)


def _end(context: Context, where: Target, batch: Batch, provider: Provider, progress: Progress) -> None:
    ended = _note_end(context, batch, progress)
    log.info("batch.ended", batch=batch.id, lane=batch.lane, provider_batch=batch.provider_id, outcome=progress.outcome)
    settler.settle(context, where, ended, provider, progress)


def _note_end(context: Context, batch: Batch, progress: Progress) -> Batch:
    outcome, ended_ms = progress.outcome or "", progress.ended_ms or batch.ended_ms or context.clock()
    results = msgspec.json.encode(progress)
    context.store.batches.ended(batch, outcome=outcome, ended_ms=ended_ms, results=results)
    return msgspec.structs.replace(batch, state="ended", outcome=outcome, ended_ms=ended_ms, results=results.decode())


def _as_ended(context: Context, batch: Batch, provider: Provider) -> tuple[Batch, Progress]:
    """Return what an ended batch is read from. One whose results were not all there is asked for again: it may have other files now."""
    noted = PROGRESS.decode(batch.results)
    if not batch.short_since and not batch.unread_since:
        return batch, noted
    try:
        with leases.kept(context, batch):
            progress = provider.poll(batch.provider_id)
    except NotFound:
        return batch, noted
    if progress.outcome is None or progress.refusal:
        return batch, noted
    progress = msgspec.structs.replace(progress, ran=max(progress.ran, noted.ran))
    return _note_end(context, batch, progress), progress


def _note_short(context: Context, batch: Batch, error: ProviderError) -> None:
    """Note since when, and how often, results have had too few rows, or could not be read; the latter raises an alarm."""
    now_ms = context.clock()
    if error.code == "short":
        context.store.batches.note(batch, short_since=batch.short_since or now_ms, short_looks=batch.short_looks + 1)
    if error.code in settler.UNREADABLE:
        _note_unread(context, batch)
        log.error(
            "result.unreadable",
            batch=batch.id,
            lane=batch.lane,
            provider_batch=batch.provider_id,
            for_s=(now_ms - (batch.unread_since or now_ms)) // 1000,
            reason=str(error),
        )


def _note_unread(context: Context, batch: Batch) -> None:
    since_ms = batch.unread_since or context.clock()
    context.store.batches.note(batch, unread_since=since_ms, unread_looks=batch.unread_looks + 1)


def _is_given_up(context: Context, batch: Batch) -> bool:
    """Whether a person gave up results that cannot be read: by a cancel since then, or one that has waited long enough."""
    if batch.state != "ended" or not batch.cancel_ms or not batch.unread_since:
        return False
    long = context.clock() - batch.unread_since >= settler.SHORT_MS and batch.unread_looks >= settler.LOOKS
    return batch.cancel_ms > batch.unread_since or long


def _put_off(context: Context, batch: Batch, why: PutOff) -> None:
    """Hand the batch back between two writes: settling has no room, or this worker ends."""
    if isinstance(why, Paused):
        log.warning("settle.paused", batch=batch.id, lane=batch.lane, again_in_s=why.wait_s, reason=str(why))
        context.store.batches.note(batch, paused_by=why.queue)
    else:
        log.info("batch.handed_back", batch=batch.id, lane=batch.lane, state=batch.state)
    _look_again(context, batch, why.wait_s)


def _unknown(context: Context, where: Target, batch: Batch, error: NotFound) -> None:
    """Report what the provider does not know, and give it up once that is safe: at once where nobody waits for it."""
    if orphans.carries_nothing(batch):
        log.info("batch.let_go", batch=batch.id, lane=batch.lane, provider_batch=batch.provider_id, reason=str(error))
        _end(context, where, batch, context.provider(batch.account), _nothing(batch))
        return
    wait_s = max(context.settings.poll.max_interval, transitions.asked_s(error))
    unknown.report(context, batch, error, again_in_s=wait_s)
    if batch.state == "ended":
        _note_unread(context, batch)
    if _is_lost(context, batch):
        _give_up(context, where, batch, UNKNOWN)
    else:
        _look_again(context, batch, wait_s)


def _is_lost(context: Context, batch: Batch) -> bool:
    if batch.state == "ended":
        return _is_given_up(context, batch)  # its results were paid for
    with leases.kept(context, batch):
        return unknown.fate(context, context.provider(batch.account), batch) == "lost"


def _give_up(context: Context, where: Target, batch: Batch, why: str) -> None:
    """End a batch that is lost as expired without a result; what was adopted without proof goes back to the reconciler."""
    if not batch.proven:
        context.store.batches.note(batch, unknown_since=0, unread_since=0, unread_looks=0, short_since=0, short_looks=0)
        transitions.disowned(context, batch)
        return
    log.error(
        "batch.lost",
        batch=batch.id,
        lane=batch.lane,
        provider_batch=batch.provider_id,
        rows=batch.rows,
        submitted_ms=batch.submitted_ms,
        reason=why,
    )
    _end(context, where, batch, context.provider(batch.account), _nothing(batch))


def _nothing(batch: Batch) -> Progress:
    """Return the end of a batch that brings nothing."""
    return Progress(provider_id=batch.provider_id, status="unknown", outcome="expired")


def _interval_s(context: Context, batch: Batch) -> float:
    poll = context.settings.poll
    age_s = max(0, context.clock() - max(batch.submitted_ms, batch.cancel_ms)) / 1000
    return next_poll_s(age_s, min_interval_s=poll.min_interval, max_interval_s=poll.max_interval)


def _look_again(context: Context, batch: Batch, wait_s: float) -> None:
    next_ms = context.clock() + int(wait_s * 1000)
    context.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=next_ms)
