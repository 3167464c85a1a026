"""Batches from the cut to the last transition: leases, states, agendas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, cast

from batchline.budgets import NOTHING_OBSERVED, PARTS, SLIVER, Observed, Pool
from batchline.lanes import Lane, OpenRange, Trigger
from batchline.store import days, files, keys
from batchline.store.connection import Argument, Connection
from batchline.store.durability import Durability
from batchline.store.records import (
    Batch,
    ClaimAnswer,
    CutAnswer,
    batch_record,
    flat,
    pairs,
    text,
)

MOST = 1000
"""Most entries that one script call moves or sweeps."""
CLAIM_KEPT_S = 40 * 86400
"""How long the claim on a finished provider batch is remembered: longer than providers keep results (30 days)."""
UNUSED = "batchline:unused"
RATIO_BUCKETS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1)
"""Upper bounds of the ledger's histogram of the error ratio of finished batches."""


IntentAnswer = Literal[
    "durable", "not_durable", "creates", "twin_submitting", "twin_reconciling", "cancelled", "no_room"
]


class Batches:
    """Every transition of a batch, each one fenced script. All methods that take a batch may raise LeaseLost."""

    def __init__(
        self,
        connection: Connection,
        durability: Durability,
        *,
        lease_s: float,
        files_kept_s: float,
        ledger_kept_s: float,
    ) -> None:
        self._connection = connection
        self._durability = durability
        self._lease_ms = int(lease_s * 1000)
        self._files_kept_ms = int(files_kept_s * 1000)
        self._ledger_kept_s = int(ledger_kept_s)

    def cut(
        self,
        lane: Lane,
        seen: OpenRange,
        trigger: Trigger,
        *,
        batch_id: str,
        now_ms: int,
        max_open: int,
        max_creates: int,
        pool: Pool,
        squeeze: bool = False,
        riders_only: bool = False,
    ) -> CutAnswer:
        """Cut the open range as seen into a batch that waits for its claim, if the account and the lane's budget have room.

        ``squeeze``: only what is kept for small batches of its budget is to be had.
        """
        where = [
            keys.walk(lane.name),
            keys.batch(batch_id),
            keys.account_open(lane.account),
            keys.account_creates(lane.account),
            keys.account(lane.account),
            keys.AGENDA_ACCUMULATE,
            keys.ledger(lane.base),
            keys.LEDGERS,
            keys.retry(lane.name),
            keys.account_believed(lane.account),
        ]
        arguments: list[Argument] = [
            batch_id,
            lane.name,
            lane.account,
            seen.last,
            trigger,
            now_ms,
            max_open,
            max_creates,
        ]
        arguments += [self._lease_ms, lane.base, keys.batch(""), int(riders_only)]
        arguments += [pool.name, pool.tokens or 0, pool.requests or 0, SLIVER, PARTS, int(squeeze), pool.rules]
        return cast("CutAnswer", text(self._connection.call("cut", where, arguments)))

    def ride(self, batch: Batch, *, horizon_ms: int, max_requests: int) -> int:
        """Let retries due until the horizon ride along, up to the batch's most requests; returns how many."""
        total = 0
        while True:
            moved = int(
                self._connection.call(
                    "ride",
                    [keys.batch(batch.id), keys.riders(batch.id), keys.retry(batch.lane)],
                    [batch.fence, horizon_ms, max_requests, MOST],
                )
            )
            total += moved
            if moved < MOST:
                return total

    def claim(self, batch_id: str, *, holder: str, now_ms: int) -> Batch | ClaimAnswer:
        """Take the lease; ``holder`` must be unique to this claim. Returns the record, or why there is none."""
        answer = self._connection.call("claim", [keys.batch(batch_id)], [holder, self._lease_ms, now_ms])
        return batch_record(pairs(answer)) if isinstance(answer, list) else cast("ClaimAnswer", text(answer))

    def renew(self, batch: Batch) -> None:
        """Extend the lease by its full length."""
        self._connection.call("renew", [keys.batch(batch.id)], [batch.fence, self._lease_ms])

    def release(self, batch: Batch, *, agenda: str, next_ms: int) -> None:
        """Give the lease back; somebody should look again at ``next_ms``, or at once if it is to be cancelled since the claim."""
        self._connection.call(
            "release", [keys.batch(batch.id), agenda], [batch.fence, batch.id, next_ms, batch.cancel_ms]
        )

    def note(self, batch: Batch, **notes: str | int) -> None:
        """Note what was seen of a batch: fields of its record that no transition writes."""
        pairs = [part for note in notes.items() for part in note]
        self._connection.call("note", [keys.batch(batch.id)], [batch.fence, *pairs])

    def intent(
        self,
        batch: Batch,
        *,
        nonce: str,
        rows: int,
        row_bytes: int,
        input_ref: str,
        now_ms: int,
        call_s: float,
        max_open: int,
        max_creates: int,
        pool: Pool,
        tokens: int,
        body_bytes: int,
        sent: Sequence[str] = (),
        tagged: bool = True,
    ) -> IntentAnswer:
        """cut → submitting, with a lease for the whole call; the create may only follow the answer ``durable``.

        ``creates``: this hour's creates are used up. ``twin_...``: no tags, and another intent with as
        many rows is open. ``cancelled``: after ``batch`` was read; what was rendered may hold what nobody wants any more.
        ``no_room``: its budget is in use, or ``max_open`` batches are at the provider; the batch keeps the room that it wants, and waits.
        ``not_durable``: it is on record, but not acknowledged; take it back with ``again``.
        ``tokens`` is the estimate for all rows, ``sent`` their custom_ids in order where no file has them.
        """
        arguments: list[Argument] = [
            batch.fence,
            nonce,
            rows,
            row_bytes,
            input_ref,
            now_ms,
            int(call_s * 1000) + self._lease_ms,
            max_creates,
            batch.id,
            int(not tagged),
            keys.batch(""),
            batch.cancel_ms,
        ]
        arguments += [tokens, body_bytes, pool.name, pool.tokens or 0, pool.requests or 0, SLIVER, "\n".join(sent)]
        arguments += [max_open, pool.rules]
        where = [
            keys.batch(batch.id),
            keys.account_creates(batch.account),
            keys.account_intents(batch.account),
            keys.account_open(batch.account),
            keys.account_believed(batch.account),
            keys.sent(batch.id),
        ]
        answer, durable = self._durability.call("intent", where, arguments)
        refusals: dict[int, IntentAnswer] = {
            0: "creates",
            -1: "twin_submitting",
            -2: "twin_reconciling",
            -3: "cancelled",
            -4: "no_room",
        }
        if int(answer) in refusals:
            return refusals[int(answer)]
        return "durable" if durable else "not_durable"

    def submitted(
        self,
        batch: Batch,
        *,
        provider_id: str,
        submitted_ms: int,
        expires_ms: int,
        first_poll_ms: int,
        proven: bool = True,
        forgotten: tuple[str, int] | None = None,
    ) -> bool:
        """submitting or reconciling → submitted; False when another batch has claimed this provider batch.

        ``proven``: it is certain that the provider's batch is ours. ``forgotten``: nonce and rows of an attempt that the
        provider has and the store forgot; then also cut → submitted.
        """
        where = [
            keys.batch(batch.id),
            keys.provider_batch(batch.account, provider_id),
            keys.AGENDA_ACCUMULATE,
            keys.AGENDA_POLL,
            keys.account_intents(batch.account),
            keys.account_open(batch.account),
        ]
        nonce, rows = forgotten or ("", 0)
        arguments: list[Argument] = [batch.fence, batch.id, provider_id, submitted_ms, expires_ms, first_poll_ms]
        arguments += [int(proven), nonce, rows]
        return bool(self._connection.call("submitted", where, arguments))

    def ambiguous(self, batch: Batch, *, look_ms: int, fenced_ms: int | None = None) -> None:
        """submitting → reconciling; look at the provider at ``look_ms``. ``fenced_ms``: when the input file was deleted."""
        where = [keys.batch(batch.id), keys.AGENDA_ACCUMULATE, keys.account(batch.account)]
        arguments: list[Argument] = [batch.fence, batch.id, look_ms, "" if fenced_ms is None else fenced_ms]
        self._connection.call("ambiguous", where, arguments)

    def disown(self, batch: Batch, *, look_ms: int) -> None:
        """submitted or ended → reconciling: the provider's batch was adopted without proof and is not ours."""
        where = [
            keys.batch(batch.id),
            keys.provider_batch(batch.account, batch.provider_id),
            keys.AGENDA_ACCUMULATE,
            keys.AGENDA_POLL,
            keys.account_open(batch.account),
        ]
        self._connection.call("disown", where, [batch.fence, batch.id, batch.provider_id, look_ms])

    def again(self, batch: Batch, *, not_before_ms: int, reason: str) -> None:
        """Back to cut with the same range and riders, no attempt used; the attempt's input file is deleted later."""
        claim = keys.provider_batch(batch.account, batch.provider_id) if batch.provider_id else keys.batch(batch.id)
        intents = keys.account_intents(batch.account)
        where = [keys.batch(batch.id), keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL, claim, intents, keys.FILES]
        where += [keys.account_open(batch.account), keys.sent(batch.id)]
        arguments: list[Argument] = [batch.fence, batch.id, not_before_ms, reason, CLAIM_KEPT_S]
        arguments += [not_before_ms + self._files_kept_ms, files.named(batch.account, "")]
        self._connection.call("again", where, arguments)

    def split(
        self,
        batch: Batch,
        *,
        new_id: str,
        at: str,
        requests: int,
        tokens: int,
        total_bytes: int,
        keep_riders: int,
        not_before_ms: int,
    ) -> None:
        """Leave the range up to ``at`` and ``keep_riders`` riders with the batch, the rest with a new one."""
        where = [
            keys.batch(batch.id),
            keys.batch(new_id),
            keys.riders(batch.id),
            keys.riders(new_id),
            keys.account_open(batch.account),
            keys.AGENDA_ACCUMULATE,
        ]
        arguments: list[Argument] = [
            batch.fence,
            new_id,
            at,
            requests,
            total_bytes,
            tokens,
            keep_riders,
            MOST,
            not_before_ms,
        ]
        while int(self._connection.call("split", where, arguments)) == MOST:
            pass

    def ended(self, batch: Batch, *, outcome: str, ended_ms: int, results: bytes) -> None:
        """submitted → ended; the account has its room back."""
        where = [keys.batch(batch.id), keys.account_open(batch.account)]
        self._connection.call("ended", where, [batch.fence, batch.id, outcome, ended_ms, results])

    def settled(
        self,
        batch: Batch,
        lane: Lane,
        *,
        now_ms: int,
        waste_nano: int,
        kept_s: int,
        turnaround_bucket: int,
        size_bucket: int,
        refs: Sequence[str] = (),
        why_waste: str = "unmatched",
        observed: Observed = NOTHING_OBSERVED,
    ) -> Batch | None:
        """ended or cut → settled; None when the batch still carries something: settle or retry that first.

        ``refs`` are the provider's files that nobody needs any more; they are deleted after a while.
        """
        claim = keys.provider_batch(batch.account, batch.provider_id) if batch.provider_id else keys.batch(batch.id)
        where = [
            keys.batch(batch.id),
            keys.riders(batch.id),
            keys.account_open(batch.account),
            keys.AGENDA_ACCUMULATE,
            keys.AGENDA_POLL,
            keys.SETTLED,
            keys.ledger(lane.base),
            keys.LEDGERS,
            claim,
            keys.requests(batch.lane),
            keys.attempts(batch.lane),
            keys.FILES,
            keys.day(day := days.name(lane, now_ms)),
            keys.DAYS,
            keys.walk(batch.lane),
            keys.sent(batch.id),
        ]
        turnaround_ms = max(0, batch.ended_ms - batch.submitted_ms)
        arguments: list[Argument] = [batch.fence, batch.id, now_ms, waste_nano, kept_s, CLAIM_KEPT_S, lane.base]
        arguments += [turnaround_bucket, turnaround_ms, size_bucket, batch.rows, sweep_entries(batch)]
        arguments += [now_ms + self._files_kept_ms, day, self._ledger_kept_s, ",".join(map(str, RATIO_BUCKETS))]
        arguments += [why_waste, f"{observed.per_token:.6f}", f"{observed.weight:.6f}", observed.default]
        arguments += [files.named(batch.account, ref) for ref in refs]
        answer = self._connection.call("settled", where, arguments)
        while answer == b"more":
            answer = self._connection.call("settled", where, arguments)
        return batch_record(pairs(answer)) if isinstance(answer, list) else None

    def sent(self, batch_id: str) -> list[str]:
        """Return the custom_ids of a batch in the order of its rows; none where they went in a file."""
        found: bytes | None = self._connection.run("GET", keys.sent(batch_id))
        return text(found).split("\n") if found else []

    def ring(self, agenda: str, *, now_ms: int, most: int = 100) -> list[str]:
        """Return the batches whose time has come; each rings again after a lease if nobody takes it."""
        due = self._connection.call("ring", [agenda], [now_ms, most, now_ms + self._lease_ms])
        return [text(batch_id) for batch_id in due]

    def get(self, batch_id: str) -> Batch | None:
        """Read a batch record, None when there is none."""
        fields = pairs(flat(self._connection.run("HGETALL", keys.batch(batch_id))))
        return batch_record(fields) if b"state" in fields else None

    def claimed_by_others(self, batch: Batch, provider_ids: Sequence[str]) -> set[str]:
        """Return which of these provider batches another batch of ours has claimed."""
        if not provider_ids:
            return set()
        owners = self._connection.run("MGET", *(keys.provider_batch(batch.account, each) for each in provider_ids))
        return {each for each, owner in zip(provider_ids, owners, strict=True) if owner and text(owner) != batch.id}

    def open_ids(self) -> list[str]:
        """Return the ids of all batches that are not settled, soonest due first."""
        agendas = (keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL)
        found = self._connection.run_many([("ZRANGE", agenda, 0, -1) for agenda in agendas])
        # One that moves from the first to the second between the two commands stands in both answers.
        return list(dict.fromkeys(text(batch_id) for ids in found for batch_id in ids))

    def settled_ids(self, most: int) -> list[str]:
        """Return the ids of the batches settled last, newest first."""
        return [text(batch_id) for batch_id in self._connection.run("ZRANGE", keys.SETTLED, 0, most - 1, "REV")]

    def records(self, ids: Iterable[str]) -> list[Batch]:
        """Read batch records in one round trip; ids without a record are left out."""
        found = self._connection.run_many([("HGETALL", keys.batch(batch_id)) for batch_id in ids])
        return [batch_record(fields) for fields in found if b"state" in fields]


def sweep_entries(batch: Batch) -> int:
    """Return how many entries of this batch's lane one script call may read: at most 1,000, and about 2 MB."""
    return max(1, min(MOST, 2_000_000 // max(batch.largest, 1)))
