"""Anthropic's objects and lines as typed data, and what they mean to us; no calls.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing and the API reference beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from batchline.providers.failures import read_error
from batchline.providers.lines import BadLine, decode_line, is_told
from batchline.providers.protocol import BatchOutcome, Created, Listed, Progress, Result, ResultKind
from batchline.providers.shapes import Count, Text, mend, shaped, time_ms
from batchline.requests import TokenCount, Usage

# Refusals of the request itself; all other errors may be sent again ("can be retried directly"), and those of key, rights
# and money are the account's, not the request's.
_REJECTED = frozenset({"invalid_request_error", "not_found_error", "request_too_large"})


class _Counts(msgspec.Struct, frozen=True):
    processing: Count = 0
    succeeded: Count = 0
    errored: Count = 0
    canceled: Count = 0
    expired: Count = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.errored + self.canceled + self.expired


class Batch(msgspec.Struct, frozen=True):
    """The message batch object. All counts but ``processing`` stay 0 until the whole batch has ended."""

    id: Text
    processing_status: Text
    request_counts: msgspec.Raw = msgspec.Raw()
    created_at: Any = None
    expires_at: Any = None
    ended_at: Any = None
    cancel_initiated_at: Any = None
    results_url: Text = ""

    def __post_init__(self) -> None:
        mend(self, "id", "processing_status", "results_url")


class BatchPage(msgspec.Struct, frozen=True):
    """One page of the list of batches, newest first."""

    data: list[Batch] | None
    has_more: bool | None = None
    last_id: Text = ""

    def __post_init__(self) -> None:
        mend(self, "last_id")


class _Outcome(msgspec.Struct, frozen=True):
    type: str
    message: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    result: _Outcome


class _Tokens(msgspec.Struct, frozen=True):
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None


class _Iteration(_Tokens, frozen=True):
    type: str | None = None


class _Usage(_Tokens, frozen=True):
    iterations: list[_Iteration] | None = None


class _Message(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


_COUNTS = msgspec.json.Decoder(_Counts)
_BATCH = msgspec.json.Decoder(Batch)
PAGE = msgspec.json.Decoder(BatchPage)
_LINE = msgspec.json.Decoder(_Line)
_MESSAGE = msgspec.json.Decoder(_Message)


def parse_batch(content: bytes) -> Batch:
    """Read a message batch object. Raises msgspec.DecodeError."""
    return _BATCH.decode(content)


def created_of(batch: Batch) -> Created:
    """Return what the engine keeps of a batch that exists."""
    return Created(provider_id=batch.id, created_ms=time_ms(batch.created_at), expires_ms=time_ms(batch.expires_at))


def listed_of(batch: Batch) -> Listed:
    """Return what the audit needs of a batch in the list; there is no tag, only its results tell whose it is."""
    return Listed(
        provider_id=batch.id,
        created_ms=time_ms(batch.created_at),
        expires_ms=time_ms(batch.expires_at),
        total=progress_of(batch).total,
        running=batch.processing_status != "ended",
    )


def progress_of(batch: Batch) -> Progress:
    """Return how a batch is doing. It only ever "ends"; what expired or was cancelled, its results tell."""
    outcome: BatchOutcome | None = None
    if batch.processing_status == "ended":
        outcome = "cancelled" if batch.cancel_initiated_at else "completed"
    counts = shaped(batch.request_counts, _COUNTS) or _Counts()
    return Progress(
        provider_id=batch.id,
        status=batch.processing_status,
        outcome=outcome,
        total=counts.processing + counts.done,
        done=counts.done,
        ran=counts.succeeded + counts.errored,
        created_ms=time_ms(batch.created_at),
        expires_ms=time_ms(batch.expires_at),
        ended_ms=time_ms(batch.ended_at),
        # An ended batch has results even where it does not say where: they have an address that is known.
        results=(batch.results_url or f"/v1/messages/batches/{batch.id}/results",) if outcome else (),
    )


def usage_of(body: bytes | msgspec.Raw) -> Usage | None:
    """Return the tokens that a message counts; ``input_tokens`` there leaves out what was written to or read from caches.

    None where the shape is not known, or a count is absurd. What compactions used stands beside the sums, not in them.
    Source: platform.claude.com/docs/en/build-with-claude/compaction
    """
    try:
        usage = _MESSAGE.decode(body).usage
    except msgspec.DecodeError:
        return None
    if usage is None:
        return Usage()
    every: list[_Tokens] = [usage, *(each for each in usage.iterations or () if each.type == "compaction")]
    write = sum(each.cache_creation_input_tokens or 0 for each in every)
    read = sum(each.cache_read_input_tokens or 0 for each in every)
    return Usage(
        input_tokens=sum(each.input_tokens or 0 for each in every) + write + read,
        output_tokens=sum(each.output_tokens or 0 for each in every),
        cache_read_tokens=read,
        cache_write_tokens=write,
    ).believed()


def parse_result(line: bytes) -> Result:
    """Read one line of the results. Raises BadLine."""
    row = decode_line(line, _LINE)
    if not row.custom_id:
        raise BadLine("without custom_id")
    outcome, size = row.result, len(line)
    if outcome.type == "succeeded" and is_told(outcome.message):
        body = outcome.message
        return Result(custom_id=row.custom_id, kind="succeeded", body=body, usage=usage_of(body), size=size)
    if outcome.type == "errored":
        return _errored(row.custom_id, outcome.error, size)
    kinds: Mapping[str, ResultKind] = {"expired": "expired", "canceled": "cancelled"}
    return Result(custom_id=row.custom_id, kind=kinds.get(outcome.type, "retryable"), code=outcome.type, size=size)


def _errored(custom_id: str, error: msgspec.Raw, size: int) -> Result:
    told = read_error(error)
    return Result(
        custom_id=custom_id,
        kind="rejected" if told.type in _REJECTED else "retryable",
        code=told.code or "errored",
        message=told.message,
        size=size,
    )
