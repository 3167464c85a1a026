"""Gemini's operations and files as typed data, and what they mean to us; no calls.

The raw operation is read, since the SDK's typed one drops its error, its counts and its input file.
Source: ai.google.dev/api/batch-api, with payloads of the cookbook (github.com/google-gemini/cookbook).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from batchline.providers.failures import MAX_QUOTED
from batchline.providers.gemini_lines import Status, fields, inline_item, read_status
from batchline.providers.lines import decode_line, is_told
from batchline.providers.protocol import (
    BatchOutcome,
    Created,
    Job,
    Listed,
    Progress,
    Refusal,
    Storage,
    Upload,
)

EXPIRES_MS = 48 * 3_600_000
"""A job that is pending or running for 48 hours expires, and has no results then."""

_ENDED: Mapping[str, BatchOutcome] = {
    "SUCCEEDED": "completed",
    "PARTIALLY_SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
_STATE = re.compile(r"(?:BATCH|JOB)_STATE_")
"""The reference says BATCH_STATE_*, samples in the guide JOB_STATE_*."""
_RUNNING = frozenset({"PENDING", "RUNNING", "QUEUED", "CANCELLING", "PAUSED", "UPDATING"})
"""What the reference, or the SDK's JobState, says of one that has not ended."""
_BUSY = "RESOURCE_EXHAUSTED"
_NOT_FOUND = frozenset({"NOT_FOUND", "404"})
_NO_ROWS_FAULT = frozenset({"PERMISSION_DENIED", "403", "FAILED_PRECONDITION"}) | _NOT_FOUND
_OF_A_ROW = re.compile(r"cached ?content|\bfiles/|\bfile [a-z0-9]{12}\b", re.IGNORECASE)
"""What an error names that is about a row's own reference, unless it is the batch's file."""
_PAGE = 100
_NO_RAW = msgspec.Raw()
_DONE = msgspec.json.Decoder(bool)
_RAW = msgspec.json.Decoder(msgspec.Raw)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_COUNT = msgspec.json.Decoder(int, strict=False)
_TEXT = msgspec.json.Decoder(str)
_MOMENT = msgspec.json.Decoder(datetime)
_TAG = re.compile(r"batchline:([a-z0-9]{1,64}):([a-z0-9]{1,32}):(.{0,200})")
_OUR_FILE = re.compile(r"batchline-([a-z0-9]{1,64})-([a-z0-9]{1,32})\.jsonl")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at Gemini. Times are unix milliseconds, 0 when not told; ``state`` is without its prefix.

    Its results are in the file ``results_file``, or in the operation itself (``inline``).
    """

    name: str
    state: str = ""
    done: bool = False
    display_name: str = ""
    input_file: str = ""
    created_ms: int = 0
    ended_ms: int = 0
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    error: Status | None = None
    results_file: str = ""
    inline: msgspec.Raw = _NO_RAW

    @property
    def outcome(self) -> BatchOutcome | None:
        """Return how it ended, None while it runs. A state that is not known counts as running, unless it says "done".

        Then it has ended, even where nothing else is told: it would run for ever otherwise.
        """
        has_results = bool(self.results_file) or is_told(self.inline)
        outcome = _ENDED.get(self.state)
        if outcome is None and self.done and self.error:
            outcome = "cancelled" if self.error.kind == "cancelled" else "failed"
        elif outcome is None and self.done and (has_results or self.state not in _RUNNING):
            outcome = "completed"
        # What has results was run, so it was not refused: those rows are answered, the rest goes again.
        return "completed" if outcome == "failed" and has_results else outcome


class Order:
    """Whether a list comes newest first, as far as it was seen: at least one step down, and none up."""

    def __init__(self) -> None:
        self._last_ms: int | None = None
        self._falls = False
        self._rises = False

    def see(self, page: list[Operation]) -> None:
        """Look at one more page."""
        for each in page:
            if self._last_ms is not None:
                self._falls |= each.created_ms < self._last_ms
                self._rises |= each.created_ms > self._last_ms
            self._last_ms = each.created_ms

    @property
    def is_falling(self) -> bool:
        """Whether it came newest first so far."""
        return self._falls and not self._rises


def parse_operation(content: bytes) -> Operation:
    """Read an operation. Raises msgspec.DecodeError or BadLine."""
    return _operation_of(decode_line(content, _RAW))


def _operation_of(raw: msgspec.Raw) -> Operation:
    told = fields(raw)
    batch = fields(told.get("metadata", _NO_RAW))
    stats = fields(batch.get("batchStats", _NO_RAW))
    # What it brought stands in the response of an operation and in the output of a batch.
    output = dict(fields(batch.get("output", _NO_RAW))) | dict(fields(told.get("response", _NO_RAW)))
    inline = output.get("inlinedResponses", output.get("inlinedEmbedContentResponses", _NO_RAW))
    error = read_status(told["error"]) if "error" in told else None
    return Operation(
        name=_TEXT.decode(told.get("name", batch.get("name", _NO_RAW))),
        state=_STATE.sub("", _read(_TEXT, batch, "state", "")),
        done=_read(_DONE, told, "done", False),
        display_name=_read(_TEXT, batch, "displayName", ""),
        input_file=_read(_TEXT, fields(batch.get("inputConfig", _NO_RAW)), "fileName", ""),
        created_ms=_ms(batch, "createTime"),
        ended_ms=_ms(batch, "endTime"),
        total=_read(_COUNT, stats, "requestCount", 0),
        succeeded=_read(_COUNT, stats, "successfulRequestCount", 0),
        failed=_read(_COUNT, stats, "failedRequestCount", 0),
        error=error,
        results_file=_read(_TEXT, output, "responsesFile", ""),
        inline=fields(inline).get("inlinedResponses", _NO_RAW),
    )


def _read(decoder: msgspec.json.Decoder[Any], told: Mapping[str, msgspec.Raw], name: str, default: Any) -> Any:
    return decoder.decode(told[name]) if name in told else default


def _ms(told: Mapping[str, msgspec.Raw], name: str) -> int:
    moment = _read(_MOMENT, told, name, None)
    try:
        return int(moment.timestamp() * 1000) if moment else 0
    except (ValueError, OverflowError):  # a time without a zone at the edge of what there is
        return 0


def model_path(pattern: str, model: str) -> str:
    """Return the path of a call to a model, below the API's version."""
    full = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return quote(full) + pattern.removeprefix("models/{model}")


