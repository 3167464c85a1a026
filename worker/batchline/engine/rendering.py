"""Turn the entries that a batch carries into the provider's rows, in a spooled file of bounded memory."""

from __future__ import annotations

from typing import BinaryIO

import msgspec

from batchline import custom_ids
from batchline.engine import answers
from batchline.engine.context import Context, Target
from batchline.engine.entries import Envelope, read_body, read_envelope
from batchline.engine.leases import LeaseKeeper
from batchline.errors import InvalidRequest
from batchline.providers.protocol import Limits, Provider
from batchline.store.records import Batch, Owed
from batchline.store.settling import Answer

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
    store: str = ""
    """From which store (its identity) it was rendered."""


class Rendering:
    """One rendering of a batch: a row for each carried entry; what cannot be sent is settled as failed or cancelled."""

    def __init__(
        self, context: Context, target: Target, batch: Batch, *, provider: Provider | None, nonce: str, rows: BinaryIO
    ) -> None:
        self._context = context
        self._target = target
        self._batch = batch
        self._provider = provider
        self._nonce = nonce
        self._rows = rows
        self._done = Rendered()
        self._inputs = 0
        self._in_range = 0
        self._last = batch.after
        self._unsent: list[Answer] = []

    def run(self, keeper: LeaseKeeper) -> Rendered:
        """Render all that the batch carries, up to the provider's limits. Raises LeaseLost, StoreError."""
        for page in self._context.store.settling.carried(self._batch, bodies=True):
            keeper.check()
            for owed in page:
                if not self._take(owed):
                    self._settle_unsent()
                    return self._done
            if len(self._unsent) >= SETTLE_AT:
                self._settle_unsent()
        self._settle_unsent()
        return self._done

    def _take(self, owed: Owed) -> bool:
        """Render or settle one entry; False when it does not fit any more."""
        envelope = read_envelope(owed, self._target.lane)
        try:
            row, inputs = self._row(owed, envelope)
            if row and not self._fits(len(row), inputs):
                self._overflow()
                return False
        except InvalidRequest as problem:
            self._unsent.append(answers.refused(envelope, self._batch, problem, now_ms=self._context.clock()))
            row, inputs = b"", 0
        self._write(row, inputs, rider=bool(owed.attempts))
        if not owed.attempts:
            self._last = owed.entry
            self._in_range += 1
        return True

    def _row(self, owed: Owed, envelope: Envelope) -> tuple[bytes, int]:
        """Return the row with its line feed and its inputs; an empty row for a cancelled request."""
        if envelope.cancelled:
            self._unsent.append(answers.cancelled(envelope, self._batch, now_ms=self._context.clock(), sent=False))
            return b"", 0
        if envelope.problem:
            raise envelope.problem
        _, facts, _ = self._target.ready
        lane = self._target.lane
        body = read_body(owed, lane, max_bytes=self._context.settings.limits.max_body_bytes)
        custom_id = custom_ids.make(self._nonce, lane.name, owed.entry, envelope.request_id)
        assert self._provider is not None  # noqa: S101 - a ready target has a provider
        row = self._provider.render(custom_id, lane.endpoint, body) + b"\n"
        inputs = count_inputs(body) if facts.limits.max_inputs else 0
        self._refuse_oversize(len(row), inputs, facts.limits)
        return row, inputs

    def _refuse_oversize(self, size: int, inputs: int, limits: Limits) -> None:
        if size > limits.max_bytes or (limits.max_inputs and inputs > limits.max_inputs):
            raise InvalidRequest(
                f"the request alone is more than a whole batch may hold at this provider: {size} bytes, {inputs} inputs",
                code="too_large",
            )

    def _fits(self, size: int, inputs: int) -> bool:
        _, facts, _ = self._target.ready
        limits = facts.limits
        return (
            self._done.rows < limits.max_requests
            and self._done.bytes + size <= limits.max_bytes
            and (not limits.max_inputs or self._inputs + inputs <= limits.max_inputs)
        )

    def _overflow(self) -> None:
        self._done.overflow = self._kept()

    def _kept(self) -> Overflow:
        """Return what a split right here keeps."""
        return Overflow(at=self._last, requests=self._in_range, riders=self._done.riders)

    def _write(self, row: bytes, inputs: int, *, rider: bool) -> None:
        if not row:
            return
        self._done.shorter = self._kept()
        self._rows.write(row)
        self._done.rows += 1
        self._done.bytes += len(row)
        self._done.riders += int(rider)
        self._inputs += inputs

    def _settle_unsent(self) -> None:
        self._context.store.settling.settle(
            self._target.lane, self._unsent, batch=self._batch, route="batch", now_ms=self._context.clock()
        )
        self._unsent = []


class _Inputs(msgspec.Struct):
    input: object = None


_INPUTS = msgspec.json.Decoder(_Inputs)


def count_inputs(body: bytes) -> int:
    """Count the inputs of an embeddings body: a list of texts or token lists counts each, anything else is one."""
    value = _INPUTS.decode(body).input
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return len(value)
    return 1
