"""A provider whose every call has kill points around it; all workers' providers are reached through one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from batchline import killpoints
from batchline.errors import Ambiguous, ProviderError, Retryable
from batchline.providers.protocol import Created, Found, Job, Listed, Progress, Provider, Result, Upload


class Watched:
    """Passes every call on to a provider, between the points ``provider.<kind>.<verb>.before`` and ``.after``."""

    def __init__(self, provider: Provider, account: str) -> None:
        self._provider = provider
        self._account = account
        self.kind = provider.kind
        self.limits = provider.limits
        self.endpoints = provider.endpoints
        self.has_files = provider.has_files
        self.tagged = provider.tagged

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """Return one row; nothing leaves the process."""
        return self._provider.render(custom_id, endpoint, body)

    def upload(self, rows: BinaryIO, job: Job) -> str:
        """Upload the rows and return the file's id."""
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

    def results(self, progress: Progress) -> Iterator[Result]:
        """Stream the results; each one comes by the points of ``results.row``."""
        with self._around("results"):
            for result in self._provider.results(progress):
                with self._around("results.row"):
                    yield result

    def cancel(self, provider_id: str) -> None:
        """Ask the provider to stop a batch."""
        with self._around("cancel"):
            self._provider.cancel(provider_id)

    def call(self, endpoint: str, body: bytes, *, beta: str | None, timeout_s: float) -> Result:
        """Answer one request by the realtime API; a lost reply is Ambiguous."""
        with self._around("call", Ambiguous):
            return self._provider.call(endpoint, body, beta=beta, timeout_s=timeout_s)

    def delete_file(self, ref: str) -> None:
        """Delete an uploaded file or a file of results."""
        with self._around("delete_file"):
            self._provider.delete_file(ref)

    def _around(self, verb: str, lost: type[ProviderError] = Retryable) -> AbstractContextManager[None]:
        def broken() -> ProviderError:
            message = f"{verb} on account {self._account!r}: the connection broke off (kill point)"
            return lost(message, account=self._account, call=verb, code="killpoint")

        return killpoints.around(f"provider.{self.kind}.{verb}", broken)
