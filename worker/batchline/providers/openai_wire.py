"""OpenAI's objects as typed data, and what they mean to us; no calls. Lines of results are in openai_lines.py.

Services that are only compatible are read as well: what they leave out, or have in another shape, is not told, and no reason
to refuse the whole object.

Source: developers.openai.com/api/docs/guides/batch and its API reference, with payloads observed on the live API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec

from batchline.errors import KeyRefused, Permanent
from batchline.providers.failures import MAX_QUOTED
from batchline.providers.lines import decode_line
from batchline.providers.paging import Pages
from batchline.providers.protocol import (
    BatchOutcome,
    Created,
    Job,
    Listed,
    Progress,
    Refusal,
    RowRefusal,
    Storage,
    Upload,
)
from batchline.providers.shapes import Count, Text, mend, shaped, time_ms

RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
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
    """How many rows came to which end. Azure has nulls in here.

    Source: learn.microsoft.com/azure/foundry/openai/how-to/batch
    """

    total: Count | None = None
    completed: Count | None = None
    failed: Count | None = None


class Batch(msgspec.Struct, frozen=True):
    """The batch object; times are unix seconds, or texts (ISO 8601) from services that write them so: see `time_ms`."""

    id: Text
    status: Text
    created_at: Any = None
    expires_at: Any = None
    completed_at: Any = None
    failed_at: Any = None
    expired_at: Any = None
    cancelled_at: Any = None
    input_file_id: Text = ""
    output_file_id: Text = ""
    error_file_id: Text = ""
    errors: msgspec.Raw = msgspec.Raw()
    request_counts: msgspec.Raw = msgspec.Raw()
    metadata: Any = None

    def __post_init__(self) -> None:
        mend(self, "id", "status", "input_file_id", "output_file_id", "error_file_id")


class _Paging(msgspec.Struct, frozen=True):
    next_cursor: Text = ""

    def __post_init__(self) -> None:
        mend(self, "next_cursor")


class BatchPage(msgspec.Struct, frozen=True):
    """One page of the list of batches; ``paging`` is Groq's."""

    data: list[Batch] | None
    has_more: bool | None = None
    paging: _Paging | None = None


class File(msgspec.Struct, frozen=True):
    """A file; times are as a batch's, ``bytes`` its size."""

    id: Text
    created_at: Any = None
    bytes: msgspec.Raw = msgspec.Raw()
    filename: Text = ""
    purpose: Text = ""

    def __post_init__(self) -> None:
        mend(self, "id", "filename", "purpose")


class FilePage(msgspec.Struct, frozen=True):
    """One page of the list of files; ``paging`` is Groq's."""

    data: list[File] | None
    has_more: bool | None = None
    paging: _Paging | None = None


Query = dict[str, str | int]
Page = TypeVar("Page", BatchPage, FilePage)


class InputLine(msgspec.Struct, frozen=True):
    """A row as it was uploaded, as far as we read it back."""

    custom_id: str


_BATCH = msgspec.json.Decoder(Batch)
PAGE = msgspec.json.Decoder(BatchPage)
FILE = msgspec.json.Decoder(File)
FILE_PAGE = msgspec.json.Decoder(FilePage)
INPUT_LINE = msgspec.json.Decoder(InputLine)
_SIZE = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=2**53)])
_COUNTS = msgspec.json.Decoder(_Counts)
_ERRORS = msgspec.json.Decoder(_Errors | list[BatchError] | None)
_OUR_FILE = re.compile(r"batchline-(b[0-9a-f]{21,})-([a-z2-7]{10})\.jsonl")
_LIMIT = re.compile(r"\blimit: ?(\d[\d,]*)(?![\d.,]*[a-z])", re.IGNORECASE)
_NO_FILE = re.compile(r"cannot find file|input file\b.{0,120}\bnot found", re.IGNORECASE | re.DOTALL)
_TOO_LARGE = re.compile(r"file (size )?exceeds the maximum", re.IGNORECASE)


def parse_batch(content: bytes) -> Batch:
    """Read a batch object. Raises msgspec.DecodeError."""
    return _BATCH.decode(content)


def create_body(job: Job, *, path: str, window: str, tagged: bool, expiry_s: int | None) -> bytes:
    """Return what a create call says, byte for byte as the SDK writes it: only so it can leave fenced."""
    tag = {"batchline_batch": job.batch_id, "batchline_nonce": job.nonce, "batchline_lane": job.lane}
    body: dict[str, Any] = {"completion_window": window, "endpoint": path, "input_file_id": job.input_ref or ""}
    body |= {"metadata": tag} if tagged else {}
    body |= {"output_expires_after": {"anchor": "created_at", "seconds": expiry_s}} if expiry_s else {}
    return msgspec.json.encode(body)


