"""Gemini's rows and results as typed data: what stands in files and in create calls, and what comes back; no calls.

Source: ai.google.dev/gemini-api/docs/batch-api and ai.google.dev/api/batch-api.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

import msgspec

from batchline.providers.failures import MAX_QUOTED
from batchline.providers.lines import BadLine, Unassigned, decode_line, is_told
from batchline.providers.protocol import Result, ResultKind
from batchline.requests import TokenCount, Usage

CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of google.rpc.Code, by number. Source: github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""

_AGAIN = frozenset(
    # OK in an error says nothing; UNKNOWN and DATA_LOSS stand for HTTP 500; UNAUTHENTICATED is the account's fault.
    {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
    | {"OK", "UNKNOWN", "DATA_LOSS", "UNAUTHENTICATED"}
)
_HTTP_AGAIN = frozenset({401, 402, 408, 409, 429})
_HTTP_CANCELLED = 499
_HEAD = b'{"key":"'
_MIDDLE = b'","request":'
_INLINE_EXTRA = 14
"""Bytes by which a row and its comma are longer in a create call than a row and its line feed in a file."""
_ENVELOPE = 1_000
"""Bytes enough for what a create call has around its rows: the tag and the brackets."""


class Status(msgspec.Struct, frozen=True):
    """google.rpc.Status as it stands in an operation or a line; the code may be one of gRPC's or of HTTP's."""

    code: int | None = None
    status: str | None = None
    message: str | None = None

    @property
    def name(self) -> str:
        """Return the finest name of the error that there is."""
        number = self.code
        if self.status:
            return self.status
        if number is None:
            return ""
        return CODES[number] if 0 <= number < len(CODES) else str(number)

    @property
    def kind(self) -> ResultKind:
        """Return what the error means for a row: whether it is refused for good, was not run, or may go again."""
        http = self.code if self.code is not None and self.code >= len(CODES) else None
        if self.name == "CANCELLED" or http == _HTTP_CANCELLED:
            return "cancelled"
        if http is not None:
            return "rejected" if 400 <= http < 500 and http not in _HTTP_AGAIN else "retryable"
        return "retryable" if not self.name or self.name in _AGAIN else "rejected"


OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STATUS = msgspec.json.Decoder(Status, strict=False)
_TEXT = msgspec.json.Decoder(str | int)
_COUNT = msgspec.json.Decoder(TokenCount, strict=False)
_NO_RAW = msgspec.Raw()


def fields(raw: bytes | msgspec.Raw) -> Mapping[str, msgspec.Raw]:
    """Return an object's fields under their camelCase names: protobuf's JSON may use either. Raises msgspec.DecodeError."""
    found = OBJECT.decode(raw) if is_told(msgspec.Raw(raw)) else {}
    return {(_camel(name) if "_" in name else name): value for name, value in found.items() if is_told(value)}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def row(custom_id: str, body: bytes) -> bytes:
    """Return one row of a file, without line feed; custom_ids need no escaping."""
    return _HEAD + custom_id.encode("ascii") + _MIDDLE + body + b"}"


def key_of(line: bytes) -> str:
    """Return the custom_id of a row of a file. Raises BadLine."""
    key = _key(decode_line(line, OBJECT).get("key", _NO_RAW))
    if not key:
        raise BadLine("without key")
    return key


def inline_size(size: int, rows: int) -> int:
    """Return how many bytes a create call has at most that carries these rows (``size``: with line feeds) itself."""
    return size + _INLINE_EXTRA * rows + _ENVELOPE


def inline_item(line: bytes) -> bytes:
    """Return a row of a file as it stands in a create call: the custom_id becomes metadata. Raises BadLine."""
    head, middle, body = line.partition(_MIDDLE)
    if not head.startswith(_HEAD) or not middle or not body.endswith(b"}"):
        raise BadLine("no row of ours")
    return b'{"request":' + body[:-1] + b',"metadata":{"key":"' + head[len(_HEAD) :] + b'"}}'


def parse_result(line: bytes) -> Result:
    """Read one line of a file of results. Raises BadLine."""
    told = _decoded(line)
    key = _key(told.get("key", _NO_RAW))
    if not key:
        raise BadLine("without key")
    return _result(key, told, len(line))


_ON_LINE = re.compile(r"^Error on line (\d+): (.+)$", re.MULTILINE)


def refused_rows(message: str, rows: BinaryIO) -> tuple[tuple[str, str], ...]:
    """Return the custom_ids of the rows that a create call was refused for, by the lines (from 1) that its message names.

    Each with what is wrong of it, cut short. Source: github.com/UKGovernmentBEIS/inspect_ai/issues/3257
    """
    named = {int(number): text[:MAX_QUOTED] for number, text in _ON_LINE.findall(message)}
    if not named:
        return ()
    rows.seek(0)
    lines = ((named.get(number), line) for number, line in enumerate(rows, start=1))
    return tuple((key_of(line), text) for text, line in lines if text)


def inline_results(sent: Sequence[str], items: Sequence[bytes]) -> Callable[[bytes], Result]:
    """Return a reader of results that stand in the operation, to be asked for each of them in turn.

    Google echoes our key, or does not, and answers have come back in another order than their rows (Sources:
    github.com/googleapis/python-genai/issues/1886, 1909 and 2008). So an echo is believed. Where there is none, the row in the
    same place is, as ``sent`` tells it, if there are as many and no echo contradicts its own place; else the reader raises Unassigned.
    """
    echoes = [_echo(item) for item in items]
    in_order = len(sent) == len(items) and all(echo in ("", row) for echo, row in zip(echoes, sent, strict=True))
    custom_ids = iter(
        [echo or (row if in_order else "") for echo, row in zip(echoes, _padded(sent, len(items)), strict=True)]
    )

    def read(item: bytes) -> Result:
        custom_id = next(custom_ids, "")
        told = _decoded(item)
        if not custom_id:
            raise Unassigned("without key, and nothing tells which row was sent in its place")
        return _result(custom_id, told, len(item))

    return read


def _padded(sent: Sequence[str], total: int) -> Sequence[str]:
    return sent if len(sent) == total else [""] * total


def _echo(item: bytes) -> str:
    """Return the key that a result echoes, or nothing."""
    try:
        metadata = _decoded(item).get("metadata", _NO_RAW)
        return _key(fields(metadata).get("key", _NO_RAW)) if is_told(metadata) else ""
    except (msgspec.DecodeError, BadLine):
        return ""


def _decoded(line: bytes) -> Mapping[str, msgspec.Raw]:
    found = decode_line(line, OBJECT)
    return {name: value for name, value in found.items() if is_told(value)}


def _key(raw: msgspec.Raw) -> str:
    if not is_told(raw):
        return ""
    try:
        return str(_TEXT.decode(raw))
    except msgspec.DecodeError:
        raise BadLine("with a key that is no text") from None


def _result(custom_id: str, told: Mapping[str, msgspec.Raw], size: int) -> Result:
    """Return a row's end. An answer that a filter blocked is an answer all the same: it is complete, and paid for."""
    body = told.get("response")
    if body is not None:
        return Result(custom_id=custom_id, kind="succeeded", body=body, usage=usage_of(body), size=size)
    status = read_status(told.get("error", told.get("status", _NO_RAW)))
    return Result(
        custom_id=custom_id,
        kind=status.kind,
        code=status.name or "no_response",
        message=status.message or "",
        size=size,
    )


