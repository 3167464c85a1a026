"""OpenAI's objects and lines as typed data, and what they mean to us; no calls.

Source: developers.openai.com/api/docs/guides/batch and its API reference, with payloads observed on the live API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from batchline.providers.failures import MAX_QUOTED, is_request_at_fault, read_error
from batchline.providers.lines import BadLine, decode_line, is_told
from batchline.providers.protocol import (
    BatchOutcome,
    Created,
    Listed,
    Progress,
    Refusal,
    Result,
    ResultKind,
    RowRefusal,
    Upload,
)
from batchline.requests import Usage

_ENDED: Mapping[str, BatchOutcome] = {
    "completed": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}


class BatchError(msgspec.Struct, frozen=True):
    """One entry of a batch's ``errors.data``; ``line`` counts the uploaded file's lines from 1."""

    code: str | None = None
    line: int | None = None
    message: str | None = None


class _Errors(msgspec.Struct, frozen=True):
    data: list[BatchError] | None = None


class _Counts(msgspec.Struct, frozen=True):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, frozen=True):
    """The batch object; times are unix seconds."""

    id: str
    status: str
    created_at: float | None = None
    expires_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelled_at: float | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Errors | None = None
    request_counts: _Counts | None = None
    metadata: dict[str, Any] | None = None


class BatchPage(msgspec.Struct, frozen=True):
    """One page of the list of batches, newest first."""

    data: list[Batch]
    has_more: bool = False


class File(msgspec.Struct, frozen=True):
    """An uploaded file; ``created_at`` is in unix seconds."""

    id: str
    created_at: float | None = None
    filename: str = ""
    purpose: str = ""


class FilePage(msgspec.Struct, frozen=True):
    """One page of the list of files, newest first."""

    data: list[File]
    has_more: bool = False


class _Response(msgspec.Struct, frozen=True):
    status_code: int
    body: msgspec.Raw = msgspec.Raw()


class _LineError(msgspec.Struct, frozen=True):
    code: str | None = None
    message: str | None = None


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    response: _Response | None = None
    error: _LineError | None = None


class InputLine(msgspec.Struct, frozen=True):
    """A row as it was uploaded, as far as we read it back."""

    custom_id: str


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Tokens(msgspec.Struct, frozen=True):
    """The usage of chat, completions and embeddings (prompt, completion) and of responses (input, output)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None


class _Answer(msgspec.Struct, frozen=True):
    usage: _Tokens | None = None


_BATCH = msgspec.json.Decoder(Batch)
PAGE = msgspec.json.Decoder(BatchPage)
FILE = msgspec.json.Decoder(File)
FILE_PAGE = msgspec.json.Decoder(FilePage)
_LINE = msgspec.json.Decoder(_Line)
INPUT_LINE = msgspec.json.Decoder(InputLine)
_ANSWER = msgspec.json.Decoder(_Answer)
_OUR_FILE = re.compile(r"batchline-(b[0-9a-f]{21,})-([a-z2-7]{10})\.jsonl")


def parse_batch(content: bytes) -> Batch:
    """Read a batch object. Raises msgspec.DecodeError."""
    return _BATCH.decode(content)


def created_of(batch: Batch) -> Created:
    """Return what the engine keeps of a batch that exists."""
    return Created(provider_id=batch.id, created_ms=_ms(batch.created_at), expires_ms=_ms(batch.expires_at))


def listed_of(batch: Batch) -> Listed:
    """Return what the audit needs of a batch in the list: our tag, and whether it runs or never did."""
    tag = batch.metadata or {}
    return Listed(
        provider_id=batch.id,
        created_ms=_ms(batch.created_at),
        expires_ms=_ms(batch.expires_at),
        total=(batch.request_counts or _Counts()).total,
        running=batch.status not in _ENDED,
        dead=batch.status == "failed",
        batch_id=str(tag.get("batchline_batch", "")),
        nonce=str(tag.get("batchline_nonce", "")),
        lane=str(tag.get("batchline_lane", "")),
        input_ref=batch.input_file_id or "",
    )


def file_name(batch_id: str, nonce: str) -> str:
    """Return the name under which an attempt's rows are uploaded; by it the file is known as ours."""
    return f"batchline-{batch_id}-{nonce}.jsonl"


def upload_of(file: File) -> Upload:
    """Return what the audit needs of a file in the list: its age, and our mark if its name has it."""
    ours = _OUR_FILE.fullmatch(file.filename)
    batch_id, nonce = ours.groups() if ours else ("", "")
    return Upload(ref=file.id, created_ms=_ms(file.created_at), batch_id=batch_id, nonce=nonce)


