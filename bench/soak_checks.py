"""What must hold after the soak: checks of plain data, so that tests can show that each kind of loss is seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gsm8k import SUMS, answer, digest, read_bill
from soak_load import LANES, Books

from batchline.requests import Reply

LONG_S = 900.0
LEAST = {"requests accepted": 10_000, "workers killed": 200, "store killed": 20}
"""What a soak of ``LONG_S`` must reach, lest it show less than it says; a shorter one must reach half of its share."""

LASTING = re.compile(
    r"batchline:(lanes|ledgers|ledger:.*|ticks|account:[^:]+|account:[^:]+:(audit|duplicates|errors)|batches:settled|files"
    r"|audited|identity|unread|expired|\{.*\}:(requests|walk)|celery:.*)"
)
"""Keys that stay for ever, by design (docs/design.md, section 3)."""

UNHEARD_OF = ("batch.unknown", "result.mismatch", "callback.wrong_type", "celery.task_failed")
"""Log events that nothing in here gives a reason for."""

Problems = list[str]
Sums = Mapping[str, Mapping[str, int]]
"""Figures by lane and name; money in nano-dollars."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that was found when nothing was owed any more.

    ``replies`` come with the key of the list in which they stood, ``booked`` and ``waste`` (by cause) are the ledger's,
    ``bill`` is the emulator's. ``unowned`` are keys without expiry, ``ends`` tells of workers that ended and were not
    killed by us, ``events`` counts the workers' log events, ``made`` what was done to whom.
    """

    books: Books
    replies: Sequence[tuple[str, Reply]]
    bill: Mapping[str, Any]
    booked: Sums
    waste: Sums
    seconds: float
    unowned: Sequence[str] = ()
    ends: Sequence[str] = ()
    events: Counter[str] = field(default_factory=Counter)
    made: Mapping[str, int] = field(default_factory=dict)


def check(found: Evidence) -> Problems:
    """Return a line for each thing that does not hold."""
    return [
        *check_replies(found.replies, found.books),
        *check_bill(found.bill, found.replies),
        *check_ledger(dict(read_bill(found.bill)), found.booked, found.waste),
        *(f"left without owner or expiry: {key}" for key in found.unowned if not LASTING.fullmatch(key)),
        *found.ends,
        *(f"{found.events[name]} times {name} in the workers' logs" for name in UNHEARD_OF if found.events.get(name)),
        *check_reached({"requests accepted": len(found.books.accepted), **found.made}, found.seconds),
    ]


def check_replies(replies: Sequence[tuple[str, Reply]], books: Books) -> Iterator[str]:
    """Hold every reply against the request whose id it carries."""
    times = Counter(reply.id for _, reply in replies)
    for name in books.accepted:
        if times[name] != 1:
            yield f"{'LOST' if not times[name] else 'DOUBLE'} {name}: {times[name]} replies"
    yield from (
        f"DOUBLE {name} (never acknowledged): {times[name]} replies" for name in books.doubtful if times[name] > 1
    )
    known = books.accepted | books.doubtful
    for queue, reply in replies:
        ask = known.get(reply.id)
        if ask is None:
            yield f"{reply.id}: a reply in {queue} to a request that was never sent"
        elif queue != ask.queue:
            yield f"{reply.id}: its reply is in {queue} and not in {ask.queue}"
        elif reply.status != ("failed" if ask.rejected else "succeeded"):
            yield f"{reply.id}: {reply.status}: {reply.error}"
        elif reply.status == "succeeded" and digest(ask.text) not in answer(reply.response).split():
            yield f"{reply.id}: the answer carries the hash of another request"


def check_bill(bill: Mapping[str, Any], replies: Sequence[tuple[str, Reply]]) -> Iterator[str]:
    """Hold the emulator's bill against the replies."""
    succeeded = sum(reply.status == "succeeded" for _, reply in replies)
    if sum(bill["charges"].values()) != succeeded:
        yield f"{bill['charges']} charged, {succeeded} answered"
    if bill["double_executions"]:
        yield f"PAID TWICE: {bill['double_executions']} prompts, e.g. {bill['doubles'][:3]}"


def check_ledger(billed: Sums, booked: Sums, waste: Sums) -> Iterator[str]:
    """Hold the ledger and its waste against the bill. No request here had a deadline, so nothing may buy any waste."""
    for lane in sorted({*LANES, *billed, *booked, *waste}):
        have, owe, lost = booked.get(lane, {}), billed.get(lane, {}), waste.get(lane, {})
        if have.get("paid_nano", 0) + sum(lost.values()) != owe.get("paid_nano", 0):
            yield f"{lane}: {have.get('paid_nano')} booked as paid, {dict(lost)} as waste, {owe.get('paid_nano')} billed"
        if lost:
            yield f"{lane}: nothing was to be wasted, the ledger has {dict(lost)}"
        else:
            yield from (
                f"{lane}: {name}: {have.get(name)} booked, {owe.get(name)} billed"
                for name in SUMS
                if have.get(name) != owe.get(name)
            )


def check_reached(made: Mapping[str, int], seconds: float) -> Iterator[str]:
    """Whether there was as much load and trouble as the soak promises."""
    share = seconds / LONG_S if seconds >= LONG_S else seconds / LONG_S / 2
    for name, least in LEAST.items():
        if made.get(name, 0) < int(least * share):
            yield f"too little to show anything: {name}: {made.get(name, 0)} of at least {int(least * share)}"