def in_our_words(batch: Batch, spellings: Mapping[str, str]) -> Batch:
    """Return a batch with the status that OpenAI has for what its service calls otherwise; an unknown one stays."""
    told = batch.status.strip().lower()
    return msgspec.structs.replace(batch, status=spellings.get(told, told))


def lasting(batch: Batch, lasts_s: int | None) -> Batch:
    """Return a batch with the time at which it is over for certain, where the service does not end it with its window."""
    created_s = time_ms(batch.created_at) / 1000
    return msgspec.structs.replace(batch, expires_at=created_s + lasts_s) if created_s and lasts_s else batch


def is_known(status: str) -> bool:
    """Whether a status is one of OpenAI's; what is not counts as running."""
    return status in RUNNING or status in _ENDED


def pages(read: Callable[[Query], Page], *, by_offset: bool) -> Iterator[Page]:
    """Yield the pages of a list to its end; ``read`` gets one, given what to ask for besides. A list that repeats itself ends."""
    total, after, seen = 0, Query(), Pages()
    while True:
        page = read(after)
        items = page.data or ()
        if not seen.brings_news(each.id for each in items):
            return
        yield page
        total += len(items)
        after = _following(page, seen=total, by_offset=by_offset)
        if not seen.goes_on(tuple(after.items())):
            return


def _following(page: Page, *, seen: int, by_offset: bool) -> Query:
    """Return what to ask for to get the next page, nothing at the end of the list. ``seen``: how many items came so far."""
    if page.paging and page.paging.next_cursor:
        return {"cursor": page.paging.next_cursor}
    if not page.has_more or not page.data:
        return {}
    return {"after": seen if by_offset else page.data[-1].id}


def created_of(batch: Batch) -> Created:
    """Return what the engine keeps of a batch that exists."""
    return Created(provider_id=batch.id, created_ms=time_ms(batch.created_at), expires_ms=time_ms(batch.expires_at))


def listed_of(batch: Batch) -> Listed:
    """Return what the audit needs of a batch in the list: our tag, and whether it runs or never did."""
    tag = _tag(batch)
    return Listed(
        provider_id=batch.id,
        created_ms=time_ms(batch.created_at),
        expires_ms=time_ms(batch.expires_at),
        total=_counts(batch).total or 0,
        running=batch.status not in _ENDED,
        dead=_is_refused(batch),
        batch_id=str(tag.get("batchline_batch", "")),
        nonce=str(tag.get("batchline_nonce", "")),
        lane=str(tag.get("batchline_lane", "")),
        input_ref=batch.input_file_id,
    )


def is_ours(batch: Batch, *, nonce: str, input_ref: str | None) -> bool:
    """Whether a batch is proven to be an attempt's: by our tag, or by the file, which is uploaded anew for each attempt."""
    return _tag(batch).get("batchline_nonce") == nonce or (bool(input_ref) and batch.input_file_id == input_ref)


def may_be_ours(batch: Batch, *, rows: int) -> bool:
    """Whether nothing shows that a batch is not an attempt's: it has neither a tag nor a file, and no other number of rows."""
    untold = not batch.metadata and not batch.input_file_id
    return untold and not _is_refused(batch) and listed_of(batch).total in {0, rows}


def file_name(batch_id: str, nonce: str) -> str:
    """Return the name under which an attempt's rows are uploaded; by it the file is known as ours."""
    return f"batchline-{batch_id}-{nonce}.jsonl"


def upload_of(file: File) -> Upload:
    """Return what the audit needs of a file in the list: its age, and our mark if its name has it."""
    ours = _OUR_FILE.fullmatch(file.filename)
    batch_id, nonce = ours.groups() if ours else ("", "")
    size = int(shaped(file.bytes, _SIZE) or 0)
    return Upload(ref=file.id, created_ms=time_ms(file.created_at), batch_id=batch_id, nonce=nonce, size=size)


def storage_of(files: Iterable[File]) -> Storage:
    """Add up files. Ours are those with our mark in their name: rows that were uploaded.

    Files of results are named by the provider and tell nobody's mark, so they count among all files only.
    """
    count = size = ours = our_size = 0
    for file in files:
        upload = upload_of(file)
        count, size = count + 1, size + upload.size
        if upload.batch_id:
            ours, our_size = ours + 1, our_size + upload.size
    return Storage(files=count, bytes=size, ours=ours, our_bytes=our_size)


def custom_id_of(line: bytes) -> str:
    """Return the custom_id of a line of an input file. Raises BadLine."""
    return decode_line(line, INPUT_LINE).custom_id


