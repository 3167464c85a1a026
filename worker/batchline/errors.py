"""The error tree.

BatchlineError
├── InvalidRequest       a request that batchline refuses before any provider sees it (settled as failed)
├── UsageError           wrong call, wrong input file or wrong settings: exit code 2
├── StoreError           the store cannot be reached or refuses work: exit code 3
│   ├── StoreFull        the store is out of memory and takes no new requests
│   └── StoreUnreachable it cannot be reached
├── LeaseLost            somebody else acts on this batch now; drop the work, nothing is wrong
├── PutOff               a step broke itself off between two writes; it goes on later, nothing is wrong
│   ├── Stopping         this worker was asked to end: another one goes on at once
│   └── Paused           there is no room for replies at the moment
└── ProviderError        a provider call that did not do what was asked
    ├── Retryable        certainly without effect, or a read: ask again later
    ├── Permanent        refused: asking again the same way is refused again
    │   ├── KeyRefused   the provider does not accept the account's key
    │   └── NotFound     the provider does not know what it was asked for
    └── Ambiguous        it may have happened: look before asking again

Messages say what happened, to what, and what to do. Prompts and answers are never in them.
"""

from __future__ import annotations


class BatchlineError(Exception):
    """Root of all errors that batchline raises on purpose."""


class InvalidRequest(BatchlineError):
    """A request that cannot be accepted; ``code`` is the reply's error code (docs/protocol.md)."""

    def __init__(self, message: str, *, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


class UsageError(BatchlineError):
    """The caller must change something: arguments, an input file, a setting."""


class StoreError(BatchlineError):
    """The store cannot be reached, or answered with an error."""


class StoreFull(StoreError):
    """The store has no memory left for new requests; what it holds is safe."""


class StoreUnreachable(StoreError):
    """The store cannot be reached; what it holds is safe."""


class LeaseLost(BatchlineError):
    """The lease on a batch is no longer ours, so the store refused the write."""


class PutOff(BatchlineError):
    """A step broke itself off where that costs nothing; ``wait_s`` seconds later somebody should go on."""

    wait_s: float = 0.0


class Stopping(PutOff):
    """The worker was asked to end; another may go on at once."""


class Paused(PutOff):
    """New replies have no room: the store or a callback queue is too full. ``queue`` names it (``kind key``), if it is one."""

    def __init__(self, message: str, *, wait_s: float, queue: str = "") -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.queue = queue


class ProviderError(BatchlineError):
    """A provider call failed.

    ``account`` is the account's name, ``call`` the verb (``upload``, ``create``, ``poll``, ...), ``code`` the provider's
    own error code or HTTP status as text, ``status`` the HTTP status (0: there was none), ``retry_after_s`` what the provider
    asked for, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        account: str,
        call: str,
        code: str = "",
        status: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.account = account
        self.call = call
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s


class Retryable(ProviderError):
    """Nothing was changed at the provider (or the call only reads): the same call may go again later."""


class Permanent(ProviderError):
    """The provider refused the call itself; the same call will be refused again."""


class RowsRefused(Permanent):
    """The provider refused to create a batch for single rows, which it names: ``rows`` are (custom_id, what is wrong)."""

    rows: tuple[tuple[str, str], ...] = ()


class KeyRefused(Permanent):
    """HTTP 401 or 403: the account's key is wrong or lacks a right. Requests wait until the key is set right."""


class NotFound(Permanent):
    """HTTP 404: the provider does not know the batch or file that it was asked for."""


class Ambiguous(ProviderError):
    """The reply of a call that changes something was lost: it may have happened."""