def read_status(raw: msgspec.Raw) -> Status:
    """Read a google.rpc.Status; one of another shape tells nothing."""
    try:
        return _STATUS.decode(raw) if is_told(raw) else Status()
    except msgspec.DecodeError:
        return Status()


def usage_of(body: bytes | msgspec.Raw) -> Usage | None:
    """Return the tokens that an answer counts; None where it has some and does not tell how many, or tells what is absurd.

    What was read from a cache is among the prompt's tokens, thoughts are paid as output, and what tools brought as input.
    """
    try:
        told = fields(body)
        counts = fields(told.get("usageMetadata", _NO_RAW))
        if "promptTokenCount" in counts:
            return _counted(counts).believed()
        if "tokenCount" in told:  # an embedding may have only this
            return Usage(input_tokens=_COUNT.decode(told["tokenCount"]))
    except msgspec.DecodeError:
        return None
    return None if told.keys() & {"usageMetadata", "embedding", "embeddings"} else Usage()


def _counted(told: Mapping[str, msgspec.Raw]) -> Usage:
    def count(name: str) -> int:
        return _COUNT.decode(told[name]) if name in told else 0

    return Usage(
        input_tokens=count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output_tokens=count("candidatesTokenCount") + count("thoughtsTokenCount"),
        cache_read_tokens=count("cachedContentTokenCount"),
    )
