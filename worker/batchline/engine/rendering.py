"""Turn the entries that a batch carries into the provider's rows, in a spooled file of bounded memory."""

from __future__ import annotations

import math
from typing import BinaryIO

import msgspec

from batchline import caching, custom_ids
from batchline.budgets import Pool, estimate
from batchline.engine import answers
from batchline.engine.context import Context, Target
from batchline.engine.entries import Envelope, read_body, read_envelope
from batchline.engine.leases import LeaseKeeper
from batchline.engine.ordering import Ordering
from batchline.errors import InvalidRequest
from batchline.prefixes import Prefix, prefix_of
from batchline.providers.protocol import Limits, Provider
from batchline.store.records import Batch, Owed
from batchline.store.settling import Answer

NO_CAPS = Pool(name="")
SETTLE_AT = 200
"""So many requests that cannot be sent are settled by one call."""


class Overflow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch must be split because a provider's limit was reached: what fitted is kept, the rest moves on.

    ``at`` is the last entry of the range that is kept (the range's own start if none is), with its ``requests``.
    """

    at: str
    requests: int
    riders: int


class Rendered(msgspec.Struct, kw_only=True):
    """What was rendered: rows, their bytes with line feeds, and where to split if not all of it fitted."""

    rows: int = 0
    bytes: int = 0
    riders: int = 0
    overflow: Overflow | None = None
    shorter: Overflow | None = None
    """Where to split so that the last row is left out."""
    tokens: int = 0
    """What the rows are estimated to have in tokens of input; and the bytes of their bodies."""
    body_bytes: int = 0
    store: str = ""
    """From which store (its identity) it was rendered."""
    custom_ids: list[str] = msgspec.field(default_factory=list)
    """Of the rows, as they stand in the file, where the caller asked for them."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered row with its line feed, and what of its body counts; an empty one is not sent."""

    content: bytes = b""
    custom_id: str = ""
    body_bytes: int = 0
    tokens: int = 0
    inputs: int = 0
    prefix: Prefix = Prefix(instructions=0, start=0)


class Rendering:
    """One rendering of a batch: a row for each carried entry; what cannot be sent is settled as failed or cancelled.

    Where the endpoint caches prompts by their beginning, rows that begin alike stand together in the end. What is left out
    at a limit goes by the order of the entries. ``caps``: most tokens and requests, as its budget takes them. ``keep_ids``: the custom_ids are wanted (they are about 100 bytes each).
    """

    def __init__(
        self,
        context: Context,
        target: Target,
        batch: Batch,
        *,
        provider: Provider | None,
        nonce: str,
        rows: BinaryIO,
        caps: Pool = NO_CAPS,
        keep_ids: bool = False,
    ) -> None:
        self._context = context
        self._target = target
        self._batch = batch
        self._provider = provider
        self._nonce = nonce
        self._rows = rows
        self._caps = caps
        self._done = Rendered()
        self._inputs = 0
        self._in_range = 0
        self._last = batch.after
        self._unsent: list[Answer] = []
        self._ordering = Ordering(mark=_mark_for(context, target), keep_ids=keep_ids)

    def run(self, keeper: LeaseKeeper) -> Rendered:
        """Render all that the batch carries, up to the provider's limits, and put it in order. Raises LeaseLost, StoreError."""
        self._render(keeper)
        self._done.bytes = self._ordering.arrange(
            self._rows, folder=self._context.settings.spool_dir, check=keeper.check
        )
        self._done.custom_ids = self._ordering.custom_ids
        return self._done

    def _render(self, keeper: LeaseKeeper) -> None:
        for page in self._context.store.settling.carried(self._batch, bodies=True):
            keeper.check()
            for owed in page:
                if not self._take(owed):
                    self._settle_unsent()
                    return
            if len(self._unsent) >= SETTLE_AT:
                self._settle_unsent()
        self._settle_unsent()

    def _take(self, owed: Owed) -> bool:
        """Render or settle one entry; False when it does not fit any more."""
        envelope = read_envelope(owed, self._target.lane)
        try:
            row = self._row(owed, envelope)
            if row.content and not self._fits(row):
                self._overflow()
                return False
        except InvalidRequest as problem:
            self._unsent.append(answers.refused(envelope, self._batch, problem, now_ms=self._context.clock()))
            row = Row()
        self._write(row, rider=bool(owed.attempts))
        if not owed.attempts:
            self._last = owed.entry
            self._in_range += 1
        return True

    def _row(self, owed: Owed, envelope: Envelope) -> Row:
        """Return the row; an empty one for a cancelled request."""
        if envelope.cancelled:
            self._unsent.append(answers.cancelled(envelope, self._batch, now_ms=self._context.clock(), sent=False))
            return Row()
        if envelope.problem:
            raise envelope.problem
        _, facts, endpoint = self._target.ready
        lane = self._target.lane
        body = read_body(owed, lane, facts, max_bytes=self._context.settings.limits.max_body_bytes)
        custom_id = custom_ids.make(self._nonce, lane.name, owed.entry, envelope.request_id)
        assert self._provider is not None  # noqa: S101 - a ready target has a provider
        row = Row(
            content=self._provider.render(custom_id, lane.endpoint, body) + b"\n",
            custom_id=custom_id,
            body_bytes=len(body),
            tokens=estimate(len(body), self._batch.per_token),
            inputs=count_inputs(body) if facts.limits.max_inputs else 0,
            prefix=prefix_of(lane.endpoint, body) if endpoint.prefixed else Row().prefix,
        )
        self._refuse_oversize(len(row.content), row.inputs, facts.limits)
        return row

    def _refuse_oversize(self, size: int, inputs: int, limits: Limits) -> None:
        if size > limits.max_bytes or (limits.max_inputs and inputs > limits.max_inputs):
            raise InvalidRequest(
                f"the request alone is more than a whole batch may hold at this provider: {size} bytes, {inputs} inputs",
                code="too_large",
            )

    def _fits(self, row: Row) -> bool:
        _, facts, _ = self._target.ready
        limits = facts.limits
        return (
            self._is_in_budget(row)
            and self._done.rows < limits.max_requests
            and self._done.bytes + len(row.content) + self._growth() <= limits.max_bytes
            and (not limits.max_inputs or self._inputs + row.inputs <= limits.max_inputs)
        )

    def _is_in_budget(self, row: Row) -> bool:
        """Whether a row fits into the batch's part of its budget; one row always does."""
        tokens, requests = self._caps.tokens or math.inf, self._caps.requests or math.inf
        return self._done.rows == 0 or (self._done.rows < requests and self._done.tokens + row.tokens <= tokens)

    def _growth(self) -> int:
        """Return by how much the rows may still grow; the first alone shares nothing, so it is not marked."""
        return self._ordering.growth if self._done.rows else 0

    def _overflow(self) -> None:
        self._done.overflow = self._kept()

    def _kept(self) -> Overflow:
        """Return what a split right here keeps."""
        return Overflow(at=self._last, requests=self._in_range, riders=self._done.riders)

    def _write(self, row: Row, *, rider: bool) -> None:
        if not row.content:
            return
        self._done.shorter = self._kept()
        self._rows.write(row.content)
        self._ordering.add(len(row.content), row.prefix, row.custom_id)
        self._done.rows += 1
        self._done.bytes += len(row.content)
        self._done.tokens += row.tokens
        self._done.body_bytes += row.body_bytes
        self._done.riders += int(rider)
        self._inputs += row.inputs

    def _settle_unsent(self) -> None:
        self._context.store.settling.settle(
            self._target.lane, self._unsent, batch=self._batch, route="batch", now_ms=self._context.clock()
        )
        self._unsent = []


def _mark_for(context: Context, target: Target) -> caching.Mark | None:
    if target.account is None or target.facts is None or target.endpoint is None or not target.endpoint.prefixed:
        return None
    rules = context.settings.cache_for(target.lane.name)
    return caching.mark_for(target.account.provider, target.lane.endpoint, rules, takes_key=target.facts.cache_key)


class _Inputs(msgspec.Struct):
    input: object = None


_INPUTS = msgspec.json.Decoder(_Inputs)


def count_inputs(body: bytes) -> int:
    """Count the inputs of an embeddings body: a list of texts or token lists counts each, anything else is one."""
    value = _INPUTS.decode(body).input
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return len(value)
    return 1