def custom_id_of(line: bytes) -> str:
    """Return the custom_id of a line of an input file. Raises BadLine."""
    return decode_line(line, INPUT_LINE).custom_id


def progress_of(batch: Batch) -> Progress:
    """Return how a batch is doing, without its refusal. A status that is not known counts as running.

    A "completed" batch may have failed in every row and have no output file; both files are results where they exist.
    Rows that expired or were cancelled are not in the counts, but in the total (observed, not documented).
    """
    counts = batch.request_counts or _Counts()
    ended = batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at
    return Progress(
        provider_id=batch.id,
        status=batch.status,
        outcome=_ENDED.get(batch.status),
        total=counts.total,
        done=counts.completed + counts.failed,
        ran=counts.completed + counts.failed,
        created_ms=_ms(batch.created_at),
        expires_ms=_ms(batch.expires_at),
        ended_ms=_ms(ended),
        results=tuple(ref for ref in (batch.output_file_id, batch.error_file_id) if ref),
    )


def refusal_of(batch: Batch, custom_ids: Callable[[frozenset[int]], Mapping[int, str]]) -> Refusal:
    """Return why a failed batch was refused; ``custom_ids`` reads back which row stands in which line of its file."""
    errors = (batch.errors and batch.errors.data) or []
    busy = next((e for e in errors if _is_busy(e)), None)
    if busy is not None:
        return Refusal(scope="busy", code=busy.code or "", message=(busy.message or "")[:MAX_QUOTED])
    lines = frozenset(e.line for e in errors if e.line is not None and e.line > 0)
    ids = custom_ids(lines) if lines else {}
    rows = tuple(
        RowRefusal(custom_id=ids[e.line], code=e.code or "", message=e.message or "")
        for e in errors
        if e.line is not None and e.line in ids
    )
    code = errors[0].code or "failed" if errors else "failed"
    if rows:
        return Refusal(scope="rows", code=code, message=f"refused in validation for {len(rows)} of its rows", rows=rows)
    # A message that belongs to a line may quote the prompt.
    quoted = next((e.message for e in errors if e.line is None and e.message), "no reason was told that names a row")
    return Refusal(scope="unknown", code=code, message=quoted[:MAX_QUOTED])


def _is_busy(error: BatchError) -> bool:
    """Whether the batch is not at fault: the quota is used up, or the uploaded file is not to be found (any more)."""
    return error.code == "token_limit_exceeded" or (
        error.line is None and (error.message or "").lower().startswith("cannot find file")
    )


def usage_of(body: bytes | msgspec.Raw) -> Usage | None:
    """Return the tokens that an answer counts; none are counted by moderations. None where the shape is not known."""
    try:
        tokens = _ANSWER.decode(body).usage
    except msgspec.DecodeError:
        return None
    if tokens is None:
        return Usage()
    details = tokens.prompt_tokens_details or tokens.input_tokens_details or _Cached()
    return Usage(
        input_tokens=tokens.prompt_tokens or tokens.input_tokens or 0,
        output_tokens=tokens.completion_tokens or tokens.output_tokens or 0,
        cache_read_tokens=details.cached_tokens or 0,
        cache_write_tokens=details.cache_write_tokens or 0,
    )


def parse_result(line: bytes) -> Result:
    """Read one line of an output or error file. Raises BadLine.

    The status code decides, never ``error`` alone: a rejected request has ``"error": null``.
    Source: github.com/openai/openai-openapi/issues/302
    """
    row = decode_line(line, _LINE)
    if not row.custom_id:
        raise BadLine("without custom_id")
    if row.response is None:
        return _not_run(row, len(line))
    return _answered(row.custom_id, row.response, len(line))


def _not_run(row: _Line, size: int) -> Result:
    error = row.error or _LineError(code="no_response")
    kinds: Mapping[str | None, ResultKind] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
    return Result(
        custom_id=row.custom_id,
        kind=kinds.get(error.code, "retryable"),
        code=error.code or "",
        message=error.message or "",
        size=size,
    )


def _answered(custom_id: str, response: _Response, size: int) -> Result:
    status, body = response.status_code, response.body
    if 200 <= status < 300 and is_told(body):
        return Result(custom_id=custom_id, kind="succeeded", body=body, usage=usage_of(body), size=size)
    told = read_error(body)
    return Result(
        custom_id=custom_id,
        kind="rejected" if is_request_at_fault(status, told) else "retryable",
        code=told.code or str(status),
        message=told.message or f"the provider answered {status}",
        size=size,
    )


def _ms(seconds: float | None) -> int:
    return int(seconds * 1000) if seconds else 0
