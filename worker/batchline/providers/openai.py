"""OpenAI: Files and Batches, and the realtime endpoints that they stand for. Also any service of the same shape.

How services differ stands in presets.py. Nothing is sent but what the service documents. Together's answer to a create has
another shape (the batch is nested in it): not read here, it needs a provider of its own.

Source: developers.openai.com/api/docs/guides/batch and its API reference, with payloads observed on the live API.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from batchline.errors import Ambiguous, NotFound, Permanent, ProviderError, Retryable
from batchline.lanes import Lane
from batchline.providers.answers import answered, parsed, rejected
from batchline.providers.checks.openai import check, compatible
from batchline.providers.failures import CONNECT_S, READ_S, CallRules, Keyed, timeouts, translated
from batchline.providers.fences import Fenced
from batchline.providers.lines import BadLine, LineTooLong, decode_line, split_lines
from batchline.providers.openai_lines import parse_result, usage_of
from batchline.providers.openai_statuses import Statuses
from batchline.providers.openai_wire import (
    FILE,
    FILE_PAGE,
    INPUT_LINE,
    PAGE,
    Batch,
    BatchPage,
    FilePage,
    Query,
    create_body,
    created_of,
    custom_id_of,
    file_name,
    in_openais_words,
    is_ours,
    listed_of,
    may_be_ours,
    pages,
    parse_batch,
    progress_of,
    refusal_of,
    storage_of,
    upload_of,
)
from batchline.providers.presets import (
    BASE_URL,
    OPENAI,
    expiry_of,
    preset_of,
    priced_by,
    takes_cache_key,
    window_of,
    window_s,
)
from batchline.providers.protocol import (
    UNREADABLE_LINES,
    AccountAccess,
    Created,
    Endpoint,
    Facts,
    Found,
    Job,
    Limits,
    Listed,
    Options,
    Progress,
    Result,
    Storage,
    Upload,
)
from batchline.settings.services import is_elsewhere

if TYPE_CHECKING:
    import openai

ENDPOINTS: Mapping[str, Endpoint] = OPENAI.endpoints
LIMITS = OPENAI.limits

LIST_MARGIN_S = 300
"""How much older than the intent a batch may look, in seconds, and still be ours: the clocks differ."""

FILES_PAGE = 1_000
"""Files listed in one call, of at most 10,000. Source: developers.openai.com/api/reference/resources/files"""

STORAGE_PAGE, STORAGE_PAGES = 10_000, 10
"""Files listed in one call to add up what is stored, and the most such calls: beyond that the sums are too small."""

_UPLOAD_READ_S = 300.0
_RESULTS_READ_S = 120.0
_STOPPABLE = frozenset({"validating", "in_progress"})


class OpenAIProvider:
    """An account of OpenAI or of a compatible service; ``base_url`` includes ``/v1``. Raises UsageError on wrong options."""

    kind: str = "openai"
    limits: Limits = LIMITS
    endpoints: Mapping[str, Endpoint] = ENDPOINTS
    has_files: bool = True
    tagged: bool = True
    results_kept_s: int = OPENAI.results_kept_s

    def __init__(
        self,
        access: AccountAccess,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._now = now
        self._clock = clock
        self._keyed: Keyed[openai.OpenAI] = Keyed(access, self._build)
        self._preset = preset_of(access.options.preset)
        self._window = window_of(access.options.preset, access.options.completion_window)
        self._expiry_s = expiry_of(self._preset, access.options.files_expire_s)
        self._statuses = Statuses(access.name, self._preset)
        facts = self.facts(access.options)
        self.limits, self.endpoints = facts.limits, facts.endpoints
        self.tagged, self.results_kept_s = facts.tagged, facts.results_kept_s

    @staticmethod
    def facts(options: Options) -> Facts:
        """Return what is true of an account with these options. Raises UsageError on an unknown preset or window."""
        preset = preset_of(options.preset)
        limits = preset.limits if options.preset else OpenAIProvider.limits
        expiry_s = expiry_of(preset, options.files_expire_s)
        return Facts(
            kind="openai",
            limits=limits.lowered(options),
            endpoints=preset.endpoints,
            has_files=True,
            tagged=preset.metadata,
            results_kept_s=min(preset.results_kept_s, expiry_s or preset.results_kept_s),
            price_provider=priced_by(options),
            budgets=preset.budgets,
            check=compatible if options.preset or is_elsewhere(options.base_url) else check,
            storage_bytes=preset.storage_bytes,
            window_s=window_s(options.preset, options.completion_window),
            window_ends_it=preset.lasts_s is None,
            cache_key=takes_cache_key(options),
        )

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """Return one row, without line feed. The body is spliced in as it is; custom_ids need no escaping."""
        path = self.endpoints[endpoint].path.encode()
        head = b'{"custom_id":"' + custom_id.encode("ascii") + b'","method":"POST","url":"' + path
        return head + b'","body":' + body + b"}"

    def upload(self, rows: BinaryIO, job: Job) -> str:
        """Upload the rows and return the file's id. Streams: about 1 MB of memory, whatever the size."""
        import openai  # noqa: PLC0415

        rows.seek(0)
        name = file_name(job.batch_id, job.nonce)
        with in_openais_words(), self._calling("upload") as client:
            answer = client.files.with_raw_response.create(
                file=(name, rows, "application/jsonl"),
                purpose=self._preset.purpose,  # type: ignore[arg-type]
                expires_after={"anchor": "created_at", "seconds": self._expiry_s} if self._expiry_s else openai.omit,
                timeout=timeouts(_UPLOAD_READ_S),
            )
            return FILE.decode(answer.content).id

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:  # noqa: ARG002 - the file has the rows
        """Create the batch from the uploaded file: one POST, over within ``timeout_s``; never sent after ``send_by``.

        Raises Ambiguous when it may have happened. Most of the time is the service's, to answer.
        """
        import httpx2  # noqa: PLC0415

        path, tagged = self.endpoints[job.endpoint].path, self._preset.metadata
        body = Fenced(create_body(job, path=path, window=self._window, tagged=tagged, expiry_s=self._expiry_s))
        brief_s = timeout_s * 0.1
        limits = timeouts(timeout_s * 0.75, connect_s=min(CONNECT_S, brief_s), write_s=brief_s)
        calling = self._calling("create", lost=Ambiguous, unsure=Ambiguous, complete=lambda: body.complete)
        with in_openais_words(), calling as client:
            body.begin(self._clock, leave_s=timeout_s * 0.15, total_s=timeout_s, send_by=job.send_by)
            body.check()
            answer = client.post(
                "/batches",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": _beta(job.beta), "timeout": limits},
            )
            return created_of(self._statuses.in_our_words(parse_batch(answer.content)))

    def find(self, job: Job) -> Found:
        """Look for the attempt's batch, newest first, back to just before the intent: proven by our tag, or by its file.

        One that was refused as a whole is left out, unless there is none but such. A service that tells neither tags nor
        files leaves candidates: as many rows, and not older than the intent.
        """
        oldest_ms = job.intent_ms - LIST_MARGIN_S * 1000
        ours: list[Batch] = []
        candidates: list[Created] = []
        for page in self._pages():
            ours += [b for b in page if is_ours(b, nonce=job.nonce, input_ref=job.input_ref)]
            candidates += [created_of(b) for b in page if _is_young(b, oldest_ms) and may_be_ours(b, rows=job.rows)]
            if self._preset.newest_first and not any(_is_young(b, oldest_ms) for b in page):
                break
        # One that was refused as a whole never runs: where there is another one beside it, that is the batch.
        alive = [b for b in ours if not listed_of(b).dead]
        proven = tuple(created_of(b) for b in alive or ours[-1:])
        return Found(proven=proven, candidates=() if proven else tuple(candidates))

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the account's batches created since then, newest first where the service lists them so."""
        for page in self._pages():
            young = [batch for batch in page if _is_young(batch, since_ms)]
            yield from (listed_of(batch) for batch in young)
            if self._preset.newest_first and not young:
                return

    def sent(self, provider_id: str) -> Iterator[str]:
        """Read the custom_ids of a batch back from its uploaded file; nothing when the file is gone.

        Raises NotFound when the batch itself is not known, Retryable on a line that does not parse.
        """
        batch = self._batch("sent", provider_id)
        if not batch.input_file_id:
            return
        try:
            with contextlib.closing(self._content("sent", batch.input_file_id)) as content:
                for line in content:
                    yield custom_id_of(line)
        except NotFound:
            return
        except BadLine as exc:
            name = self._access.name
            message = f"file {batch.input_file_id} of account {name!r} has a line that is {exc}; it is read again later"
            raise Retryable(message, account=name, call="sent", code="bad_line") from None

    def _pages(self) -> Iterator[list[Batch]]:
        def read(after: Query) -> BatchPage:
            with self._calling("find") as client:
                query: Query = {"limit": 100}
                return PAGE.decode(client.batches.with_raw_response.list(extra_query=query | after).content)

        for page in pages(read, by_offset=self._preset.by_offset):
            yield [self._statuses.in_our_words(batch) for batch in page.data or ()]

    def _file_pages(self, call: str, query: Query) -> Iterator[FilePage]:
        def read(after: Query) -> FilePage:
            with self._calling(call) as client:
                return FILE_PAGE.decode(client.files.with_raw_response.list(extra_query=query | after).content)

        return pages(read, by_offset=self._preset.by_offset)

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        """List the files of rows uploaded since then, newest first where the service lists them so."""
        purpose = self._preset.purpose
        for page in self._file_pages("uploads", {"purpose": purpose, "order": "desc", "limit": FILES_PAGE}):
            young = [file for file in page.data or () if 0 < upload_of(file).created_ms >= since_ms]
            # A service that is only compatible may overlook what was asked for.
            yield from (upload_of(file) for file in young if file.purpose == purpose)
            if self._preset.newest_first and not young:
                return

    def storage(self) -> Storage | None:
        """Add up the files of all purposes that the key sees, the newest 100,000 at the most (see ``storage_of``)."""
        found = self._file_pages("storage", {"order": "desc", "limit": STORAGE_PAGE})
        return storage_of(file for page in islice(found, STORAGE_PAGES) for file in page.data or ())

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing; of a refused one, read its own file back to name the guilty rows."""
        batch = self._batch("poll", provider_id)
        progress = progress_of(batch, counts_unrun=self._preset.counts_unrun)
        if progress.outcome != "failed":
            return progress
        refusal = refusal_of(batch, lambda lines: self._custom_ids(batch.input_file_id, lines))
        return msgspec.structs.replace(progress, refusal=refusal)

    def _batch(self, call: str, provider_id: str) -> Batch:
        with self._calling(call) as client:
            return self._statuses.in_our_words(
                parse_batch(client.batches.with_raw_response.retrieve(provider_id).content)
            )

    def _custom_ids(self, input_file_id: str, lines: frozenset[int]) -> Mapping[int, str]:
        """Read back from the uploaded file which rows stand in these lines; nothing, when it cannot be had."""
        if not input_file_id:
            return {}
        found: dict[int, str] = {}
        try:
            with contextlib.closing(self._content("poll", input_file_id)) as content:
                for number, line in enumerate(content, start=1):
                    if number in lines:
                        found[number] = decode_line(line, INPUT_LINE).custom_id
                    if len(found) == len(lines):
                        break
        except (Permanent, BadLine, LineTooLong):
            return {}
        return found

    def _content(self, call: str, file_id: str) -> Generator[bytes]:
        """Yield the lines of a file at the provider, streamed."""
        with self._calling(call) as client:
            files = client.files.with_streaming_response
            with files.content(file_id, timeout=timeouts(_RESULTS_READ_S)) as response:
                yield from split_lines(response.iter_bytes())

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:  # noqa: ARG002 - always files
        """Stream the results of an ended batch, output file and error file."""
        unread: ProviderError | None = None
        for ref in progress.results:
            try:
                yield from parsed(self._content("results", ref), parse_result, account=self._access.name, source=ref)
            except ProviderError as error:
                if error.code not in UNREADABLE_LINES:
                    raise
                unread = unread or error  # the other file is whole
        if unread is not None:
            raise unread

    def cancel(self, provider_id: str) -> None:
        """Ask to stop a batch. One that has ended already (409) is no error, nor one that ends by itself now (400)."""
        import openai  # noqa: PLC0415

        with self._calling("cancel") as client, contextlib.suppress(openai.ConflictError):
            try:
                client.batches.with_raw_response.cancel(provider_id)
            except openai.BadRequestError:
                if self._batch("cancel", provider_id).status in _STOPPABLE:
                    raise

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        """Answer one request in real time. Raises Ambiguous when no answer came: it may have been run and charged."""
        import httpx2  # noqa: PLC0415
        import openai  # noqa: PLC0415

        path = self.endpoints[lane.endpoint].path.removeprefix("/v1")
        with self._calling("call", lost=Ambiguous) as client:
            try:
                answer = client.post(
                    path,
                    content=body,
                    cast_to=httpx2.Response,
                    options={"headers": _beta(lane.beta), "timeout": timeouts(timeout_s)},
                )
            except openai.APIStatusError as exc:
                refused = rejected(exc.status_code, exc.response.content)
                if refused is None:
                    raise
                return refused
            return answered(answer.content, usage_of)

    def delete_file(self, ref: str) -> None:
        """Delete an uploaded file or a file of results; one that is gone already is no error."""
        import openai  # noqa: PLC0415

        with self._calling("delete_file") as client, contextlib.suppress(openai.NotFoundError):
            client.files.with_raw_response.delete(ref)

    @contextlib.contextmanager
    def _calling(
        self,
        call: str,
        *,
        lost: type[ProviderError] = Retryable,
        unsure: type[ProviderError] = Retryable,
        complete: Callable[[], bool] = lambda: True,
    ) -> Iterator[openai.OpenAI]:
        rules = CallRules(account=self._access.name, call=call, lost=lost, unsure=unsure, complete=complete)
        with translated(rules, now=self._now):
            yield self._keyed.client(call)

    def _build(self, key: str) -> openai.OpenAI:
        import openai  # noqa: PLC0415

        from batchline.providers.transport import line_of  # noqa: PLC0415

        # The engine owns all retries. The address is always given: one in the environment would hold for every account.
        base_url = self._access.base_url or BASE_URL
        line = line_of(openai.DefaultHttpxClient, self._clock)
        return openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeouts(READ_S), http_client=line)


def _beta(beta: str | None) -> dict[str, str]:
    return {"OpenAI-Beta": beta} if beta else {}


def _is_young(batch: Batch, since_ms: int) -> bool:
    """Whether a batch was created since then; one whose time is not told may have been."""
    created_ms = created_of(batch).created_ms
    return not created_ms or created_ms >= since_ms
