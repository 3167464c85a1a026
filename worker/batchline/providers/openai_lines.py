"""OpenAI's result lines and answers as typed data, and what they mean to us; no calls.

Source: developers.openai.com/api/docs/guides/batch, with payloads observed on the live API.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchline.providers.failures import Told, is_request_at_fault, read_error
from batchline.providers.lines import BadLine, decode_line, is_told
from batchline.providers.protocol import Result, ResultKind
from batchline.requests import TokenCount, Usage


class _Response(msgspec.Struct, frozen=True):
    status_code: int
    body: msgspec.Raw = msgspec.Raw()


class _LineError(msgspec.Struct, frozen=True):
    code: str | int | None = None
    message: str | None = None


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: TokenCount | None = None
    cache_write_tokens: TokenCount | None = None


class _Tokens(msgspec.Struct, frozen=True):
    """The usage of chat, completions and embeddings (prompt, completion) and of responses (input, output)."""

    prompt_tokens: TokenCount | None = None
    completion_tokens: TokenCount | None = None
    prompt_tokens_details: _Cached | None = None
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    input_tokens_details: _Cached | None = None


class _Answer(msgspec.Struct, frozen=True):
    usage: _Tokens | None = None


_LINE = msgspec.json.Decoder(_Line)
_LINE_ERROR = msgspec.json.Decoder(_LineError)
_ANSWER = msgspec.json.Decoder(_Answer)


def usage_of(body: bytes | msgspec.Raw) -> Usage | None:
    """Return the tokens that an answer counts; none are counted by moderations. None where the shape is not known, or a count is absurd."""
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
    return _answered(row, row.response, len(line))


def _not_run(row: _Line, size: int) -> Result:
    told = _told(row.error) if is_told(row.error) else Told(code="no_response")
    kinds: Mapping[str, ResultKind] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
    return Result(
        custom_id=row.custom_id,
        kind=kinds.get(told.code, "retryable"),
        code=told.code,
        message=told.message,
        size=size,
    )


def _answered(row: _Line, response: _Response, size: int) -> Result:
    status, body = response.status_code, response.body
    if 200 <= status < 300 and is_told(body):
        return Result(custom_id=row.custom_id, kind="succeeded", body=body, usage=usage_of(body), size=size)
    told = read_error(body) if is_told(body) else _told(row.error)
    return Result(
        custom_id=row.custom_id,
        kind="rejected" if is_request_at_fault(status, told) else "retryable",
        code=told.code or str(status),
        message=told.message or f"the provider answered {status}",
        size=size,
    )


def _told(error: msgspec.Raw) -> Told:
    """Read a line's ``error``: ``{"code", "message"}``, or with another ``error`` around it (vLLM); else nothing is told."""
    if not is_told(error):
        return Told()
    try:
        found = _LINE_ERROR.decode(error)
    except msgspec.DecodeError:
        return Told()
    if found.code is None and found.message is None:
        return read_error(error)
    return Told(code="" if found.code is None else str(found.code), message=found.message or "")
