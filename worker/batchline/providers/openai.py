"""OpenAI: Files and Batches, and the realtime endpoints that they stand for. Also any service of the same shape.

Source: developers.openai.com/api/docs/guides/batch and its API reference, with payloads observed on the live API.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from batchline.errors import Ambiguous, NotFound, Permanent, ProviderError, Retryable
from batchline.providers.answers import answered, parsed, rejected
from batchline.providers.failures import CONNECT_S, READ_S, CallRules, Keyed, timeouts, translated
from batchline.providers.lines import BadLine, LineTooLong, decode_line, split_lines
from batchline.providers.openai_wire import (
    FILE,
    FILE_PAGE,
    INPUT_LINE,
    PAGE,
    Batch,
    created_of,
    custom_id_of,
    file_name,
    listed_of,
    parse_batch,
    parse_result,
    progress_of,
    refusal_of,
    upload_of,
    usage_of,
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

if TYPE_CHECKING:
    import openai

BASE_URL = "https://api.openai.com/v1"

ENDPOINTS: Mapping[str, Endpoint] = {
    "chat": Endpoint(path="/v1/chat/completions", price_flavor="chat"),
    "responses": Endpoint(path="/v1/responses", price_flavor="responses"),
    "embeddings": Endpoint(path="/v1/embeddings", price_flavor="embeddings"),
    # The old completions tell their usage in the shape of chat.
    "completions": Endpoint(path="/v1/completions", price_flavor="chat"),
    # Free of charge and without usage.
    "moderations": Endpoint(path="/v1/moderations", price_flavor=""),
}

LIMITS = Limits(
    max_requests=50_000,
    # 200 MB, less one line feed a row. Source: developers.openai.com/api/docs/guides/batch
    max_bytes=200_000_000 - 50_000,
    max_inputs=50_000,
)

LIST_MARGIN_S = 300
"""How much older than the intent a batch may look, in seconds, and still be ours: the clocks differ."""

FILES_PAGE = 1_000
"""Files listed in one call, of at most 10,000. Source: developers.openai.com/api/reference/resources/files"""

_UPLOAD_READ_S = 300.0
_RESULTS_READ_S = 120.0


class OpenAIProvider:
    """An OpenAI account; ``base_url`` includes ``/v1``."""

    kind: str = "openai"
    limits: Limits = LIMITS
    endpoints: Mapping[str, Endpoint] = ENDPOINTS
    has_files: bool = True
    tagged: bool = True
    # Files of results are deleted 30 days after the batch's end. Source: developers.openai.com/api/docs/guides/batch
    results_kept_s: int = 30 * 86_400

    def __init__(self, access: AccountAccess, *, now: Callable[[], float] = time.time) -> None:
        self._access = access
        self._now = now
        self._keyed: Keyed[openai.OpenAI] = Keyed(access, self._build)

    @staticmethod
    def facts(options: Options) -> Facts:
        """Return what is true of an account with these options."""
        del options
        return Facts(
            kind="openai",
            limits=LIMITS,
            endpoints=ENDPOINTS,
            has_files=True,
            tagged=True,
            results_kept_s=30 * 86_400,
            price_provider="openai",
        )

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """Return one row, without line feed. The body is spliced in as it is; custom_ids need no escaping."""
        path = ENDPOINTS[endpoint].path.encode()
        head = b'{"custom_id":"' + custom_id.encode("ascii") + b'","method":"POST","url":"' + path
        return head + b'","body":' + body + b"}"

    def upload(self, rows: BinaryIO, job: Job) -> str:
        """Upload the rows and return the file's id. Streams: about 1 MB of memory, whatever the size."""
        rows.seek(0)
        name = file_name(job.batch_id, job.nonce)
        with self._calling("upload") as client:
            answer = client.files.with_raw_response.create(
                file=(name, rows, "application/jsonl"), purpose="batch", timeout=timeouts(_UPLOAD_READ_S)
            )
            return FILE.decode(answer.content).id

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:  # noqa: ARG002 - the file has the rows
        """Create the batch from the uploaded file: one POST. Raises Ambiguous when it may have happened."""
        with self._calling("create", lost=Ambiguous, unsure=Ambiguous) as client:
            answer = client.batches.with_raw_response.create(
                completion_window="24h",
                endpoint=ENDPOINTS[job.endpoint].path,  # type: ignore[arg-type]
                input_file_id=job.input_ref or "",
                metadata={
                    "batchline_batch": job.batch_id,
                    "batchline_nonce": job.nonce,
                    "batchline_lane": job.lane,
                },
                extra_headers=_beta(job.beta),
                timeout=timeouts(max(timeout_s - 2 * CONNECT_S, 1.0)),
            )
            return created_of(parse_batch(answer.content))

    def find(self, job: Job) -> Found:
        """Look for the attempt's nonce in the batches' metadata, newest first, back to just before the intent.

        One that was refused as a whole is left out, unless there is none but such.
        """
        oldest_s = job.intent_ms / 1000 - LIST_MARGIN_S
        ours: list[Batch] = []
        for page in self._pages():
            ours += [b for b in page if (b.metadata or {}).get("batchline_nonce") == job.nonce]
            if all(b.created_at is not None and b.created_at < oldest_s for b in page):
                break
        # One that was refused as a whole never runs: where there is another one beside it, that is the batch.
        alive = [b for b in ours if not listed_of(b).dead]
        return Found(proven=tuple(created_of(b) for b in alive or ours[-1:]))

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the account's batches created since then, newest first."""
        for page in self._pages():
            young = [batch for batch in page if batch.created_at is None or batch.created_at * 1000 >= since_ms]
            yield from (listed_of(batch) for batch in young)
            if not young:
                return

    def sent(self, provider_id: str) -> Iterator[str]:
        """Read the custom_ids of a batch back from its uploaded file; nothing when the file is gone.

        Raises NotFound when the batch itself is not known, Retryable on a line that does not parse.
        """
        with self._calling("sent") as client:
            batch = parse_batch(client.batches.with_raw_response.retrieve(provider_id).content)
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
        after: str | None = None
        more = True
        while more:
            query = {"limit": 100} | ({"after": after} if after else {})
            with self._calling("find") as client:
                answer = client.batches.with_raw_response.list(extra_query=query)
                page = PAGE.decode(answer.content)
            yield page.data
            last = page.data[-1].id if page.data else None
            more = page.has_more and last is not None and last != after
            after = last

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        """List the files of rows uploaded since then, newest first."""
        after: str | None = None
        more = True
        while more:
            query = {"purpose": "batch", "order": "desc", "limit": FILES_PAGE} | ({"after": after} if after else {})
            with self._calling("uploads") as client:
                answer = client.files.with_raw_response.list(extra_query=query)
                page = FILE_PAGE.decode(answer.content)
            # A service that is only compatible may overlook what was asked for.
            young = [file for file in page.data if file.created_at is not None and file.created_at * 1000 >= since_ms]
            yield from (upload_of(file) for file in young if file.purpose == "batch")
            last = page.data[-1].id if young else None
            more = page.has_more and last is not None and last != after
            after = last

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing; of a refused one, read its own file back to name the guilty rows."""
        with self._calling("poll") as client:
            batch = parse_batch(client.batches.with_raw_response.retrieve(provider_id).content)
        progress = progress_of(batch)
        if progress.outcome != "failed":
            return progress
        refusal = refusal_of(batch, lambda lines: self._custom_ids(batch.input_file_id, lines))
        return msgspec.structs.replace(progress, refusal=refusal)

    def _custom_ids(self, input_file_id: str | None, lines: frozenset[int]) -> Mapping[int, str]:
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
        """Ask to stop a batch. One that has ended already (409) is no error."""
        with self._calling("cancel") as client:
            import openai  # noqa: PLC0415

            with contextlib.suppress(openai.ConflictError):
                client.batches.with_raw_response.cancel(provider_id)

    def call(self, endpoint: str, body: bytes, *, beta: str | None, timeout_s: float) -> Result:
        """Answer one request in real time. Raises Ambiguous when no answer came: it may have been run and charged."""
        import httpx2  # noqa: PLC0415
        import openai  # noqa: PLC0415

        path = ENDPOINTS[endpoint].path.removeprefix("/v1")
        with self._calling("call", lost=Ambiguous) as client:
            try:
                answer = client.post(
                    path,
                    content=body,
                    cast_to=httpx2.Response,
                    options={"headers": _beta(beta), "timeout": timeouts(timeout_s)},
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

    def storage(self) -> Storage | None:
        """Not told yet."""
        return None

    @contextlib.contextmanager
    def _calling(
        self, call: str, *, lost: type[ProviderError] = Retryable, unsure: type[ProviderError] = Retryable
    ) -> Iterator[openai.OpenAI]:
        rules = CallRules(account=self._access.name, call=call, lost=lost, unsure=unsure)
        with translated(rules, now=self._now):
            yield self._keyed.client(call)

    def _build(self, key: str) -> openai.OpenAI:
        import openai  # noqa: PLC0415

        # The engine owns all retries. The address is always given: one in the environment would hold for every account.
        base_url = self._access.base_url or BASE_URL
        return openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeouts(READ_S))


def _beta(beta: str | None) -> dict[str, str]:
    return {"OpenAI-Beta": beta} if beta else {}
