"""From an owed entry's raw fields to a checked request, and the record of what happened to it so far."""

from __future__ import annotations

import msgspec

from batchline.bodies import check_body, check_metadata
from batchline.errors import InvalidRequest
from batchline.lanes import Lane
from batchline.providers.protocol import Facts
from batchline.reply_to import ReplyTo, parse_reply_to
from batchline.requests import MAX_ID_BYTES
from batchline.store import keys
from batchline.store.records import Owed, text
from batchline.store.settling import Queue

FIELDS = frozenset({"id", "body", "reply_to", "deadline", "metadata", "traceparent"})
KEPT_ERRORS = 100
"""So many errors of a request are kept: all, for any sensible number of attempts."""
MAX_FIELDS_BYTES = 128 * 2**10
"""Most bytes of all fields but the body: metadata, and the producer's own."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that brought no answer: why, in which batch, when (unix ms)."""

    code: str
    message: str
    batch: str
    at: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's attempts record: how many attempts it has used up, and the last errors."""

    used: int = 0
    errors: tuple[Failure, ...] = ()

    def after(self, failure: Failure) -> History:
        """Return the history with one more attempt used."""
        return History(used=self.used + 1, errors=(*self.errors, failure)[-KEPT_ERRORS:])


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """All of a request but its body, as far as it can be read; ``problem`` says what is wrong with it, if anything is."""

    entry: str
    request_id: str
    queue: Queue
    deadline_ms: int | None = None
    metadata: msgspec.Raw | None = None
    history: History = History()
    cancelled: bool = False
    problem: InvalidRequest | None = None


def read_envelope(owed: Owed, lane: Lane) -> Envelope:
    """Read an entry's fields. Never raises: a request that cannot be accepted is still answered, with its problem."""
    problems: list[InvalidRequest] = []
    request_id = _request_id(owed, problems)
    wanted = _reply_to(owed, problems)
    envelope = Envelope(
        entry=owed.entry,
        request_id=request_id,
        queue=_queue(wanted, lane, request_id),
        deadline_ms=_deadline(owed, problems),
        metadata=_metadata(owed, problems),
        history=read_history(owed.attempts),
        cancelled=owed.cancelled,
    )
    _refuse_unknown(owed, problems)
    _refuse_oversize(owed, problems)
    return msgspec.structs.replace(envelope, problem=problems[0]) if problems else envelope


_HISTORY = msgspec.json.Decoder(History)


def read_history(record: bytes) -> History:
    """Read an attempts record; an empty one is the history of a request that was never sent."""
    return _HISTORY.decode(record) if record else History()


def read_body(owed: Owed, lane: Lane, facts: Facts, *, max_bytes: int) -> bytes:
    """Return the body on one line, checked for what its provider would refuse. Raises InvalidRequest."""
    raw = owed.fields.get(b"body")
    if raw is None:
        raise InvalidRequest("the request has no body: the field `body` holds the provider's request as JSON")
    return check_body(
        raw,
        model=lane.model,
        max_bytes=max_bytes,
        names_model=facts.names_model,
        check=lambda body: facts.check(lane, body),
    )


def _request_id(owed: Owed, problems: list[InvalidRequest]) -> str:
    raw = owed.fields.get(b"id", b"")
    try:
        request_id = raw.decode("utf-8")
    except UnicodeDecodeError:
        request_id = ""
    if request_id and len(raw) <= MAX_ID_BYTES:
        return request_id
    problems.append(
        InvalidRequest(
            f"the request's id must be UTF-8 of 1 to {MAX_ID_BYTES} bytes; this one is answered under its entry id"
        )
    )
    return owed.entry


def _reply_to(owed: Owed, problems: list[InvalidRequest]) -> ReplyTo | None:
    raw = owed.fields.get(b"reply_to")
    if raw is None:
        return None
    try:
        return parse_reply_to(text(raw))
    except InvalidRequest as problem:
        problems.append(problem)
        return None


def _queue(wanted: ReplyTo | None, lane: Lane, request_id: str) -> Queue:
    default = keys.reply_default(lane.name, request_id)
    if wanted is None:
        return Queue(kind="list", key=default, default=default)
    key = keys.reply_list(wanted.name) if wanted.kind == "list" else keys.reply_stream(wanted.name)
    return Queue(kind=wanted.kind, key=key, default=default)


def _deadline(owed: Owed, problems: list[InvalidRequest]) -> int | None:
    raw = owed.fields.get(b"deadline")
    if raw is None:
        return None
    if raw.isdigit() and len(raw) <= 15:
        return int(raw)
    problems.append(InvalidRequest("the request's deadline must be a unix time in milliseconds"))
    return None


def _metadata(owed: Owed, problems: list[InvalidRequest]) -> msgspec.Raw | None:
    raw = owed.fields.get(b"metadata")
    if raw is None:
        return None
    try:
        return msgspec.Raw(check_metadata(raw))
    except InvalidRequest as problem:
        problems.append(problem)
        return None


def _refuse_unknown(owed: Owed, problems: list[InvalidRequest]) -> None:
    for raw in owed.fields:
        name = text(raw)
        if name not in FIELDS and not name.startswith("x-"):
            shown = name.encode("ascii", "backslashreplace").decode()[:64]
            problems.append(
                InvalidRequest(
                    f"unknown field {shown!r}: known are {', '.join(sorted(FIELDS))}, and your own as x-NAME"
                )
            )
            return


def _refuse_oversize(owed: Owed, problems: list[InvalidRequest]) -> None:
    """Refuse what would make a page of entries large by fields that nobody looks at."""
    size = sum(len(value) for name, value in owed.fields.items() if name != b"body")
    if size > MAX_FIELDS_BYTES:
        problems.append(
            InvalidRequest(
                f"the request's fields besides the body have {size:,} bytes, the limit is {MAX_FIELDS_BYTES:,}",
                code="too_large",
            )
        )
