"""When a provider refuses a whole batch: the guilty are settled as rejected, the rest goes again.

Where the provider does not say who is guilty, the batch is halved until the guilty are alone. Nothing was run and
nothing is charged, so no attempt is used up. Where it gives no reason at all it may have failed by itself: a request
that is alone then is not rejected, but uses an attempt and goes again.

A provider whose queue is full (OpenAI's enqueued tokens, counted per organization and model) is waited for, longer each
time. The batch may also be larger than the whole queue, and no answer tells the two apart: it is halved when nothing else of
the account can be what fills the queue, or when waiting did not help and no batch as large was let in. One of fewer bytes
than the limit that the provider names is tokens waits longer before that. Of several that wait in vain only the smallest is
halved: it finds out what the queue takes, and a queue that others fill for a day leaves the rest whole. A single request is
never given up here: other applications may use the limit too. It is reported as an error, and waits.
"""

from __future__ import annotations

import msgspec
import structlog

from batchline import custom_ids
from batchline.budgets import Unit
from batchline.engine import answers, budgets, settler
from batchline.engine.context import Context, Target, target
from batchline.engine.entries import read_envelope
from batchline.errors import KeyRefused, NotFound, Permanent, ProviderError, Retryable, RowsRefused
from batchline.providers.protocol import Refusal, RowRefusal
from batchline.store.records import Batch, Owed

log = structlog.get_logger("batchline.refusals")

PAGE = 500
BUSY_TIMES = 3
"""So often a batch finds the queue full before waiting alone is thought to be no help."""
FULL = "token_limit_exceeded"
QUEUE_FULL = frozenset({FULL, "RESOURCE_EXHAUSTED"})
"""Sources: github.com/openai/openai-python/issues/2084, ai.google.dev/gemini-api/docs/rate-limits"""
FILE_GONE = "invalid_file"
"""OpenAI's code of a batch whose file is not there; ours where others say so in words."""
NOT_READY = "FAILED_PRECONDITION"
"""What Gemini says, say, of a file that it still processes; what it says so of a project's account comes as KeyRefused."""
UNUSABLE = frozenset({"file_not_ready", "file_failed"})
"""Codes of uploads (ours) after which a provider could not make its file usable: one batch's trouble, and not its account's."""
LONG_TIMES = 12
"""The same for a batch of fewer bytes than the limit is tokens: only images and files by reference make it too large. And for one
that is told of calls in a time: it may be its rows that are counted."""
AS_LARGE = 0.9
"""A batch of so much of another one counts as one that is as large."""
AWAY = frozenset({"submitting", "reconciling", "submitted"})
RUNNING = frozenset({"in_progress", "finalizing", "RUNNING"})
"""What OpenAI and Gemini say of a batch that they let into their queue. Sources: developers.openai.com/api/docs/guides/batch,
ai.google.dev/gemini-api/docs/batch-api"""
MISDIRECTED = frozenset({"301", "302", "303", "307", "308", "404", "405", "UnsupportedProtocol", "InvalidURL"})
"""Answers to an upload that say that the account's base_url is wrong: no request is at fault."""
SHARED_FAULTS = frozenset(
    {"model_not_found", "invalid_model", "unsupported_model", "invalid_endpoint", "permission_denied"}
)
"""Refusals of what all rows share (model, endpoint): halving would only ask the same again."""


def refused(context: Context, where: Target, batch: Batch, refusal: Refusal) -> None:
    """Deal with a batch that failed in the provider's validation (state ``submitted``)."""
    log.warning(
        "batch.refused",
        batch=batch.id,
        lane=batch.lane,
        code=refusal.code,
        scope=refusal.scope,
        guilty=len(refusal.rows),
    )
    now_ms = context.clock()
    if refusal.scope == "busy":
        _wait_for_room(context, where, batch, refusal)
    elif refusal.scope == "rows" and _settle_rows(context, where, batch, refusal.rows):
        context.store.batches.again(batch, not_before_ms=now_ms, reason=refusal.code)
    elif refusal.scope == "untold" and batch.rows <= 1:
        _use_attempt(context, where, batch, refusal)
    else:
        _settle_alone_or_halve(context, where, batch, code=refusal.code, message=refusal.message)


def refused_at_create(context: Context, where: Target, batch: Batch, error: Permanent) -> None:
    """Deal with a create call that the provider refused (4xx; state ``submitting``): nothing was created."""
    named = error.rows if isinstance(error, RowsRefused) else ()
    scope = "rows" if named else "unknown"
    log.warning("batch.refused", batch=batch.id, lane=batch.lane, code=error.code, scope=scope, guilty=len(named))
    guilty = tuple(RowRefusal(custom_id=row, code=error.code, message=message) for row, message in named)
    if guilty and _settle_rows(context, where, batch, guilty):
        context.store.batches.again(batch, not_before_ms=context.clock(), reason=error.code)
        return
    code = _of_no_row(error)
    if code:
        _wait_for_room(context, where, batch, Refusal(scope="busy", code=code, message=str(error)))
        return
    _settle_alone_or_halve(context, where, batch, code=error.code, message=str(error))