def list_path(what: str, token: str) -> str:
    """Return the path of a page of a list, below the API's version."""
    return f"{what}?pageSize={_PAGE}" + (f"&pageToken={quote(token, safe='')}" if token else "")


def parse_page(content: bytes) -> tuple[list[Operation], str]:
    """Read a page of the list of batches, and the token of the next one, if any. Raises msgspec.DecodeError or BadLine."""
    told = fields(decode_line(content, _RAW))
    operations = _read(_ITEMS, told, "operations", [])
    return [_operation_of(each) for each in operations], _read(_TEXT, told, "nextPageToken", "")


def inline_items(operation: Operation) -> list[msgspec.Raw]:
    """Return the results that stand in an operation, in the order of its rows. Raises msgspec.DecodeError."""
    return _ITEMS.decode(operation.inline) if is_told(operation.inline) else []


def created_of(operation: Operation) -> Created:
    """Return what the engine keeps of a batch that exists."""
    return Created(
        provider_id=operation.name,
        created_ms=operation.created_ms,
        expires_ms=_expires_ms(operation),
    )


def listed_of(operation: Operation) -> Listed:
    """Return what the audit needs of a batch in the list: our tag, and whether it runs or never did."""
    batch_id, nonce, lane = tag_of(operation)
    outcome = operation.outcome
    return Listed(
        provider_id=operation.name,
        created_ms=operation.created_ms,
        expires_ms=_expires_ms(operation),
        total=operation.total,
        running=outcome is None,
        dead=outcome == "failed" and not operation.succeeded + operation.failed,
        batch_id=batch_id,
        nonce=nonce,
        lane=lane,
        input_ref=operation.input_file,
    )


def progress_of(operation: Operation) -> Progress:
    """Return how a batch is doing. Whatever results an ended one has are read.

    One that has none may not have run, where it expired, failed or was cancelled. Where it says that all went well they are
    asked for again, for a while: it counts as run by as many rows as it tells of, by one at least.
    """
    outcome = operation.outcome
    ran = operation.succeeded + operation.failed
    refs: tuple[str, ...] = ()
    if outcome is not None:
        refs = tuple(
            ref for ref in (operation.results_file, operation.name if is_told(operation.inline) else "") if ref
        )
    if outcome is not None and not refs:
        ran = max(ran, operation.total, 1) if outcome == "completed" else 0
    refusal = _refusal_of(operation) if outcome == "failed" else None
    return Progress(
        provider_id=operation.name,
        status=operation.state,
        outcome=outcome,
        refusal=refusal,
        total=operation.total,
        done=operation.succeeded + operation.failed,
        ran=ran,
        created_ms=operation.created_ms,
        expires_ms=_expires_ms(operation),
        ended_ms=operation.ended_ms,
        results=refs,
        reason=_told(operation.error or Status()) if outcome == "failed" and not refusal else "",
    )


