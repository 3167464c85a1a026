"""Cancel requests, batches and lanes: what nobody carries is answered at once, what was done and paid is still delivered.

Whoever cancels only marks and answers; the provider is asked by whoever polls the batch, at each poll until its status
shows that it was heard. So a call that was lost is made again, and cancelling needs no API key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from batchline.engine import answers, orphans
from batchline.engine.context import Context, Target, target
from batchline.engine.entries import read_envelope
from batchline.providers.protocol import Progress, Provider
from batchline.store.records import Batch

log = structlog.get_logger("batchline.cancelling")

SETTLE_AT = 200
"""So many requests are answered by one call."""
HEARD = frozenset({"cancelling", "canceling"})
"""What a provider says of a batch that it is stopping. Source: developers.openai.com/api/docs/guides/batch,
platform.claude.com/docs/en/build-with-claude/batch-processing"""


class Cancelled(msgspec.Struct, kw_only=True):
    """What became of requests that were to be cancelled.

    ``answered``: as cancelled, at once. ``carried``: marked; their batch answers them, by what it brings or as cancelled.
    ``gone``: they had been answered before.
    """

    answered: int = 0
    carried: int = 0
    gone: int = 0


def cancel_request(context: Context, lane: str, request: str) -> Cancelled:
    """Cancel a request by its id or its entry id. An id that was enqueued several times is cancelled each time."""
    done = Cancelled()
    known = context.store.intake.entry_by_id(lane, request)
    if known is not None:
        _cancel(context, lane, [known], done)
    if known is None or done.gone:
        for page in context.store.intake.find(lane, request):
            _cancel(context, lane, page, done)
    if done == Cancelled() and _is_entry(request):
        _cancel(context, lane, [request], done)
    return done


def answer_waiting(context: Context, where: Target, batch: Batch) -> None:
    """Answer the requests of a batch in ``cut`` that were cancelled: it may wait for room for hours before it is rendered."""
    now_ms = context.clock()
    for asked in context.store.settling.cancels(batch.lane):
        owed = [entry for entry in context.store.settling.owed(batch.lane, asked) if entry] if asked else []
        # Those that another batch carries are skipped by the script: an answer of this kind is the carrier's alone.
        ended = [answers.cancelled(read_envelope(each, where.lane), batch, now_ms=now_ms, sent=False) for each in owed]
        context.store.settling.settle(where.lane, ended, batch=batch, route="batch", now_ms=now_ms)


def cancel_batch(context: Context, batch_id: str) -> tuple[str, Cancelled]:
    """Cancel all that a batch still carries; returns its state, or ``gone`` when there is no such batch."""
    done = Cancelled()
    batch = context.store.batches.get(batch_id)
    if batch is None or batch.state == "settled":
        return ("gone" if batch is None else "settled"), done
    for page in context.store.settling.carried(batch):
        _cancel(context, batch.lane, [owed.entry for owed in page], done)
    return context.store.intake.revoke(batch_id, now_ms=context.clock()), done


def cancel_lane(context: Context, lane: str) -> Cancelled:
    """Cancel all that a lane owes now; what is enqueued meanwhile is left alone."""
    done = Cancelled()
    open_batches = [
        each for each in context.store.batches.records(context.store.batches.open_ids()) if each.lane == lane
    ]
    for page in context.store.intake.find(lane):
        _cancel(context, lane, page, done)
    for batch in open_batches:
        context.store.intake.revoke(batch.id, now_ms=context.clock())
    return done


def ask_provider(batch: Batch, provider: Provider, progress: Progress) -> None:
    """Ask the provider to stop a running batch that is to be cancelled or a duplicate, unless it has heard already.

    Raises ProviderError.

    What may be somebody else's (`orphans.may_be_theirs`) is never cancelled.
    """
    wanted = batch.cancel_ms or batch.duplicate
    if not wanted or orphans.may_be_theirs(batch) or progress.status in HEARD:
        return
    provider.cancel(batch.provider_id)
    log.info("batch.cancel_asked", batch=batch.id, lane=batch.lane, provider_batch=batch.provider_id)


def _cancel(context: Context, lane: str, entries: Sequence[str], done: Cancelled) -> None:
    """Mark entries, and answer at once those that no batch carries."""
    if not entries:
        return
    said = context.store.intake.cancel_many(lane, entries)
    done.carried += said.count("carried")
    done.gone += said.count("gone")
    pending = [entry for entry, each in zip(entries, said, strict=True) if each == "pending"]
    for start in range(0, len(pending), SETTLE_AT):
        _answer(context, lane, pending[start : start + SETTLE_AT], done)


def _answer(context: Context, name: str, entries: Iterable[str], done: Cancelled) -> None:
    lane = target(context.settings, name).lane
    now_ms = context.clock()
    found = context.store.settling.owed(name, list(entries))
    rows = [
        answers.cancelled(read_envelope(owed, lane), None, now_ms=now_ms, sent=False)
        for owed in found
        if owed is not None
    ]
    codes = context.store.settling.settle(lane, rows, batch=None, route="batch", now_ms=now_ms)
    done.answered += sum(1 for code in codes if code)
    # What a batch has taken meanwhile is left out when that is rendered.
    done.carried += codes.count(0)
    done.gone += found.count(None)


def _is_entry(text: str) -> bool:
    ms, dash, sequence = text.partition("-")
    return bool(dash) and all(part.isascii() and part.isdigit() and len(part) <= 19 for part in (ms, sequence))