def _of_no_row(error: Permanent) -> str:
    """Return the code of a refusal that the moment brings and not the rows, however few they are; empty where it may be theirs."""
    if "cannot find file" in str(error).lower():  # the uploaded file is not there yet, or gone
        return FILE_GONE
    return error.code if error.code == NOT_READY else ""


def refused_for_room(context: Context, where: Target, batch: Batch, error: Retryable) -> None:
    """Deal with a create call that found the provider's queue full, or came too soon (429; state ``submitting``): nothing was created."""
    is_rate = budgets.rate_wait_s(error) > 0
    until = (budgets.too_many_calls if is_rate else budgets.no_room)(context, where, batch, error)
    context.store.batches.again(batch, not_before_ms=until, reason=error.code or "retryable")
    times, again_in_s = batch.busy + 1, (until - context.clock()) / 1000
    if times < (LONG_TIMES if is_rate else BUSY_TIMES):
        return
    too_large = _waits_in_vain(context, where, batch, _others(context, batch), unit=where.pool.unit, at_create=True)
    if too_large and batch.rows > 1:
        halve(context, batch, not_before_ms=until)
    if too_large and batch.rows == 1:
        told = Refusal(scope="busy", code=FULL, message=str(error))
        _report_wait(batch, told, times=times, again_in_s=again_in_s)
    else:
        log.warning(
            "batch.finds_no_room",
            batch=batch.id,
            lane=batch.lane,
            rows=batch.rows,
            times=times,
            again_in_s=again_in_s,
            halved=too_large,
            reason=str(error),
        )


def is_file_at_fault(error: Permanent) -> bool:
    """Whether an upload was refused for what was uploaded (too large, say), not for the key or the address."""
    if isinstance(error, KeyRefused | NotFound) or error.code in MISDIRECTED:
        return False
    told = str(error).lower()
    return error.code == "413" or "answered 413" in told or "too large" in told


def refused_at_upload(context: Context, where: Target, batch: Batch, error: Permanent, *, rows: int) -> None:
    """Deal with a file of so many rows that the provider does not take (4xx; state ``cut``): nothing was created."""
    log.warning("batch.refused", batch=batch.id, lane=batch.lane, code=error.code, scope="upload", guilty=0)
    sent = msgspec.structs.replace(batch, rows=rows)
    _settle_alone_or_halve(context, where, sent, code=error.code, message=str(error))


def unusable_file(context: Context, where: Target, batch: Batch, error: ProviderError) -> None:
    """Deal with a file that its provider did not get ready (state ``cut``): the batch waits, and its account goes on."""
    _wait_for_room(context, where, batch, Refusal(scope="busy", code=error.code, message=str(error)))


def _wait_for_room(context: Context, where: Target, batch: Batch, refusal: Refusal) -> None:
    """Let a batch wait for its provider's queue, or for its file; halve it where it may be larger than the whole queue."""
    times = batch.busy + 1
    context.store.batches.note(batch, busy=times)
    wait_s = budgets.wait_s(times)
    if refusal.code in QUEUE_FULL:
        budgets.lower(context, where, batch, unit=_unit(refusal), told=refusal.limit)
    too_large = refusal.code in QUEUE_FULL and _may_be_too_large(context, where, batch, refusal, times=times)
    again_ms = context.clock() + int(wait_s * 1000)
    context.store.batches.again(batch, not_before_ms=again_ms, reason=refusal.code)
    if too_large and batch.rows > 1:
        halve(context, batch, not_before_ms=again_ms)
    elif times >= BUSY_TIMES and (too_large or refusal.code not in QUEUE_FULL):
        _report_wait(batch, refusal, times=times, again_in_s=wait_s)


def _report_wait(batch: Batch, refusal: Refusal, *, times: int, again_in_s: float) -> None:
    """Say what a person may do about a batch that waits and waits."""
    if refusal.code in QUEUE_FULL:
        event = "batch.no_room"
        reason = (
            "one request alone does not get into the provider's queue: raise the account's limit there, see what "
            "other applications have in its queue, or cancel the batch"
        )
    elif refusal.code == FILE_GONE:
        event = "batch.file_not_found"
        reason = (
            "its provider does not find the file that was uploaded for it: see that the account's key and base_url "
            "lead to one project, and whether something deletes its files"
        )
    else:
        event = "batch.not_ready"
        reason = f"its provider is not ready for it, which is no request's fault; it says: {refusal.message}"
    log.error(
        event,
        batch=batch.id,
        lane=batch.lane,
        row_bytes=batch.row_bytes,
        times=times,
        again_in_s=again_in_s,
        reason=reason,
    )


def _may_be_too_large(context: Context, where: Target, batch: Batch, refusal: Refusal, *, times: int) -> bool:
    """Whether a batch that found the queue full so many times may be larger than the whole queue."""
    limit = refusal.limit
    small = limit is not None and _size(batch, _unit(refusal)) < limit
    others = _others(context, batch)
    if times < (LONG_TIMES if small else BUSY_TIMES):
        return not small and not any(each.state in AWAY for each in others)
    return _waits_in_vain(context, where, batch, others, unit=_unit(refusal), at_create=False)


