"""What the engine asks of a provider, and what it gets back: one small Protocol and inert data.

A provider is one file beside this one, with a class that is ``Known``, its line in ``PROVIDERS`` and its name in the settings'
``ProviderKind``. It is the only room that knows an SDK; it translates every foreign error into the tree of ``batchline.errors``
and never logs or quotes a prompt or an answer. docs/providers.md says how one is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from batchline.lanes import Lane
from batchline.requests import Usage

UNREADABLE_LINES = frozenset({"bad_line", "line_too_long", "unassigned"})
"""Codes of the errors of ``results()`` that say that a line cannot be read: what the provider holds is at fault, not the call."""

BatchOutcome = Literal["completed", "expired", "cancelled", "failed"]
ResultKind = Literal["succeeded", "rejected", "retryable", "expired", "cancelled"]
RefusalScope = Literal["rows", "unknown", "untold", "busy"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an account differs from its provider's usual: the settings of that name (settings/account.py)."""

    preset: str | None = None
    completion_window: str | None = None
    max_requests: int | None = None
    max_bytes: int | None = None
    inline: bool = False
    files_expire_s: int | None = None
    base_url: str | None = None
    price_as: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's own limits for one batch, enforced before submitting. Sizes are bytes of the rendered rows."""

    max_requests: int
    max_bytes: int
    max_inputs: int | None = None
    """Most inputs summed over a batch of embeddings (OpenAI: 50,000), None where there is no such limit."""

    def lowered(self, options: Options) -> Limits:
        """Return these limits as an account has lowered them; its own never raise a provider's."""
        return msgspec.structs.replace(
            self,
            max_requests=min(options.max_requests or self.max_requests, self.max_requests),
            max_bytes=min(options.max_bytes or self.max_bytes, self.max_bytes),
        )


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of a lane at this provider: its URL path and how its usage is read, to be priced.

    ``price_flavor``: a name of money/usage.py; one that is not known there leaves answers unpriced, an empty one makes them
    free of charge. ``prefixed``: prompts that begin alike may be cached there.
    """

    path: str
    price_flavor: str
    prefixed: bool = False


class DefaultBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider documents as the most that may be enqueued at one time; the fields are those of ``settings.Budget``."""

    match: str = "*"
    tokens: int | None = None
    requests: int | None = None
    shared: bool = False


def accept(lane: Lane, body: dict[str, Any]) -> None:
    """Refuse nothing: the check of a provider that has none of its own."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of an account without calling its provider.

    ``price_provider`` is whose prices count (the price library's name; empty: only those of the settings). ``check`` refuses
    (InvalidRequest) a body that this provider would refuse for certain. ``names_model``: a request's body names its model;
    where it does not (Gemini: the URL does), a body that names the lane's all the same is sent without it.
    ``storage_bytes`` is the most that its files may take there, None where that is not known. ``expiry_loses_all``: a batch
    that expires brings no results, not even of what was done. ``window_s`` is how long a batch may take, in seconds from its
    creation; where it ends by itself then (``window_ends_it``), an expiry that the provider tells is more exact.
    ``cache_key``: a body may have a ``prompt_cache_key``.
    """

    kind: str
    limits: Limits
    endpoints: Mapping[str, Endpoint]
    has_files: bool
    tagged: bool
    results_kept_s: int
    price_provider: str
    budgets: tuple[DefaultBudget, ...] = ()
    check: Callable[[Lane, dict[str, Any]], None] = accept
    names_model: bool = True
    storage_bytes: int | None = None
    expiry_loses_all: bool = False
    window_s: int = 86_400
    window_ends_it: bool = True
    cache_key: bool = False


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """The files that an account's key sees at its provider: how many, their bytes, and how many of both are ours."""

    files: int
    bytes: int
    ours: int
    our_bytes: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to create a batch, as the provider needs to know it. ``beta`` is the lane's request-wide header."""

    batch_id: str
    nonce: str
    endpoint: str
    model: str
    rows: int
    intent_ms: int
    lane: str = ""
    beta: str | None = None
    version: str | None = None
    input_ref: str | None = None
    """The uploaded file's id, where the provider has files."""
    send_by: float = math.inf
    """Until when (seconds of ``time.monotonic``) the create request may leave: a frozen worker must not send it late."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at the provider: just created, or found again. Times are unix milliseconds, 0 when not told."""

    provider_id: str
    created_ms: int = 0
    expires_ms: int = 0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look for an attempt's batch brought: batches with proof that they are ours, and mere candidates."""

    proven: tuple[Created, ...] = ()
    candidates: tuple[Created, ...] = ()


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A batch in the provider's list. ``batch_id``, ``nonce`` and ``lane`` are our tag, empty where there is none.

    ``dead``: it was refused as a whole and never ran. Times are unix milliseconds.
    """

    provider_id: str
    created_ms: int
    expires_ms: int = 0
    total: int = 0
    running: bool = False
    dead: bool = False
    batch_id: str = ""
    nonce: str = ""
    lane: str = ""
    input_ref: str = ""
    """The uploaded file that it was made from, where the provider has files."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file of rows in the provider's list. ``batch_id`` and ``nonce`` are our mark, empty on the files of others."""

    ref: str
    created_ms: int
    batch_id: str = ""
    nonce: str = ""
    size: int = 0
    """In bytes, 0 where the list does not tell."""


class RowRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A row that made the provider refuse the whole batch, by its custom_id."""

    custom_id: str
    code: str
    message: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a provider refused a whole batch in validation; nothing was run, nothing is charged.

    ``rows``: the guilty rows are named. ``unknown``: it does not say which. ``untold``: it gives no reason
    at all, so it may have failed by itself: a request that is alone in it is not refused. ``busy``: a quota, the batch is not at fault.
    """

    scope: RefusalScope
    code: str
    message: str
    rows: tuple[RowRefusal, ...] = ()
    limit: int | None = None
    """The provider's own limit in tokens, where ``busy`` names it."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at the provider as last seen. ``outcome`` is None while it runs. Times are unix ms, 0 when not told.

    ``results`` are opaque references from which ``results()`` reads (OpenAI: file ids; Anthropic: the results URL).
    """

    provider_id: str
    status: str
    outcome: BatchOutcome | None = None
    refusal: Refusal | None = None
    total: int = 0
    done: int = 0
    ran: int = 0
    """How many rows were run to their end, well or not: each of them has a result and may have been paid for."""
    created_ms: int = 0
    expires_ms: int = 0
    ended_ms: int = 0
    results: tuple[str, ...] = ()
    reason: str = ""
    """Why it failed, where that is no refusal: the provider broke down over it."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One row's end. ``body`` is the provider's own response body, unchanged, for ``succeeded`` only.

    ``rejected`` is the provider's refusal of this request (4xx, never charged); ``retryable`` an error worth another
    attempt; ``expired`` and ``cancelled`` were not run. ``code`` and ``message`` are the provider's.
    """

    custom_id: str
    kind: ResultKind
    body: msgspec.Raw | None = None
    usage: Usage | None = None
    code: str = ""
    message: str = ""
    size: int = 0
    """Bytes of the result line, for bounding chunks."""


class Provider(Protocol):
    """A provider account, ready to be called. Every method may raise Retryable, Permanent or KeyRefused."""

    kind: str
    limits: Limits
    endpoints: Mapping[str, Endpoint]
    has_files: bool
    """Whether rows are uploaded as a file before the create call."""
    tagged: bool
    """Whether a batch carries a tag of ours by which it is found again."""
    results_kept_s: int
    """How long, in seconds, results can be read at the least, counted from the submission."""

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """Return one row of the batch, without line feed; ``body`` is checked JSON on one line (bodies.py)."""

    def upload(self, rows: BinaryIO, job: Job) -> str | None:
        """Upload the rows (one a line) and return the file's id; None where they go in the create call. Only where ``has_files``."""

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create the batch: one call, never retried. Raises Ambiguous when it may have happened."""

    def find(self, job: Job) -> Found:
        """Look for the batch that an attempt may have created; one refused as a whole only where there is no other."""

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the account's batches created since then, newest first, ours and others'."""

    def sent(self, provider_id: str) -> Iterator[str]:
        """Read back the custom_ids of a batch from its uploaded file; nothing where there is no file (any more)."""

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        """List the files of rows uploaded since then, newest first, ours and others'; nothing where there are no files."""

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing; of a refused one, which rows are guilty."""

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        """Stream the results of an ended batch; raises Retryable on a line that does not parse or a cut stream.

        ``sent`` holds the custom_ids in the order of the rows, where these went in the create call.
        """

    def cancel(self, provider_id: str) -> None:
        """Ask the provider to stop a batch; what was done until then is still delivered and paid."""

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        """Answer one request of a lane by the realtime API (custom_id is empty)."""

    def delete_file(self, ref: str) -> None:
        """Delete an uploaded file or a file of results; one that is gone already is no error."""

    def storage(self) -> Storage | None:
        """Add up the files at the provider; None where it has none."""


class AccountAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider needs to reach its account; the key is read anew on each call of ``key`` and never shown."""

    name: str
    key: Callable[[], str]
    base_url: str | None = None
    options: Options = Options()


class Known(Provider, Protocol):
    """A provider as its class stands in ``PROVIDERS``: made of an account, and telling without one what is true of it."""

    def __init__(self, access: AccountAccess) -> None:
        """Make ready to call; the SDK is loaded at the first call."""

    @staticmethod
    def facts(options: Options) -> Facts:
        """Return what is true of an account with these options. Raises UsageError on one that cannot be."""


PROGRESS = msgspec.json.Decoder(Progress)
"""Reads the progress that stands in a batch record."""
