"""From a cut batch to a submitted one: render, upload, intent, create. Whoever comes after a crash starts here too."""

from __future__ import annotations

import tempfile
import time
from typing import BinaryIO, Literal, assert_never

import msgspec
import structlog

from batchline import custom_ids
from batchline.budgets import NO_LIMIT, Pool, Room, most_in_range
from batchline.engine import auditor, cancelling, leases, refusals, transitions
from batchline.engine.context import Context, Target, target
from batchline.engine.reconciler import reconcile
from batchline.engine.rendering import Overflow, Rendered, Rendering
from batchline.engine.shutdown import watched
from batchline.errors import Ambiguous, KeyRefused, LeaseLost, Permanent, ProviderError, Retryable, Stopping
from batchline.providers.protocol import Job, Provider
from batchline.store import keys
from batchline.store.batches import IntentAnswer
from batchline.store.records import Batch

log = structlog.get_logger("batchline.submitter")

RIDE_AHEAD_S = 60.0
"""Retries due within this time ride along, rather than making a batch of their own soon after."""
CREATES_FULL_MS = 30_000
"""How long to wait when an account has used up its creates of this hour."""
NO_ROOM_MS = 2_000
"""How long a batch waits whose budget is in use, before it looks again."""
TWIN_MS = 1_000
"""How long to wait while another create with as many rows runs, at a provider without tags."""
TOO_MANY = 429
NOT_DURABLE_MS = 5_000
"""How long to wait after an intent that was not acknowledged as durable."""
NotNow = IntentAnswer | Literal["replaced"]
"""Why a rendered batch is not created; ``replaced``: the store is another one than that from which it was rendered."""


def submit(context: Context, batch_id: str) -> None:
    """Bring a batch one step on towards the provider, if nobody else is at it."""
    store = str(context.store.durability.identity())
    if not _may_create(context, batch_id):
        return
    batch = context.store.batches.claim(batch_id, holder=context.holder(), now_ms=context.clock())
    if not isinstance(batch, Batch):
        log.debug("batch.not_claimed", batch=batch_id, reason=batch)
        return
    where = target(context.settings, batch.lane)
    match batch.state:
        case "cut":
            _submit_or_hand_back(context, where, batch, store)
        case "submitting":
            transitions.ambiguous(context, batch, reason="a worker stopped while it was creating the batch")
        case "reconciling":
            reconcile(context, where, batch)
        case "submitted" | "ended" | "settled":
            log.debug("batch.submitted_already", batch=batch.id)
        case never:
            assert_never(never)


def _may_create(context: Context, batch_id: str) -> bool:
    """Whether a batch may go on: nothing is created on an account that was not audited since the store was replaced."""
    batch = context.store.batches.get(batch_id)
    if batch is None or batch.state != "cut" or target(context.settings, batch.lane).account is None:
        return True
    try:
        until = auditor.before_create(context, batch.account)
    except ProviderError as error:
        transitions.trouble(context, batch, error)
        return False
    if until:
        again_in_s = (until - context.clock()) / 1000
        log.warning("batch.waits_for_audit", batch=batch.id, account=batch.account, again_in_s=again_in_s)
    return not until


def _submit_or_hand_back(context: Context, where: Target, batch: Batch, store: str) -> None:
    try:
        context.shutdown.check()
        _submit_cut(context, where, batch, store)
    except Stopping:
        log.info("batch.handed_back", batch=batch.id, lane=batch.lane, state=batch.state)
        context.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=context.clock())


def _submit_cut(context: Context, where: Target, batch: Batch, store: str) -> None:
    """Render the batch, upload it, put the intent on record and create it."""
    room = _room(context, where, batch)
    if _waits_for_room(context, where, batch, room):
        return
    _let_ride(context, where, batch)
    nonce = custom_ids.new_nonce(context.dice)
    provider = context.provider(where.lane.account) if where.account else None
    spool = context.settings.spool_dir
    with (
        leases.kept(context, batch, stoppable=True) as keeper,
        tempfile.TemporaryFile(dir=spool) as rows,
    ):
        rendering = Rendering(
            context,
            where,
            batch,
            provider=provider,
            nonce=nonce,
            rows=rows,
            caps=_caps(room),
            keep_ids=_is_inline(where),
        )
        rendered = rendering.run(keeper)
        rendered.store = store
        if rendered.overflow:
            _split(context, batch, rendered, rendered.overflow)
        if rendered.rows == 0 or provider is None:
            transitions.settled(context, where, batch, waste_nano=0)
            return
        _send(context, where, batch, provider, rows, keeper, nonce=nonce, rendered=rendered)