def _unit(refusal: Refusal) -> Unit:
    """Return what a full queue counts: of embeddings it is requests (source: community.openai.com/t/1002388)."""
    return "requests" if "enqueued request" in refusal.message.lower() else "tokens"


def _size(batch: Batch, unit: Unit) -> int:
    """Return what a batch has of what is counted, or the bytes of its rows for tokens."""
    return batch.rows if unit == "requests" else batch.row_bytes


def _others(context: Context, batch: Batch) -> list[Batch]:
    records = context.store.batches.records(context.store.batches.open_ids())
    return [each for each in records if each.id != batch.id and each.account == batch.account]


def _waits_in_vain(
    context: Context, where: Target, batch: Batch, others: list[Batch], *, unit: Unit, at_create: bool
) -> bool:
    """Whether to halve a batch that waiting did not help. ``at_create``: the provider says so before it takes a batch."""
    for each in others:
        if not _is_same_queue(context, where, each, unit):
            continue
        let_in = each.state == "submitted" and (at_create or each.status in RUNNING)
        # What was let in shows what the queue can hold: one that is no larger only has to wait for its turn.
        if let_in and _size(each, unit) >= AS_LARGE * _size(batch, unit):
            return False
        size, stuck = each.requests + each.riders, each.state == "cut" and each.busy >= BUSY_TIMES
        if stuck and size > 1 and (size, each.id) < (batch.rows, batch.id):
            return False
    return True


def _is_same_queue(context: Context, where: Target, other: Batch, unit: Unit) -> bool:
    """Whether a provider counts another batch of the account in the same queue: tokens by model, requests over all of a budget."""
    in_pool = unit == "requests" and other.pool == where.pool.name
    return in_pool or target(context.settings, other.lane).lane.model == where.lane.model


def _settle_rows(context: Context, where: Target, batch: Batch, rows: tuple[RowRefusal, ...]) -> int:
    """Settle the named rows as rejected; returns how many are of this batch's attempt, settled by now or before."""
    parsed = ((custom_ids.parse(row.custom_id), row) for row in rows)
    named = {custom_id.entry_id: row for custom_id, row in parsed if custom_id and custom_id.nonce == batch.nonce}
    for start in range(0, len(named), PAGE):
        page = list(named)[start : start + PAGE]
        owed = [entry for entry in context.store.settling.owed(where.lane.name, page) if entry]
        _reject(context, where, batch, [(entry, named[entry.entry].code, named[entry.entry].message) for entry in owed])
    return len(named)


def _use_attempt(context: Context, where: Target, batch: Batch, refusal: Refusal) -> None:
    for page in context.store.settling.carried(batch):
        settler.no_answers(context, where, batch, page, code="provider_error", message=f"failed: {refusal.message}")
    context.store.batches.again(batch, not_before_ms=context.clock(), reason=refusal.code)


def _settle_alone_or_halve(context: Context, where: Target, batch: Batch, *, code: str, message: str) -> None:
    guilty = batch.rows <= 1 or code in SHARED_FAULTS
    if guilty:
        for page in context.store.settling.carried(batch):
            _reject(context, where, batch, [(owed, code, message) for owed in page])
    context.store.batches.again(batch, not_before_ms=context.clock(), reason=code or "refused")
    if not guilty:
        halve(context, batch, not_before_ms=context.clock())


def _reject(context: Context, where: Target, batch: Batch, guilty: list[tuple[Owed, str, str]]) -> None:
    now_ms = context.clock()
    settled = [
        answers.rejected(read_envelope(owed, where.lane), batch, code=code, message=message, now_ms=now_ms)
        for owed, code, message in guilty
    ]
    context.store.settling.settle(where.lane, settled, batch=batch, route="batch", now_ms=now_ms)


def halve(context: Context, batch: Batch, *, not_before_ms: int) -> None:
    """Split a batch in ``cut``: its riders from its range, or what it has of either in the middle.

    The new one goes on at ``not_before_ms`` (unix ms).
    """
    riders, in_range = 0, []
    for page in context.store.settling.carried(batch):
        riders += sum(1 for owed in page if owed.attempts)
        in_range += [owed.entry for owed in page if not owed.attempts]
    at, requests, keep_riders = _middle(batch, riders, in_range)
    context.store.batches.split(
        batch,
        new_id=context.batch_id(),
        at=at,
        requests=requests,
        tokens=batch.tokens * requests // max(len(in_range), 1),
        total_bytes=batch.bytes * requests // max(len(in_range), 1),
        keep_riders=keep_riders,
        not_before_ms=not_before_ms,
    )
    log.info("batch.halved", batch=batch.id, lane=batch.lane, kept=requests + keep_riders)


def _middle(batch: Batch, riders: int, in_range: list[str]) -> tuple[str, int, int]:
    """Return what stays with a batch that is halved: the last entry of its range ('' for all of it), how many, and riders."""
    if riders and in_range:
        return batch.after, 0, riders
    if in_range:
        half = max(1, len(in_range) // 2)
        return in_range[half - 1], half, 0
    return "", 0, riders // 2
