"""Gemini's Developer API: batches from files or with the rows in the create call, and the realtime calls beside them.

Source: ai.google.dev/gemini-api/docs/batch-api and the API reference beside it.

Vertex AI has batches of another kind: their files lie in Google Cloud Storage, their rows have no key, and they are made,
listed and read by other calls. That provider will be one more file beside this one (``vertex.py``, with its storage behind
the same ``upload``, ``sent``, ``results`` and ``delete_file``); rows and results of gemini_lines.py are shared with it.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from batchline.errors import Ambiguous, KeyRefused, NotFound, Permanent, ProviderError, Retryable, RowsRefused
from batchline.lanes import Lane
from batchline.providers.answers import answered, parsed, rejected
from batchline.providers.checks.gemini import check
from batchline.providers.failures import CONNECT_S, CallRules, Keyed, timeouts, translated
from batchline.providers.fences import Fenced
from batchline.providers.gemini_lines import (
    inline_results,
    inline_size,
    key_of,
    parse_result,
    refused_rows,
    row,
    usage_of,
)
from batchline.providers.gemini_ready import Uploaded, parse_uploaded, wait_until_ready
from batchline.providers.gemini_wire import (
    EXPIRES_MS,
    FILE_PAGE,
    FilePage,
    Operation,
    Order,
    add_up,
    create_body,
    created_of,
    file_name,
    inline_items,
    list_path,
    listed_of,
    model_path,
    parse_operation,
    parse_page,
    progress_of,
    tag_of,
    uploads_of,
)
from batchline.providers.lines import BadLine, split_lines
from batchline.providers.paging import Pages
from batchline.providers.protocol import (
    AccountAccess,
    Created,
    DefaultBudget,
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

if TYPE_CHECKING:
    from batchline.providers.gemini_http import Connection

BASE_URL = "https://generativelanguage.googleapis.com"

ENDPOINTS: Mapping[str, Endpoint] = {
    "generate": Endpoint(path="models/{model}:batchGenerateContent", price_flavor="generate", prefixed=True),
    "embed": Endpoint(path="models/{model}:asyncBatchEmbedContent", price_flavor="embed"),
}
_REALTIME = {"generate": "generateContent", "embed": "embedContent"}

LIMITS = Limits(
    # Ours: Gemini documents no count. It is what Vertex AI allows for the same models.
    max_requests=200_000,
    # 2 GB, less one line feed a row. Source: ai.google.dev/gemini-api/docs/batch-api
    max_bytes=2_000_000_000 - 200_000,
)

INLINE_BYTES = 19_500_000
"""Most bytes of a create call that carries its rows itself. It must stay under 20 MB.
Source: ai.google.dev/gemini-api/docs/batch-api"""

INLINE_EMBEDS = 1_000
"""Most rows of embeddings in such a call. Ours: its answers come back in one piece, of up to 70 kB for each."""

BUDGETS = (
    # Enqueued tokens of tier 1, the lowest that is paid. Source: ai.google.dev/gemini-api/docs/rate-limits
    DefaultBudget(match="*flash-lite*", tokens=10_000_000),
    DefaultBudget(match="*pro*", tokens=5_000_000),
    DefaultBudget(match="*", tokens=3_000_000),
)

LIST_MARGIN_S = 300
"""How much older than the intent a batch may look, in seconds, and still be ours: the clocks differ."""

_RESULTS_READ_S = 120.0
_BAD_REQUEST = 400
_FORBIDDEN = 403
_RESULTS = "files/batch-"


class GeminiProvider:
    """A project at Gemini's Developer API; ``base_url`` is the host, without a version."""

    kind: str = "gemini"
    endpoints: Mapping[str, Endpoint] = ENDPOINTS
    # Whether a batch is made from a file is decided for each one: `upload` may find that it needs none.
    has_files: bool = True
    tagged: bool = True
    # Six weeks, says ai.google.dev/gemini-api/docs/batch-api
    results_kept_s: int = 42 * 86_400

    def __init__(
        self,
        access: AccountAccess,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access = access
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self.limits = self.facts(access.options).limits
        self._keyed: Keyed[Connection] = Keyed(access, self._build)

    @staticmethod
    def facts(options: Options) -> Facts:
        """Return what is true of an account with these options; its own limits only lower Gemini's."""
        return Facts(
            kind=GeminiProvider.kind,
            limits=LIMITS.lowered(options),
            endpoints=ENDPOINTS,
            has_files=True,
            tagged=True,
            results_kept_s=GeminiProvider.results_kept_s,
            price_provider="google",
            budgets=BUDGETS,
            check=check,
            names_model=False,
            # 20 GB a project; an expired job "will not have any results". Source: ai.google.dev/gemini-api/docs/batch-api
            storage_bytes=20_000_000_000,
            expiry_loses_all=True,
            window_s=EXPIRES_MS // 1000,
        )

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:  # noqa: ARG002 - they are alike in both
        """Return one row, without line feed. The body is spliced in as it is; custom_ids need no escaping."""
        return row(custom_id, body)

    def upload(self, rows: BinaryIO, job: Job) -> str | None:
        """Upload the rows and return the file's name, in 8 MB of memory; None where they will go in the create call.

        Returns once Gemini has processed the file (see gemini_ready.py). ``rows`` is read now and then until then: whoever
        watches over it can break the wait off.
        """
        if self._access.options.inline and _fits_inline(rows, job):
            return None
        rows.seek(0)
        name = file_name(job.batch_id, job.nonce)
        with self._calling("upload") as http:
            file = http.upload(rows, display_name=name)
        try:
            wait_until_ready(
                file,
                lambda: self._uploaded(file.name),
                account=self._access.name,
                clock=self._clock,
                sleep=self._sleep,
                check=lambda: rows.seek(0, io.SEEK_END) and rows.read(1),
            )
        except ProviderError:
            with contextlib.suppress(ProviderError):
                self.delete_file(file.name)
            raise
        return file.name

    def _uploaded(self, name: str) -> Uploaded:
        with self._calling("upload") as http:
            return parse_uploaded(http.ask("get", quote(name)))

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create the batch, from its file or with its rows inside (40 MB of memory): one POST, over within ``timeout_s``.

        Raises Ambiguous when it may have happened, RowsRefused where single rows are named. Most of the time is Google's, to
        answer once it has all. The last bytes never leave after ``send_by`` (see fences.py).
        """
        from google.genai import errors  # noqa: PLC0415

        sending, answering = (0.15, 0.75) if job.input_ref else (0.5, 0.4)
        brief_s = timeout_s * 0.1
        limits = timeouts(timeout_s * answering, connect_s=min(CONNECT_S, brief_s), write_s=brief_s)
        path = model_path(ENDPOINTS[job.endpoint].path, job.model)
        body = Fenced(create_body(rows, job))
        with self._calling("create", Ambiguous, Ambiguous, complete=lambda: body.complete) as http:
            body.begin(self._clock, leave_s=timeout_s * sending, total_s=timeout_s, send_by=job.send_by)
            body.check()
            try:
                answer = http.ask("post", path, body, limits=limits, total_s=timeout_s * answering)
            except errors.APIError as exc:
                self._refuse_rows(exc.code, exc.message, rows)
                raise
            return created_of(parse_operation(answer))

    def _refuse_rows(self, status: int, message: object, rows: BinaryIO) -> None:
        """Raise RowsRefused for a refusal that names lines of the file."""
        named = refused_rows(message, rows) if status == _BAD_REQUEST and isinstance(message, str) else ()
        if not named:
            return
        text = f"create on account {self._access.name!r}: the provider refused {len(named)} rows of the file"
        error = RowsRefused(text, account=self._access.name, call="create", code="INVALID_ARGUMENT", status=status)
        error.rows = named
        raise error

    def find(self, job: Job) -> Found:
        """Look for the attempt's nonce in the batches' display names, back to just before the intent.

        One that was refused as a whole is left out, unless there is none but such.
        """
        oldest_ms = job.intent_ms - LIST_MARGIN_S * 1000
        ours = [each for each in self._since(oldest_ms) if tag_of(each)[1] == job.nonce]
        # One that was refused as a whole never runs: where there is another one beside it, that is the batch.
        alive = [each for each in ours if not listed_of(each).dead]
        return Found(proven=tuple(created_of(each) for each in alive or ours[-1:]))

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the project's batches created since then, in Gemini's order: newest first, which it does not promise."""
        for each in self._since(since_ms):
            if not each.created_ms or each.created_ms >= since_ms:
                yield listed_of(each)

    def _since(self, since_ms: int) -> Iterator[Operation]:
        """Yield the batches of the list, at least those created since then.

        What is older ends it only in a list that came newest first until there: that order is seen, and not documented.
        """
        order = Order()
        for page in self._pages():
            yield from page
            order.see(page)
            if order.is_falling and page and all(0 < each.created_ms < since_ms for each in page):
                return

    def _pages(self) -> Iterator[list[Operation]]:
        token, more, seen = "", True, Pages()
        while more:
            with self._calling("find") as http:
                page, token = parse_page(http.ask("get", list_path("batches", token)))
            if not seen.brings_news(each.name for each in page):
                return
            yield page
            more = seen.goes_on(token)

    def sent(self, provider_id: str) -> Iterator[str]:
        """Read the custom_ids of a batch back from its uploaded file; nothing where Gemini does not hand that out."""
        ref = self._operation("sent", provider_id).input_file
        if not ref:
            return
        try:
            with contextlib.closing(self._content("sent", ref)) as content:
                for line in content:
                    yield key_of(line)
        except KeyRefused as error:
            if error.status != _FORBIDDEN:
                raise
        except Permanent:
            # "Files created by upload can't be downloaded", says the SDK; and they are gone after 48 hours.
            return
        except BadLine as exc:
            name = self._access.name
            message = f"file {ref} of account {name!r} has a line that is {exc}; it is read again later"
            raise Retryable(message, account=name, call="sent", code="bad_line") from None

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        """List the files of rows uploaded since then, in Gemini's order; they are gone after 48 hours by themselves."""
        for page in self._file_pages("uploads"):
            yield from (each for each in uploads_of(page) if each.created_ms >= since_ms)

    def storage(self) -> Storage | None:
        """Add up the project's files; ours are those of rows, since Gemini names the files of results."""
        total = Storage(files=0, bytes=0, ours=0, our_bytes=0)
        for page in self._file_pages("storage"):
            total = add_up(total, page)
        return total

    def _file_pages(self, call: str) -> Iterator[FilePage]:
        token, more, seen = "", True, Pages()
        while more:
            with self._calling(call) as http:
                page = FILE_PAGE.decode(http.ask("get", list_path("files", token)))
            if not seen.brings_news(each.name for each in page.files):
                return
            yield page
            token = page.next_page_token
            more = seen.goes_on(token)

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing; why one failed stands in its operation. One with its results inside comes whole."""
        return progress_of(self._operation("poll", provider_id))

    def _operation(self, call: str, name: str) -> Operation:
        with self._calling(call) as http:
            return parse_operation(http.ask("get", quote(name), limits=timeouts(_RESULTS_READ_S)))

    def _content(self, call: str, name: str) -> Generator[bytes]:
        """Yield the lines of a file at Gemini, streamed."""
        with self._calling(call) as http:
            yield from split_lines(http.download(quote(name), read_s=_RESULTS_READ_S))

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        """Stream the results of an ended batch: those of a file by their key, those in the operation by their place."""
        for ref in progress.results:
            if ref.startswith("files/"):
                lines: Iterator[bytes] = self._content("results", ref)
                yield from parsed(lines, parse_result, account=self._access.name, source=ref)
            else:
                yield from self._inline(ref, sent)

    def _inline(self, name: str, sent: Sequence[str]) -> Iterator[Result]:
        with self._calling("results"):
            items = [bytes(item) for item in inline_items(self._operation("results", name))]
        yield from parsed(items, inline_results(sent, items), account=self._access.name, source=name)

    def cancel(self, provider_id: str) -> None:
        """Ask to stop a batch. One that has ended already is no error."""
        with self._calling("cancel") as http:
            from google.genai import errors  # noqa: PLC0415

            try:
                http.ask("post", f"{quote(provider_id)}:cancel", b"{}")
            except errors.APIError as exc:
                if exc.code != 409 and exc.status != "FAILED_PRECONDITION":
                    raise

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        """Answer one request in real time. Raises Ambiguous when no answer came: it may have been run and charged."""
        path = f"models/{{model}}:{_REALTIME[lane.endpoint]}"
        with self._calling("call", Ambiguous) as http:
            from google.genai import errors  # noqa: PLC0415

            try:
                answer = http.ask("post", model_path(path, lane.model), body, total_s=timeout_s)
            except errors.APIError as exc:
                refused = rejected(exc.code, exc.response.content)
                if refused is None:
                    raise
                return refused
            return answered(answer, usage_of)

    def delete_file(self, ref: str) -> None:
        """Delete a file, or the ended batch that its results stand in; one that is gone already is no error.

        Gemini names files of results so long that it refuses to delete them: those are left to it.
        Source: github.com/googleapis/python-genai/issues/1759
        """
        try:
            with contextlib.suppress(NotFound), self._calling("delete_file") as http:
                http.ask("delete", quote(ref))
        except Permanent as error:
            if error.status != _BAD_REQUEST or not ref.startswith(_RESULTS):
                raise

    @contextlib.contextmanager
    def _calling(
        self,
        call: str,
        lost: type[ProviderError] = Retryable,
        unsure: type[ProviderError] = Retryable,
        *,
        complete: Callable[[], bool] = lambda: True,
    ) -> Iterator[Connection]:
        rules = CallRules(account=self._access.name, call=call, lost=lost, unsure=unsure, complete=complete)
        with translated(rules, now=self._now):
            yield self._keyed.client(call)

    def _build(self, key: str) -> Connection:
        from batchline.providers.gemini_http import Connection  # noqa: PLC0415

        return Connection(key, self._access.base_url or BASE_URL)


def _fits_inline(rows: BinaryIO, job: Job) -> bool:
    few = job.endpoint != "embed" or job.rows <= INLINE_EMBEDS
    return few and inline_size(rows.seek(0, io.SEEK_END), job.rows) <= INLINE_BYTES
