"""What the store gives back: inert, typed records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import msgspec

from batchline.lanes import OpenRange, Trigger

BatchState = Literal["cut", "submitting", "reconciling", "submitted", "ended", "settled"]
CutAnswer = Literal["cut", "moved", "waiting", "down", "open", "creates", "tokens", "requests"]
ClaimAnswer = Literal["gone", "settled", "held", "early"]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch record as last read. Times are unix ms, 0 where the event has not happened; money is nano-dollars.

    ``after`` (exclusive) and ``last`` (inclusive) are the range; ``requests``, ``bytes`` and ``tokens`` its totals without
    the riders, as estimated by the walk. ``largest`` is the lane's largest entry in bytes. ``fence`` is the token of the
    last claim. ``answered`` and the rest of the sums are kept by the settle script. ``done`` and ``status`` are the provider's,
    as they changed last at ``progress_ms``; ``stuck_since`` is that time once there was no progress for too long, else 0.
    """

    id: str
    lane: str
    account: str
    state: BatchState
    trigger: Trigger
    after: str
    last: str
    requests: int = 0
    riders: int = 0
    bytes: int = 0
    tokens: int = 0
    largest: int = 0
    fence: int = 0
    cut_ms: int = 0
    next_ms: int = 0
    lease_until: int = 0
    reason: str = ""
    again: int = 0
    pool: str = ""
    """Under which name its tokens and requests count against a budget of its account."""
    per_token: float = 0.0
    """Bytes of body per token, as estimated when it was cut; 0 where its lane had no estimate of its own."""
    busy: int = 0
    """How often its provider said that it has no room for it."""
    nonce: str = ""
    rows: int = 0
    row_bytes: int = 0
    sent_tokens: int = 0
    """What its rows are estimated to have in tokens of input, riders included; and the bytes of their bodies."""
    body_bytes: int = 0
    input_ref: str = ""
    intent_ms: int = 0
    asked_ms: int = 0
    """When the intent was put on record, by the store's clock; ``intent_ms`` is by its worker's."""
    call_until: int = 0
    provider_id: str = ""
    submitted_ms: int = 0
    expires_ms: int = 0
    outcome: str = ""
    ended_ms: int = 0
    results: str = ""
    proven: bool = False
    orphan: bool = False
    """Whether the audit found it at the provider and the store did not know it."""
    duplicate: bool = False
    """Whether it was found at the provider beside another one for the same attempt of ours."""
    twin: str = ""
    """The batch that has or was the duplicate: whichever of both is settled later, what it did was paid for nothing."""
    embarks: bool = False
    """Whether the audit found it and its requests, as the provider has them, are not all aboard yet."""
    fenced_ms: int = 0
    disowned: str = ""
    """Provider batches that were adopted and turned out to be somebody else's, separated by blanks."""
    settled_ms: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    list_nano: int = 0
    paid_nano: int = 0
    saved_nano: int = 0
    waste_nano: int = 0
    done: int = 0
    status: str = ""
    progress_ms: int = 0
    stuck_since: int = 0
    unknown_since: int = 0
    """Since when its provider says that it does not know it, 0 while it does."""
    short_since: int = 0
    """Since when its results have fewer rows than its provider says were run, 0 if they never had; and how often seen so."""
    short_looks: int = 0
    unread_since: int = 0
    """Since when its results are nothing that can be read as results of this batch, 0 if they always could; and how often seen so."""
    unread_looks: int = 0
    paused_by: str = ""
    """The callback queue for which settling waited last, as ``kind key``."""
    cancel_ms: int = 0
    """Since when it is to be cancelled."""


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that is owed a reply: its fields as they stand in the stream, and what happened to it so far."""

    entry: str
    fields: dict[bytes, bytes]
    attempts: bytes = b""
    """The attempts record (JSON), empty for an entry that never left its range."""
    cancelled: bool = False


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: a request given up on, its fields as they stood in the stream, and its attempts record (JSON)."""

    lane: str
    entry: str
    died_ms: int
    attempts: bytes
    fields: dict[bytes, bytes]


class LaneLook(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a look at the lanes; ``cursor`` is 0 after the last page."""

    cursor: int
    ranges: tuple[OpenRange, ...]
    aside: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """Provider trouble of an account, as last noted."""

    account: str
    down_until: int = 0
    since: int = 0
    failures: int = 0
    call: str = ""
    code: str = ""
    message: str = ""


def text(raw: bytes) -> str:
    """Decode a name from the store; bytes that are no UTF-8 survive a round trip."""
    return raw.decode("utf-8", "surrogateescape")


def pairs(flat: Iterable[bytes]) -> dict[bytes, bytes]:
    """Turn a flat field/value reply into a mapping."""
    items = iter(flat)
    return dict(zip(items, items, strict=True))


def batch_record(fields: Mapping[bytes, bytes]) -> Batch:
    """Build a batch record from its hash; fields that this version does not know are left alone."""
    return msgspec.convert({text(k): text(v) for k, v in fields.items()}, Batch, strict=False)


def outage_record(account: str, fields: Mapping[bytes, bytes]) -> Outage:
    """Build an account's outage from its hash; an empty hash is an account without trouble."""
    return msgspec.convert({text(k): text(v) for k, v in fields.items()} | {"account": account}, Outage, strict=False)


def owed_record(row: list[bytes]) -> Owed:
    """Build an owed entry from a script's row: entry id, attempts record, cancelled, then fields and values."""
    return Owed(entry=text(row[0]), attempts=row[1], cancelled=int(row[2]) == 1, fields=pairs(row[3:]))


def open_range(row: list[bytes]) -> OpenRange:
    """Build an open range from a row of ``look``."""
    lane, unwalked, since, last, requests, total, tokens, full, retry, cut_ms = row
    return OpenRange(
        lane=text(lane),
        unwalked=int(unwalked) > 0,
        since_ms=int(since or 0),
        last=text(last),
        requests=int(requests),
        bytes=int(total),
        tokens=int(tokens),
        full=msgspec.convert(text(full), Trigger) if full else None,
        retry_ms=int(float(retry)) if retry else None,
        cut_ms=int(cut_ms),
    )


def flat(reply: object) -> list[bytes]:
    """Return a hash reply as flat fields and values, whatever shape the client library gave it."""
    if isinstance(reply, dict):
        return [part for pair in reply.items() for part in pair]
    return cast("list[bytes]", reply)


# msgspec 0.22 may crash when several threads are the first to use a type; building a decoder once prepares it.
for _type in (Batch, Outage, Trigger):
    msgspec.json.Decoder(_type)
