"""The wire contract as typed, inert data: requests, replies, results. Imports nothing of ours.

Field names and meanings are the promise of ``docs/protocol.md``; times are unix milliseconds unless a name says
otherwise, money is integer nano-dollars (1 USD = 10**9) inside and decimal strings outside.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

Status = Literal["succeeded", "failed", "cancelled"]
Route = Literal["batch", "realtime"]

NANO = 1_000_000_000
"""Nano-dollars in one dollar."""

MOST_TOKENS = 10**12
"""An answer that tells of more tokens than this is not believed: a service may write -1 as 2**64 - 1."""

TokenCount = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
"""A count of tokens as a provider tells it; decoding any other raises ``msgspec.ValidationError``."""

MAX_ID_BYTES = 256
"""Most bytes of a request's id, as UTF-8."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt as a producer enqueues it; ``body`` is the provider's own request body as JSON bytes."""

    id: str
    lane: str
    body: bytes
    reply_to: str | None = None
    deadline_ms: int | None = None
    metadata: bytes | None = None
    traceparent: str | None = None

    def fields(self) -> dict[str, str | bytes | int]:
        """Return the entry's fields as the raw protocol names them; fields without a value are left out."""
        fields: dict[str, str | bytes | int] = {"id": self.id, "body": self.body}
        optional = {
            "reply_to": self.reply_to,
            "deadline": self.deadline_ms,
            "metadata": self.metadata,
            "traceparent": self.traceparent,
        }
        fields.update({name: value for name, value in optional.items() if value is not None})
        return fields


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request. ``input_tokens`` counts all input, cached or not; ``output_tokens`` includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def believed(self) -> Usage | None:
        """Return this usage; None where what was summed up in it is more than can be believed."""
        return self if max(self.input_tokens, self.output_tokens) <= MOST_TOKENS else None


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one request cost, in nano-dollars: at the realtime list price, and as paid.

    ``cache_saved_nano`` is what its input read from the prompt cache cost less than plain input as paid, ``cache_extra_nano``
    what writing into the cache cost more.
    """

    list_nano: int
    paid_nano: int
    cache_saved_nano: int = 0
    cache_extra_nano: int = 0

    @property
    def saved_nano(self) -> int:
        """Return what the route saved; never negative."""
        return max(0, self.list_nano - self.paid_nano)


class ReplyError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed; ``provider_code`` is the provider's own code or HTTP status, where there is one."""

    code: str
    message: str
    retryable: bool = False
    provider_code: str | None = None


class CostUsd(msgspec.Struct, frozen=True, kw_only=True):
    """A cost as it stands in a reply: exact decimal strings. The cache's are within ``paid_usd``, as in ``Cost``."""

    list_usd: str
    paid_usd: str
    saved_usd: str
    cache_saved_usd: str = "0"
    cache_extra_usd: str = "0"


class BatchRef(msgspec.Struct, frozen=True, kw_only=True):
    """The batch that brought an answer: our id and the provider's."""

    id: str
    provider_id: str | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Unix milliseconds; ``submitted`` and ``ended`` are null for a request that never reached a provider."""

    enqueued: int
    submitted: int | None = None
    ended: int | None = None
    settled: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer message, pushed as JSON to the request's callback queue.

    ``metadata`` and ``response`` are raw JSON when a reply is built (so that they go out unchanged) and decoded when it is read.
    """

    v: int = 1
    id: str
    metadata: Any = None
    status: Status
    response: Any = None
    error: ReplyError | None = None
    usage: Usage | None = None
    cost: CostUsd | None = None
    route: Route = "batch"
    attempts: int = 0
    batch: BatchRef | None = None
    timing: Timing


def usd(nano: int) -> str:
    """Write nano-dollars as an exact decimal string without exponent: ``usd(2_500) == "0.0000025"``."""
    return f"{Decimal(nano) / NANO:f}"


_REPLY = msgspec.json.Decoder(Reply)


def encode_reply(reply: Reply) -> bytes:
    """Encode a reply as one line of JSON."""
    return msgspec.json.encode(reply)


def decode_reply(raw: bytes) -> Reply:
    """Decode a reply; raises ``msgspec.DecodeError`` on what is not one."""
    return _REPLY.decode(raw)