def _refusal_of(operation: Operation) -> Refusal | None:
    """Return why a failed batch was refused; None where Google broke down over it: nothing in it is at fault."""
    error = operation.error or Status()
    if not (error.name or error.message):
        return Refusal(scope="untold", code="failed", message="no reason was told")
    message = (error.message or error.name)[:MAX_QUOTED]
    if error.name == _BUSY or error.code == 429:
        return Refusal(scope="busy", code=_BUSY, message=message)
    if error.name and error.kind != "rejected":
        return None
    if error.name in _NOT_FOUND and "model" in message:
        return Refusal(scope="unknown", code="model_not_found", message=message)
    if error.name in _NO_ROWS_FAULT and _is_about_the_batch(operation, message):
        gone = operation.input_file and error.name != "FAILED_PRECONDITION"
        return Refusal(scope="busy", code="invalid_file" if gone else error.name, message=message)
    return Refusal(scope="unknown", code=error.name or "failed", message=message)


def _told(error: Status) -> str:
    return f"{error.name}: {error.message}"[:MAX_QUOTED] if error.message else error.name


def _is_about_the_batch(operation: Operation, message: str) -> bool:
    """Whether an error is about the batch's own file, or about nothing that a row could have named."""
    own = operation.input_file.removeprefix("files/")
    return bool(own and own in message) or not _OF_A_ROW.search(message)


def _expires_ms(operation: Operation) -> int:
    return operation.created_ms + EXPIRES_MS if operation.created_ms else 0


def tag(job: Job) -> str:
    """Return the display name under which an attempt's batch is created, and found again: at most 310 characters."""
    return f"batchline:{job.batch_id}:{job.nonce}:{job.lane}"


def tag_of(operation: Operation) -> tuple[str, str, str]:
    """Return the batch id, nonce and lane of a batch of ours, empty where it is none."""
    ours = _TAG.fullmatch(operation.display_name)
    return (ours[1], ours[2], ours[3]) if ours else ("", "", "")


def create_body(rows: BinaryIO, job: Job) -> bytes:
    """Return what a create call says: where the rows are, or the rows themselves, and the tag. Raises BadLine."""
    config = b'{"fileName":' + msgspec.json.encode(job.input_ref) + b"}" if job.input_ref else _inline(rows)
    return b'{"batch":{"inputConfig":' + config + b',"displayName":' + msgspec.json.encode(tag(job)) + b"}}"


def _inline(rows: BinaryIO) -> bytearray:
    rows.seek(0)
    config = bytearray(b'{"requests":{"requests":[')
    for number, line in enumerate(rows):
        config += b"," * (number > 0) + inline_item(line.rstrip(b"\n"))
    config += b"]}}"
    return config


def file_name(batch_id: str, nonce: str) -> str:
    """Return the display name under which an attempt's rows are uploaded; by it the file is known as ours."""
    return f"batchline-{batch_id}-{nonce}.jsonl"


class _File(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    display_name: str = ""
    size_bytes: int = 0
    create_time: datetime | None = None
    source: str = ""


class FilePage(msgspec.Struct, frozen=True, rename="camel"):
    """One page of the list of files, in no order that is promised."""

    files: list[_File] = []
    next_page_token: str = ""


FILE_PAGE = msgspec.json.Decoder(FilePage, strict=False)


def uploads_of(page: FilePage) -> list[Upload]:
    """Return the uploaded files of a page: their age and size, and our mark where their name has it."""
    return [_upload_of(file) for file in page.files if file.source != "GENERATED"]


def _upload_of(file: _File) -> Upload:
    ours = _OUR_FILE.fullmatch(file.display_name)
    return Upload(
        ref=file.name,
        created_ms=int(file.create_time.timestamp() * 1000) if file.create_time else 0,
        batch_id=ours[1] if ours else "",
        nonce=ours[2] if ours else "",
        size=file.size_bytes,
    )


def add_up(storage: Storage, page: FilePage) -> Storage:
    """Return what is stored when the files of one more page are counted."""
    ours = [file.size_bytes for file in page.files if _OUR_FILE.fullmatch(file.display_name)]
    return Storage(
        files=storage.files + len(page.files),
        bytes=storage.bytes + sum(file.size_bytes for file in page.files),
        ours=storage.ours + len(ours),
        our_bytes=storage.our_bytes + sum(ours),
    )
