"""Anthropic: Message Batches, and Messages in real time.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing and the API reference beside it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from batchline.errors import Ambiguous, InvalidRequest, ProviderError, Retryable
from batchline.lanes import Lane
from batchline.providers.answers import answered, parsed, rejected
from batchline.providers.anthropic_wire import (
    PAGE,
    Batch,
    created_of,
    listed_of,
    parse_batch,
    parse_result,
    progress_of,
    usage_of,
)
from batchline.providers.checks.anthropic import check
from batchline.providers.failures import CONNECT_S, READ_S, CallRules, Keyed, timeouts, translated
from batchline.providers.fences import CHUNK, Fence
from batchline.providers.lines import split_lines
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
    import anthropic

BASE_URL = "https://api.anthropic.com"

VERSION = "2023-06-01"
"""The API version of every call, unless the lane of a batch says another one (``|version=``).

The SDK would send 2026-10-21, whose only change to a request is to refuse more: a body with ``temperature``, ``top_p`` or
``top_k`` fails there, at the end of the batch. Bodies are the requesters' own and the version is one for a whole batch, so
it is the one that takes them all; newer fields and models are not bound to a version.
Source: platform.claude.com/docs/en/api/versioning
"""

ENDPOINTS: Mapping[str, Endpoint] = {"messages": Endpoint(path="/v1/messages", price_flavor="default", prefixed=True)}

LIMITS = Limits(
    max_requests=100_000,
    # 256 MB, less a comma a row and the envelope.
    # Source: platform.claude.com/docs/en/build-with-claude/batch-processing
    max_bytes=256_000_000 - 100_000 - 100,
)

BUDGETS = (DefaultBudget(requests=200_000, shared=True),)
"""Requests in unfinished batches, over all models of the workspace: those of the lowest plan; others have up to 500,000.

Accounts of the older tier 1 have 100,000. Source: platform.claude.com/docs/en/api/rate-limits
"""

BATCH_ONLY = frozenset({"output-300k-2026-03-24"})
"""Betas that the realtime API does not have. Source: platform.claude.com/docs/en/build-with-claude/batch-processing"""

LIST_MARGIN_S = 120
"""How much older than the intent a batch may look, in seconds, and still be ours: the clocks differ."""

_BATCHES = "/v1/messages/batches"
_RESULTS_READ_S = 120.0


class RequestsBody(Fence):
    """The create call's JSON body, streamed from the rows' file: a list, in which commas stand for the line feeds.

    Without the closing brackets nothing was created. Iterating raises TimeoutError past ``deadline``.
    """

    HEAD = b'{"requests":['
    TAIL = b"]}"

    def __init__(self, rows: BinaryIO, *, deadline: float, clock: Callable[[], float]) -> None:
        self._rows = rows
        self.deadline = deadline
        self.clock = clock
        end = rows.seek(0, io.SEEK_END)
        rows.seek(max(end - 1, 0))
        self._size = end - (rows.read(1) == b"\n")
        self.length = len(self.HEAD) + self._size + len(self.TAIL)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in chunks of at most 256 kB."""
        yield self.HEAD
        self._rows.seek(0)
        left = self._size
        while left:
            chunk = self._rows.read(min(CHUNK, left))
            if not chunk:
                raise EOFError("the file of rows became shorter while it was sent")
            left -= len(chunk)
            self.check()
            yield chunk.replace(b"\n", b",")
        self.check()
        self.complete = True
        yield self.TAIL


