"""Settle an ended batch: every result to its request's callback queue, then what has no answer goes again or fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import structlog

from batchline import custom_ids
from batchline.custom_ids import CustomId
from batchline.engine import answers, leases, pressure, transitions
from batchline.engine.context import Context, Target
from batchline.engine.entries import Envelope, Failure, read_envelope
from batchline.errors import ProviderError, Retryable
from batchline.providers.protocol import PROGRESS, UNREADABLE_LINES, Progress, Provider, Result
from batchline.store.records import Batch, Owed
from batchline.store.settling import Answer, Retry

log = structlog.get_logger("batchline.settler")

CHUNK_RESULTS = 500
CHUNK_BYTES = 1_000_000
SWEEPS = 3
SHORT_MS = 3_600_000
"""How long results may have fewer rows than the provider says were run, before what has none counts as ``missing``."""
LOOKS = 4
"""So often they must have been found so as well: while the provider or all workers are away nobody looks."""
RAN = frozenset({"succeeded", "rejected", "retryable"})
"""Kinds of results of rows that were run."""
UNREADABLE = UNREADABLE_LINES | {"unread"}
"""Codes of errors that say: the results are there, and are nothing that can be read as results of this batch."""
UNANSWERED = {"expired": "expired", "cancelled": "cancelled", "failed": "provider_error"}
"""Why a row without any result has none, by the batch's outcome; else it is ``missing``."""


class Pass(msgspec.Struct, kw_only=True):
    """What one complete pass over a batch's results has seen; the cost is of all rows, settled by it or not.

    ``proven``: it is certain that the results are of our attempt. ``ran`` and ``costed`` hold hashes of the custom_ids that
    were run, and of those whose cost was added: a row that stands twice was run once.
    """

    proven: bool
    rows: int = 0
    unknown: int = 0
    paid_nano: int = 0
    ran: set[int] = msgspec.field(default_factory=set)
    costed: set[int] = msgspec.field(default_factory=set)

    def add_cost(self, custom_id: str, paid_nano: int) -> None:
        """Add what a row cost, in nano-dollars, unless it stood there before."""
        if paid_nano and hash(custom_id) not in self.costed:
            self.costed.add(hash(custom_id))
            self.paid_nano += paid_nano


def settle(context: Context, where: Target, batch: Batch, provider: Provider, progress: Progress) -> None:
    """Read all results of an ended batch, settle them, and close the batch.

    Can be repeated from the start at any time: what was settled before is skipped. Raises Retryable when the results
    cannot be read to their end or have too few rows, PutOff between two chunks, LeaseLost, StoreError.
    """
    seen = Pass(proven=batch.proven)
    with leases.kept(context, batch, stoppable=True) as keeper:
        pressure.check_begun(context, batch)
        for chunk in chunks(provider.results(progress, context.store.batches.sent(batch.id))):
            keeper.check()
            if not seen.proven and not _proves(batch, chunk):
                _disown(context, batch)
                return
            seen.proven = True
            _settle_chunk(context, where, batch, chunk, seen)
        _refuse_unread(batch, seen)
        _refuse_short(context, batch, progress, seen)
        for _ in range(SWEEPS):
            for page in context.store.settling.carried(batch):
                keeper.check()
                _give_up_or_retry(context, where, batch, page)
            settled_nano = _paid_by(context, batch)
            if transitions.settled(context, where, batch, waste_nano=max(0, seen.paid_nano - settled_nano)):
                return
    raise Retryable(
        f"batch {batch.id} still carries requests after {SWEEPS} sweeps; it will be settled again",
        account=batch.account,
        call="settle",
    )