def progress_of(batch: Batch, *, counts_unrun: bool = False) -> Progress:
    """Return how a batch is doing, without its refusal. A status that is not known counts as running.

    A "completed" batch may have failed in every row and have no output file; both files are results where they exist.
    Rows that expired or were cancelled are not in the counts, but in the total (observed, not documented).
    Where a service counts them as failed all the same (``counts_unrun``), only what succeeded is certain to have been run.
    One that failed with results of rows that succeeded has ended early, as llm-d's may: what is missing goes again.
    """
    counts = _counts(batch)
    ran = (counts.completed or 0) + (counts.failed or 0)
    ended = batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at
    outcome = _ENDED.get(batch.status)
    if outcome == "failed" and not _is_refused(batch):
        outcome = "expired"
    cut_short = counts_unrun and outcome in {"cancelled", "expired"}
    return Progress(
        provider_id=batch.id,
        status=batch.status,
        outcome=outcome,
        total=counts.total or 0,
        done=ran,
        ran=counts.completed or 0 if cut_short else ran,
        created_ms=time_ms(batch.created_at),
        expires_ms=time_ms(batch.expires_at),
        ended_ms=time_ms(ended),
        results=tuple(ref for ref in (batch.output_file_id, batch.error_file_id) if ref),
    )


def refusal_of(batch: Batch, custom_ids: Callable[[frozenset[int]], Mapping[int, str]]) -> Refusal:
    """Return why a failed batch was refused; ``custom_ids`` reads back which row stands in which line of its file."""
    errors = _errors(batch)
    busy = next((e for e in errors if _is_busy(e)), None)
    if busy is not None:
        told = busy.message or ""
        return Refusal(scope="busy", code=busy.code or "", message=told[:MAX_QUOTED], limit=told_limit(told))
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
    if not any(e.code or e.message or e.line for e in errors):
        return Refusal(scope="untold", code=code, message="no reason was told")
    # A message that belongs to a line may quote the prompt.
    quoted = next((e.message for e in errors if e.line is None and e.message), "no reason was told that names a row")
    return Refusal(scope="unknown", code=code, message=quoted[:MAX_QUOTED])


def _is_busy(error: BatchError) -> bool:
    """Whether the batch is not at fault: the quota is used up, or the uploaded file is not to be found (any more)."""
    return error.code == "token_limit_exceeded" or (error.line is None and says_no_file(error.message or ""))


def told_limit(message: str) -> int | None:
    """Return the limit of enqueued tokens that a provider names in its refusal, None where it names none.

    "Limit: 2,000,000 enqueued tokens." A number with a unit behind it ("2M") is not read: it would be far too small.
    Source: github.com/openai/openai-python/issues/2084
    """
    found = _LIMIT.search(message)
    return int(found[1].replace(",", "")) or None if found else None


def says_no_file(message: str) -> bool:
    """Whether a service says that it does not find the uploaded file (any more).

    OpenAI: "Cannot find file file-…"; llm-d: "Input file with ID '…' not found".
    """
    return _NO_FILE.search(message) is not None


def says_too_large(message: str) -> bool:
    """Whether a service other than OpenAI says that a file is too large: llm-d's "File size exceeds the maximum …"."""
    return _TOO_LARGE.search(message) is not None


@contextmanager
def in_openais_words() -> Iterator[None]:
    """Say of a refusal what OpenAI would say: by these words the engine tells a missing file and one that is too large."""
    try:
        yield
    except KeyRefused:
        raise
    except Permanent as error:
        text = str(error)
        words = "cannot find file" if says_no_file(text) else "the file is too large" if says_too_large(text) else ""
        if not words or words in text.lower():
            raise
        raise Permanent(
            f"{text} ({words})", account=error.account, call=error.call, code=error.code, status=error.status
        ) from None


def _is_refused(batch: Batch) -> bool:
    """Whether a batch was refused as a whole: it never ran. Azure makes files for such a batch, too."""
    worked = bool(_counts(batch).completed)
    return batch.status == "failed" and not (worked and batch.output_file_id)


def _counts(batch: Batch) -> _Counts:
    return shaped(batch.request_counts, _COUNTS) or _Counts()


def _errors(batch: Batch) -> list[BatchError]:
    """Return a batch's errors: OpenAI's ``{"data": [...]}``, or Groq's bare list; none where they have another shape."""
    found = shaped(batch.errors, _ERRORS)
    return found if isinstance(found, list) else (found and found.data) or []


def _tag(batch: Batch) -> dict[str, Any]:
    return batch.metadata if isinstance(batch.metadata, dict) else {}