class AnthropicProvider:
    """An Anthropic account (one workspace); ``base_url`` is without ``/v1``."""

    kind: str = "anthropic"
    limits: Limits = LIMITS
    endpoints: Mapping[str, Endpoint] = ENDPOINTS
    has_files: bool = False
    tagged: bool = False
    # From the creation on. Source: platform.claude.com/docs/en/build-with-claude/batch-processing
    results_kept_s: int = 29 * 86_400

    def __init__(
        self,
        access: AccountAccess,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self.limits = self.facts(access.options).limits
        self._now = now
        self._clock = clock
        self._base_url = access.base_url or BASE_URL
        self._keyed: Keyed[anthropic.Anthropic] = Keyed(access, self._build)

    @staticmethod
    def facts(options: Options) -> Facts:
        """Return what is true of an account with these options; its own limits only lower Anthropic's."""
        return Facts(
            kind=AnthropicProvider.kind,
            limits=LIMITS.lowered(options),
            endpoints=ENDPOINTS,
            has_files=AnthropicProvider.has_files,
            tagged=AnthropicProvider.tagged,
            results_kept_s=AnthropicProvider.results_kept_s,
            price_provider="anthropic",
            budgets=BUDGETS,
            check=check,
        )

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:  # noqa: ARG002 - there is only one
        """Return one row, without line feed. The body is spliced in as it is; custom_ids need no escaping."""
        return b'{"custom_id":"' + custom_id.encode("ascii") + b'","params":' + body + b"}"

    def upload(self, rows: BinaryIO, job: Job) -> str:
        """Anthropic has no files for batches."""
        raise NotImplementedError("Anthropic's batches are made without files")

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create the batch: one POST, streamed, over within ``timeout_s``. Raises Ambiguous when it may have happened.

        Four tenths of the time are the provider's, to answer once it has all; a stuck write may take one tenth.
        """
        import httpx2  # noqa: PLC0415

        # A frozen worker that wakes up may be taken for dead by then: the last bytes must not leave after ``send_by``.
        body = RequestsBody(rows, deadline=min(self._clock() + timeout_s * 0.5, job.send_by), clock=self._clock)
        body.answer_by = self._clock() + timeout_s
        limits = timeouts(timeout_s * 0.4, connect_s=min(CONNECT_S, timeout_s * 0.1), write_s=timeout_s * 0.1)
        headers = _beta(job.beta) | _version(job.version) | {"Content-Length": str(body.length)}
        with self._calling("create", Ambiguous, Ambiguous, complete=lambda: body.complete) as client:
            answer = client.post(
                _BATCHES,
                content=body,
                cast_to=httpx2.Response,
                options={"headers": headers, "timeout": limits},
            )
            return created_of(parse_batch(answer.content))

    def find(self, job: Job) -> Found:
        """Look for batches that could be the attempt's: as many rows, and not older than the intent.

        Anthropic's batches carry no tag, so none of them is proven.
        """
        oldest_ms = job.intent_ms - LIST_MARGIN_S * 1000
        candidates: list[Created] = []
        for page in self._pages():
            young = [b for b in page if _is_young(b, oldest_ms)]
            # Where no number is told it may be as many.
            candidates += [created_of(b) for b in young if progress_of(b).total in {0, job.rows}]
            if not young:
                break
        return Found(candidates=tuple(candidates))

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the account's batches created since then, newest first; Anthropic's carry no tag."""
        for page in self._pages():
            young = [b for b in page if _is_young(b, since_ms)]
            yield from (listed_of(batch) for batch in young)
            if not young:
                return

    def sent(self, provider_id: str) -> Iterator[str]:  # noqa: ARG002 - there are no files
        """Anthropic keeps no file of what was sent."""
        return iter(())

    def uploads(self, since_ms: int) -> Iterator[Upload]:  # noqa: ARG002 - there are no files
        """Anthropic's batches are made without files."""
        return iter(())

    def _pages(self) -> Iterator[list[Batch]]:
        after = ""
        more, seen = True, Pages()
        while more:
            query: dict[str, object] = {"limit": 100} | ({"after_id": after} if after else {})
            with self._calling("find") as client:
                answer = client.messages.batches.with_raw_response.list(extra_query=query)
                page = PAGE.decode(answer.http_response.content)
            batches = page.data or []
            if not seen.brings_news(each.id for each in batches):
                return
            yield batches
            after = page.last_id or (batches[-1].id if batches else "")
            more = bool(page.has_more) and seen.goes_on(after)

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing."""
        with self._calling("poll") as client:
            answer = client.messages.batches.with_raw_response.retrieve(provider_id)
            return progress_of(parse_batch(answer.http_response.content))

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:  # noqa: ARG002
        """Stream the results of an ended batch."""
        for url in progress.results:
            lines = self._lines(self._results_path(progress.provider_id, url))
            source = f"the results of {progress.provider_id}"
            yield from parsed(lines, parse_result, account=self._access.name, source=source)

    def _results_path(self, provider_id: str, url: str) -> str:
        """Return the results' address; a foreign host does not get our key (behind a gateway the URL names the origin)."""
        ours = urlsplit(self._base_url)
        try:
            theirs = urlsplit(url)
        except ValueError:  # what it tells is no address; its own is known all the same
            return f"{_BATCHES}/{provider_id}/results"
        same = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
        return url if same else f"{_BATCHES}/{provider_id}/results"

    def _lines(self, path: str) -> Iterator[bytes]:
        import httpx2  # noqa: PLC0415

        # The SDK's typed call asks for the batch again and reads lines in its own way; this header makes it stream.
        headers = {"X-Stainless-Raw-Response": "stream", "Accept": "application/binary"}
        with self._calling("results") as client:
            response = client.get(
                path,
                cast_to=httpx2.Response,
                options={"headers": headers, "timeout": timeouts(_RESULTS_READ_S)},
            )
            with closing(response):
                yield from split_lines(response.iter_bytes())

    def cancel(self, provider_id: str) -> None:
        """Ask to stop a batch. One that has ended already (409) is no error."""
        import anthropic  # noqa: PLC0415

        with self._calling("cancel") as client, suppress(anthropic.ConflictError):
            client.messages.batches.with_raw_response.cancel(provider_id)

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        """Answer one request in real time. Raises Ambiguous when no answer came: it may have been run and charged.

        Raises InvalidRequest, with nothing sent, for a beta that only batches have.
        """
        _refuse_batch_only(lane.beta)
        import anthropic  # noqa: PLC0415
        import httpx2  # noqa: PLC0415

        with self._calling("call", Ambiguous) as client:
            try:
                answer = client.post(
                    ENDPOINTS[lane.endpoint].path,
                    content=body,
                    cast_to=httpx2.Response,
                    options={"headers": _beta(lane.beta) | _version(lane.version), "timeout": timeouts(timeout_s)},
                )
            except anthropic.APIStatusError as exc:
                refused = rejected(exc.status_code, exc.response.content)
                if refused is None:
                    raise
                return refused
            return answered(answer.content, usage_of)

    def delete_file(self, ref: str) -> None:
        """Nothing was uploaded, so there is nothing to delete."""

    def storage(self) -> Storage | None:
        """Anthropic's batches are made without files."""
        return None

    @contextmanager
    def _calling(
        self,
        call: str,
        lost: type[ProviderError] = Retryable,
        unsure: type[ProviderError] = Retryable,
        *,
        complete: Callable[[], bool] = lambda: True,
    ) -> Iterator[anthropic.Anthropic]:
        rules = CallRules(account=self._access.name, call=call, lost=lost, unsure=unsure, complete=complete)
        with translated(rules, now=self._now):
            yield self._keyed.client(call)

    def _build(self, key: str) -> anthropic.Anthropic:
        import anthropic  # noqa: PLC0415

        from batchline.providers.transport import line_of  # noqa: PLC0415

        # The engine owns all retries. The address is always given: one in the environment would hold for every account.
        return anthropic.Anthropic(
            api_key=key,
            base_url=self._base_url,
            max_retries=0,
            timeout=timeouts(READ_S),
            default_headers={"anthropic-version": VERSION},
            http_client=line_of(anthropic.DefaultHttpxClient, self._clock),
        )


def _beta(beta: str | None) -> dict[str, str]:
    return {"anthropic-beta": beta} if beta else {}


def _version(version: str | None) -> dict[str, str]:
    return {"anthropic-version": version} if version else {}


def _refuse_batch_only(beta: str | None) -> None:
    asked = {name.strip() for name in (beta or "").split(",")}
    if only := sorted(asked & BATCH_ONLY):
        raise InvalidRequest(
            f"{', '.join(only)} is for batches only: the realtime API does not have it. Send the request in a batch, or by a lane without this beta"
        )


def _is_young(batch: Batch, since_ms: int) -> bool:
    """Whether a batch was created since then; one whose time is not told may have been."""
    created_ms = created_of(batch).created_ms
    return not created_ms or created_ms >= since_ms