def chunks(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Group results so that one script call takes at most 500 of them, or about 1 MB.

    Where they cannot be read on, the chunk that was begun comes before the error: what is whole is settled.
    """
    chunk: list[Result] = []
    size = 0
    broken: ProviderError | None = None
    try:
        for result in results:
            chunk.append(result)
            size += result.size
            if len(chunk) >= CHUNK_RESULTS or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except ProviderError as error:
        broken = error
    if chunk:
        yield chunk
    if broken is not None:
        raise broken


def _settle_chunk(context: Context, where: Target, batch: Batch, chunk: list[Result], seen: Pass) -> None:
    ours = [(custom_id, result) for result in chunk if (custom_id := _ours(where, result))]
    seen.rows += len(chunk)
    seen.ran.update(hash(result.custom_id) for _, result in ours if result.kind in RAN)
    seen.unknown += len(chunk) - len(ours)
    owed = context.store.settling.owed(where.lane.name, [custom_id.entry_id for custom_id, _ in ours])
    settling = _Chunk(context, where, batch)
    for (custom_id, result), entry in zip(ours, owed, strict=True):
        seen.add_cost(result.custom_id, settling.take(custom_id, result, entry))
    settling.settle()


def _proves(batch: Batch, chunk: list[Result]) -> bool:
    """Whether results are of the batch's own attempt: its nonce stands in their custom_ids, and nobody else knows it."""
    parsed = (custom_ids.parse(result.custom_id) for result in chunk)
    return any(custom_id is not None and custom_id.nonce == batch.nonce for custom_id in parsed)


def _ours(where: Target, result: Result) -> CustomId | None:
    custom_id = custom_ids.parse(result.custom_id)
    if custom_id is None or custom_id.lane_hash != custom_ids.lane_hash(where.lane.name):
        return None
    return custom_id


class _Chunk:
    """Sorts the results of one chunk into answers and retries, and sends both to the store."""

    def __init__(self, context: Context, where: Target, batch: Batch) -> None:
        self._context = context
        self._where = where
        self._batch = batch
        self._now_ms = context.clock()
        self._retry = context.settings.retry_for(where.lane.name)
        self._prices = context.settings.prices
        self._answers: list[Answer] = []
        self._retries: list[Retry] = []

    def take(self, custom_id: CustomId, result: Result, owed: Owed | None) -> int:
        """Sort one result; returns what its row cost in nano-dollars, whoever settles it."""
        if owed is None:
            return self._cost(result)
        envelope = read_envelope(owed, self._where.lane)
        if not custom_ids.matches(custom_id, self._where.lane.name, envelope.request_id):
            log.error("result.mismatch", batch=self._batch.id, entry=owed.entry)
            return self._cost(result)
        if result.kind == "succeeded":
            answer = answers.succeeded(
                self._where, self._batch, envelope, result, now_ms=self._now_ms, prices=self._prices
            )
            self._answers.append(answer)
            return answer.cost.paid_nano if answer.cost else 0
        if custom_id.nonce == self._batch.nonce:
            self._unanswered(envelope, result)
        return 0

    def _cost(self, result: Result) -> int:
        if result.kind != "succeeded":
            return 0
        cost = answers.cost_of(self._where, self._batch, result, self._prices)
        return cost.paid_nano if cost else 0

    def _unanswered(self, envelope: Envelope, result: Result) -> None:
        if result.kind == "rejected":
            self._answers.append(
                answers.rejected(envelope, self._batch, code=result.code, message=result.message, now_ms=self._now_ms)
            )
            return
        code = result.kind if result.kind in {"expired", "cancelled"} else "provider_error"
        message = result.message or f"the provider ended this request as {result.kind}"
        self.no_answer(envelope, code=code, message=f"{result.code}: {message}" if result.code else message)

    def no_answer(self, envelope: Envelope, *, code: str, message: str) -> None:
        """Send a request without an answer again, or give it up: cancelled, or out of attempts."""
        failure = Failure(code=code, message=message, batch=self._batch.id, at=self._now_ms)
        if envelope.cancelled:
            self._answers.append(answers.cancelled(envelope, self._batch, now_ms=self._now_ms, sent=True))
        elif envelope.history.used + 1 >= self._retry.max_attempts:
            self._answers.append(answers.given_up(envelope, self._batch, failure, now_ms=self._now_ms))
        else:
            self._retries.append(answers.retry(self._context, self._retry, envelope, failure, now_ms=self._now_ms))

    def settle(self) -> None:
        """Send what was sorted to the store. Raises Paused, with nothing sent, while there is no room for it.

        Answers go before failures: of a row that stands twice, what was answered counts.
        """
        self._answers.sort(key=lambda answer: answer.own)
        pressure.check_room(self._context, self._batch, self._answers)
        settling = self._context.store.settling
        lane = self._where.lane
        codes = settling.settle(lane, self._answers, batch=self._batch, route="batch", now_ms=self._now_ms)
        for answer, code in zip(self._answers, codes, strict=True):
            if code > 1:
                log.error("callback.wrong_type", batch=self._batch.id, entry=answer.entry, queue=answer.queue.key)
        settling.retry(lane, self._retries, batch=self._batch)


def _give_up_or_retry(context: Context, where: Target, batch: Batch, page: list[Owed]) -> None:
    code = UNANSWERED.get(batch.outcome, "missing")
    reason = PROGRESS.decode(batch.results).reason if batch.outcome == "failed" else ""
    message = f"the batch ended as {batch.outcome} without a result" + (f": {reason}" if reason else "")
    no_answers(context, where, batch, page, code=code, message=message)


def no_answers(context: Context, where: Target, batch: Batch, page: list[Owed], *, code: str, message: str) -> None:
    """Let requests without an answer use an attempt: they go again, or end where it was their last. Raises Paused."""
    chunk = _Chunk(context, where, batch)
    for owed in page:
        chunk.no_answer(read_envelope(owed, where.lane), code=code, message=message)
    chunk.settle()


def _refuse_unread(batch: Batch, seen: Pass) -> None:
    """Give up nothing for results that cannot be right: none to prove an adopted batch, or not a single row of ours."""
    if seen.unknown:
        log.error("result.unknown", batch=batch.id, provider_batch=batch.provider_id, rows=seen.unknown)
    if not seen.proven or (seen.rows and seen.unknown == seen.rows):
        raise Retryable(
            f"the results of provider batch {batch.provider_id} hold no row of batch {batch.id}; it is held for a person to decide",
            account=batch.account,
            call="results",
            code="unread",
        )


def _refuse_short(context: Context, batch: Batch, progress: Progress, seen: Pass) -> None:
    """Give up nothing, for a while, where the provider says that more rows were run than there are results: they are paid for.

    The rest may come with the next look: half of a file was served, or it was not there yet.
    """
    read = len(seen.ran)
    if read >= progress.ran:
        return
    short_ms = context.clock() - batch.short_since if batch.short_since else 0
    over = short_ms >= SHORT_MS and batch.short_looks >= LOOKS
    log.error(
        "result.short",
        batch=batch.id,
        lane=batch.lane,
        provider_batch=batch.provider_id,
        rows=read,
        ran=progress.ran,
        for_s=short_ms // 1000,
        action="send again: what was run and is not told of is paid for twice" if over else "look again",
    )
    if not over:
        raise Retryable(
            f"provider batch {batch.provider_id} has results of {read:,} rows and says that {progress.ran:,} were run; the rest is looked for again",
            account=batch.account,
            call="results",
            code="short",
            retry_after_s=short_ms / 1000,
        )


def _disown(context: Context, batch: Batch) -> None:
    if batch.short_since or batch.unread_since:
        context.store.batches.note(batch, short_since=0, short_looks=0, unread_since=0, unread_looks=0)
    transitions.disowned(context, batch)


def _paid_by(context: Context, batch: Batch) -> int:
    record = context.store.batches.get(batch.id)
    return record.paid_nano if record else 0