def _room(context: Context, where: Target, batch: Batch) -> Room:
    """Ask for the room of a batch; without an account there is nowhere to go, and nothing to ask for."""
    if where.account is None:
        return Room(limits=where.pool)
    return context.store.accounts.room(
        batch,
        where.pool,
        now_ms=context.clock(),
        max_open=where.account.max_open_batches,
        max_creates=where.account.creates_per_hour or NO_LIMIT,
    )


def _waits_for_room(context: Context, where: Target, batch: Batch, room: Room) -> bool:
    """Put a batch back whose account has no room, before it is rendered in vain. One that is to be cancelled needs none."""
    if batch.cancel_ms or room.fits:
        return False
    cancelling.answer_waiting(context, where, batch)
    log.debug("batch.waits_for_room", batch=batch.id, lane=batch.lane, pool=where.pool.name, reason=room.short)
    next_ms = context.clock() + (CREATES_FULL_MS if room.short == "creates" else NO_ROOM_MS)
    context.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=next_ms)
    return True


def _caps(room: Room) -> Pool:
    """Return what one batch may have of its budget."""
    limits = room.limits
    return Pool(name=limits.name, tokens=most_in_range(limits.tokens), requests=most_in_range(limits.requests))


def _is_inline(where: Target) -> bool:
    return where.account is not None and where.account.inline


def _let_ride(context: Context, where: Target, batch: Batch) -> None:
    if where.facts is None:
        return
    limit = min(context.settings.flush_for(batch.lane).max_requests, where.facts.limits.max_requests)
    horizon_ms = context.clock() + int(RIDE_AHEAD_S * 1000)
    context.store.batches.ride(batch, horizon_ms=horizon_ms, max_requests=limit)


def _split(context: Context, batch: Batch, rendered: Rendered, overflow: Overflow) -> None:
    """Keep what was rendered; the rest becomes a batch of its own."""
    context.store.batches.split(
        batch,
        new_id=context.batch_id(),
        at=overflow.at,
        requests=overflow.requests,
        tokens=batch.tokens * overflow.requests // max(batch.requests, 1),
        total_bytes=rendered.bytes,
        keep_riders=overflow.riders,
        not_before_ms=context.clock(),
    )
    log.info("batch.split", batch=batch.id, lane=batch.lane, rows=rendered.rows, reason="provider limit")


def _send(
    context: Context,
    where: Target,
    batch: Batch,
    provider: Provider,
    rows: BinaryIO,
    keeper: leases.LeaseKeeper,
    *,
    nonce: str,
    rendered: Rendered,
) -> None:
    job = _job(where, batch, nonce, rendered, now_ms=context.clock())
    try:
        job = _uploaded(provider, watched(rows, keeper.check), job)
    except ProviderError as error:
        keeper.check()  # what broke the upload off may have been a check, and the SDK calls it a broken connection
        if isinstance(error, Permanent) and refusals.is_file_at_fault(error):
            keeper.stop()
            refusals.refused_at_upload(context, where, batch, error, rows=rendered.rows)
        elif error.code in refusals.UNUSABLE:
            keeper.stop()
            refusals.unusable_file(context, where, batch, error)
        else:
            _put_off(context, batch, error)
        return
    keeper.check()
    keeper.stop()
    job = msgspec.structs.replace(job, intent_ms=context.clock())  # an upload may take minutes
    with context.shutdown.finishing():
        _commit(context, where, batch, provider, rows, job, rendered)


def _commit(
    context: Context, where: Target, batch: Batch, provider: Provider, rows: BinaryIO, job: Job, rendered: Rendered
) -> None:
    """Put the intent on record and create the batch: what is begun here is finished, whoever asks this worker to end."""
    settings, asked = context.settings, time.monotonic()
    answer = _intend(context, where, batch, job, rendered)
    if answer != "durable":
        _not_now(context, batch, rendered, answer)
        _forget_upload(provider, job)
        return
    if time.monotonic() - asked > settings.lease_seconds:
        # A worker that was frozen right here must not create late: its lease no longer covers the call.
        raise LeaseLost(f"batch {batch.id}: too late to create after the intent; it will be reconciled")
    sent = msgspec.structs.replace(
        batch,
        state="submitting",
        nonce=job.nonce,
        rows=job.rows,
        row_bytes=rendered.bytes,
        intent_ms=job.intent_ms,
        sent_tokens=rendered.tokens,
    )
    in_time = msgspec.structs.replace(job, send_by=asked + settings.lease_seconds + settings.create_timeout / 2)
    _create(context, where, sent, provider, rows, in_time)


