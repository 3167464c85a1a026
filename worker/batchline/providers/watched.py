"""A provider whose every call is watched: failures are counted, and tests may let it die. Workers reach all through one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from batchline import killpoints
from batchline.errors import Ambiguous, ProviderError, Retryable
from batchline.lanes import Lane
from batchline.providers.protocol import (
    UNREADABLE_LINES,
    Created,
    Found,
    Job,
    Listed,
    Progress,
    Provider,
    Result,
    Storage,
    Upload,
)

ROW = "results.row"
VERBS = (
    "upload",
    "create",
    "find",
    "recent",
    "sent",
    "uploads",
    "poll",
    "results",
    "cancel",
    "call",
    "delete_file",
    "storage",
)
"""The calls that are counted when they fail."""
NOT_HTTP = UNREADABLE_LINES | {"unreadable_answer", "no_key"}


class Watched:
    """Passes every call on to a provider, between the points ``provider.<kind>.<verb>.before`` and ``.after``.

    ``failed`` is told the verb and the code of each call that fails; it must not raise.
    """

    def __init__(
        self, provider: Provider, account: str, failed: Callable[[str, str], None] = lambda _verb, _code: None
    ) -> None:
        self._provider = provider
        self._account = account
        self._failed = failed
        self.kind = provider.kind
        self.limits = provider.limits
        self.endpoints = provider.endpoints
        self.has_files = provider.has_files
        self.tagged = provider.tagged
        self.results_kept_s = provider.results_kept_s

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """Return one row; nothing leaves the process."""
        return self._provider.render(custom_id, endpoint, body)

    def upload(self, rows: BinaryIO, job: Job) -> str | None:
        """Upload the rows and return the file's id, if they go in a file."""
        with self._around("upload"):
            return self._provider.upload(rows, job)

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create the batch; a lost reply is Ambiguous."""
        with self._around("create", Ambiguous):
            return self._provider.create(rows, job, timeout_s=timeout_s)

    def find(self, job: Job) -> Found:
        """Look for the batch that an attempt may have created."""
        with self._around("find"):
            return self._provider.find(job)

    def recent(self, since_ms: int) -> Iterator[Listed]:
        """List the account's batches created since then."""
        with self._around("recent"):
            yield from self._provider.recent(since_ms)

    def sent(self, provider_id: str) -> Iterator[str]:
        """Read back the custom_ids of a batch from its uploaded file."""
        with self._around("sent"):
            yield from self._provider.sent(provider_id)

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        """List the files of rows uploaded since then."""
        with self._around("uploads"):
            yield from self._provider.uploads(since_ms)

    def poll(self, provider_id: str) -> Progress:
        """Ask how a batch is doing."""
        with self._around("poll"):
            return self._provider.poll(provider_id)

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        """Stream the results; each one comes by the points of ``results.row``."""
        with self._around("results"):
            for result in self._provider.results(progress, sent):
                with self._around(ROW):
                    yield result

    def cancel(self, provider_id: str) -> None:
        """Ask the provider to stop a batch."""
        with self._around("cancel"):
            self._provider.cancel(provider_id)

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        """Answer one request by the realtime API; a lost reply is Ambiguous."""
        with self._around("call", Ambiguous):
            return self._provider.call(lane, body, timeout_s=timeout_s)

    def delete_file(self, ref: str) -> None:
        """Delete an uploaded file or a file of results."""
        with self._around("delete_file"):
            self._provider.delete_file(ref)

    def storage(self) -> Storage | None:
        """Add up the files at the provider."""
        with self._around("storage"):
            return self._provider.storage()

    @contextmanager
    def _around(self, verb: str, lost: type[ProviderError] = Retryable) -> Iterator[None]:
        def broken() -> ProviderError:
            message = f"{verb} on account {self._account!r}: the connection broke off (kill point)"
            return lost(message, account=self._account, call=verb, code="killpoint")

        try:
            with killpoints.around(f"provider.{self.kind}.{verb}", broken):
                yield
        except ProviderError as error:
            if verb != ROW:  # what tears a row tears the whole call, and is counted there
                self._failed(verb, code_of(error))
            raise


def code_of(error: ProviderError) -> str:
    """Return what a failure counts as: its HTTP status, or what kind of failure below HTTP; never what a provider made up."""
    if error.status:
        return str(error.status)
    if error.code in NOT_HTTP:
        return error.code
    if "Timeout" in error.code:
        return "timeout"
    return "connection" if error.code.endswith(("Error", "Protocol", "killpoint")) else "other"