def _not_now(context: Context, batch: Batch, rendered: Rendered, answer: NotNow) -> None:
    """Nothing may be created now: the batch goes back to wait, or leaves a row out to differ from its twin."""
    now_ms = context.clock()
    log.warning("batch.not_created", batch=batch.id, lane=batch.lane, reason=answer)
    if answer == "not_durable":
        context.store.batches.again(batch, not_before_ms=now_ms + NOT_DURABLE_MS, reason=answer)
        return
    if answer == "twin_reconciling" and rendered.rows > 1 and rendered.shorter:
        _split(context, batch, rendered, rendered.shorter)
    waits = {
        "creates": CREATES_FULL_MS,
        "twin_submitting": TWIN_MS,
        "twin_reconciling": TWIN_MS,
        "cancelled": 0,
        "replaced": 0,
        "no_room": NO_ROOM_MS,
    }
    context.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=now_ms + waits[answer])


def _job(where: Target, batch: Batch, nonce: str, rendered: Rendered, *, now_ms: int) -> Job:
    lane = where.lane
    return Job(
        batch_id=batch.id,
        nonce=nonce,
        endpoint=lane.endpoint,
        model=lane.model,
        rows=rendered.rows,
        intent_ms=now_ms,
        lane=lane.name,
        beta=lane.beta,
        version=lane.version,
    )


def _uploaded(provider: Provider, rows: BinaryIO, job: Job) -> Job:
    rows.seek(0)
    if not provider.has_files:
        return job
    return msgspec.structs.replace(job, input_ref=provider.upload(rows, job))


def _intend(context: Context, where: Target, batch: Batch, job: Job, rendered: Rendered) -> NotNow:
    """Put the intent on record; ``replaced``: of what was rendered the store may have forgotten a part, so render it again."""
    if str(context.store.durability.identity()) != rendered.store:
        return "replaced"
    account, facts, _ = where.ready
    answer = context.store.batches.intent(
        batch,
        nonce=job.nonce,
        rows=rendered.rows,
        row_bytes=rendered.bytes,
        input_ref=job.input_ref or "",
        now_ms=job.intent_ms,
        call_s=context.settings.create_timeout,
        max_open=account.max_open_batches,
        max_creates=account.creates_per_hour or NO_LIMIT,
        pool=where.pool,
        tokens=rendered.tokens,
        body_bytes=rendered.body_bytes,
        sent=() if job.input_ref else rendered.custom_ids,
        tagged=facts.tagged,
    )
    if answer == "durable" and str(context.store.durability.identity()) != rendered.store:
        return "not_durable"
    return answer


def _create(context: Context, where: Target, batch: Batch, provider: Provider, rows: BinaryIO, job: Job) -> None:
    rows.seek(0)
    try:
        created = provider.create(rows, job, timeout_s=context.settings.create_timeout)
    except Ambiguous as error:
        transitions.ambiguous(context, batch, reason=str(error))
    except Retryable as error:
        _not_created(context, where, batch, error)
        _forget_upload(provider, job)
    except KeyRefused as error:
        until = transitions.trouble(context, batch, error)
        context.store.batches.again(batch, not_before_ms=until, reason=error.code or "retryable")
        _forget_upload(provider, job)
    except Permanent as error:
        refusals.refused_at_create(context, where, batch, error)
        _forget_upload(provider, job)
    else:
        transitions.submitted(context, batch, created, rows=job.rows, how="created")


def _not_created(context: Context, where: Target, batch: Batch, error: Retryable) -> None:
    """Nothing was created, for no fault of the batch: it goes again, without an attempt used."""
    if error.status == TOO_MANY:
        refusals.refused_for_room(context, where, batch, error)
        return
    until = transitions.trouble(context, batch, error)
    context.store.batches.again(batch, not_before_ms=until, reason=error.code or "retryable")


def _put_off(context: Context, batch: Batch, error: ProviderError) -> None:
    """Nothing was created: the batch waits in cut until the provider answers again."""
    until = transitions.trouble(context, batch, error)
    context.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=until)


def _forget_upload(provider: Provider, job: Job) -> None:
    """Delete an input file that no batch will use; one that stays costs nothing and expires by itself."""
    if job.input_ref is None:
        return
    try:
        provider.delete_file(job.input_ref)
    except ProviderError as error:
        log.warning("file.not_deleted", file=job.input_ref, reason=str(error))
