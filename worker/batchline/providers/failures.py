"""Foreign errors become ours: the one place that reads HTTP statuses, transport errors and Retry-After headers.

What a provider says about a single row may quote the prompt and stays out of these messages; what it says about the call
itself is quoted, cut to 300 characters. Nothing is quoted when a key is refused: providers show parts of the key.
"""

from __future__ import annotations

import email.utils
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from batchline.errors import Ambiguous, KeyRefused, NotFound, Permanent, ProviderError, Retryable
from batchline.providers.lines import LineTooLong
from batchline.providers.protocol import AccountAccess

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

CONNECT_S = 5.0
READ_S = 60.0
MAX_QUOTED = 300
_DAY_S = 86_400.0

_UNREADABLE = (msgspec.DecodeError, ValueError, OverflowError, RecursionError)
"""What reading an answer raises that is not as promised: not JSON or cut off, no id, no time, nested too deeply."""
_SDKS = frozenset({"openai", "anthropic", "google"})
"""The SDKs' packages, whose exceptions are failures of a call and not of ours. A new one is made quiet in logs.py, too."""
_ASK_LATER = frozenset({408, 409, 429})
_NO_MONEY = frozenset({"billing_error", "billing_hard_limit_reached"})
_BAD_KEY = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED"})
"""Google's reasons beside a status 400. Source: github.com/google-gemini/gemini-cli/issues/25198"""
_NOT_SERVED = ("location is not supported", "enable billing")
"""Parts of what Google says, with FAILED_PRECONDITION, of a project that it does not serve."""
_FILE_GONE = "or it may not exist"
"""Part of what Google says, with status 403, of a file that is gone. Source: github.com/googleapis/python-genai/issues/1218"""


def timeouts(read_s: float, *, connect_s: float = CONNECT_S, write_s: float = READ_S) -> httpx2.Timeout:
    """Return the limits of a call, in seconds: to connect, and for each single read and write."""
    import httpx2  # noqa: PLC0415

    return httpx2.Timeout(connect=connect_s, read=read_s, write=write_s, pool=connect_s)


class _Detail(msgspec.Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    status: Any = None
    details: Any = None


class _Envelope(msgspec.Struct, frozen=True):
    error: _Detail | str | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope | list[_Envelope])


class Told(msgspec.Struct, frozen=True):
    """What an error body says: its code (the finest name there is, else empty), its type and its message.

    ``reason`` and ``retry_s`` (how long to wait, in seconds) are Google's.
    """

    code: str = ""
    type: str = ""
    message: str = ""
    reason: str = ""
    retry_s: float | None = None


def read_error(body: bytes | msgspec.Raw) -> Told:
    """Read ``{"error": {"message", "type", "code"}}``, the shape of OpenAI and Anthropic, or Google's with a google.rpc.Status.

    Anything else tells nothing.
    """
    try:
        read = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Told()
    envelope = next(iter(read), _Envelope()) if isinstance(read, list) else read
    found = envelope.error
    if isinstance(found, str):
        return Told(message=found)
    if found is None:
        return Told()
    if isinstance(found.status, str) and not isinstance(
        found.code, str
    ):  # Google's name of the code beside it, which is HTTP's
        reason, retry_s = _details(found.details)
        message = found.message or ""
        return Told(code=found.status, type=found.status, message=message, reason=reason, retry_s=retry_s)
    code = "" if found.code is None else str(found.code)
    return Told(code=code or found.type or "", type=found.type or "", message=found.message or "")


def _details(details: Any) -> tuple[str, float | None]:
    """Return Google's reason (google.rpc.ErrorInfo) and how long to wait in seconds (google.rpc.RetryInfo)."""
    told = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    reason = next((str(each["reason"]) for each in told if "reason" in each), "")
    delay = next((str(each["retryDelay"]) for each in told if "retryDelay" in each), "")
    seconds = _number(delay.removesuffix("s"))
    return reason, None if seconds is None else _clamp(seconds)


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Read how long to wait, in seconds, at most a day: ``retry-after-ms``, or ``retry-after`` as seconds or HTTP date.

    ``now`` is unix seconds. None where nothing, or nothing readable, is said.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return _clamp(millis / 1000)
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is not None:
        return _clamp(seconds)
    try:
        return _clamp(email.utils.parsedate_to_datetime(said).timestamp() - now) if said else None
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is None or math.isfinite(number) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), _DAY_S)


_SENDING = frozenset({"create", "upload"})
_NOBODY_HOME = frozenset({404, 405})
"""At a create call these tell of a wrong address, never of a bad request; the requests must not be refused for it."""
_NO_SUCH_URL = "Invalid URL"
"""What OpenAI says, with status 404, to a path that it does not have."""


class CallRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a call's failures are to be read.

    ``lost`` is raised when the request left and no answer came, ``unsure`` on 5xx, 408 and 409. ``complete`` tells whether
    the whole request may have left this process; what has not left whole cannot have been carried out.
    """

    account: str
    call: str
    lost: type[ProviderError] = Retryable
    unsure: type[ProviderError] = Retryable
    complete: Callable[[], bool] = lambda: True


@contextmanager
def translated(rules: CallRules, *, now: Callable[[], float] = time.time) -> Iterator[None]:
    """Turn every foreign error of the block into one of ours, without its text: that may hold the key or a prompt."""
    import httpx2  # noqa: PLC0415 - slow to import, and only needed where an SDK is loaded already

    try:
        yield
    except ProviderError:
        raise
    except Exception as exc:
        response = _first(exc, lambda e: getattr(e, "response", None))
        if isinstance(response, httpx2.Response):
            raise refused(rules, response.status_code, response.headers, _content(response), now()) from None
        if isinstance(exc, _UNREADABLE) and not isinstance(exc, OSError | LineTooLong):
            raise _lost(rules, "unreadable_answer", "its answer is not what the provider promises") from None
        cause = _first(exc, lambda e: e if _transport(e) else None)
        if cause is None and type(exc).__module__.partition(".")[0] not in _SDKS:
            raise
        raise broken(rules, cause or exc) from None


def refused(rules: CallRules, status: int, headers: Mapping[str, str], body: bytes, now: float = 0.0) -> ProviderError:
    """Return the error for an HTTP status that is no success."""
    told = read_error(body)
    code = told.code or str(status)
    head = f"{rules.call} on account {rules.account!r}: the provider answered {status} ({code})"
    gone = status in {403, 404} and _FILE_GONE in told.message
    if not gone and (status == 403 or is_account_at_fault(status, told)):
        todo = (
            "set the account's key right" if _is_key_at_fault(status, told) else "set right what the account may spend"
        )
        return KeyRefused(
            f"{head}; {todo}, requests wait until then",
            account=rules.account,
            call=rules.call,
            code=code,
            status=status,
        )
    text = f"{head}: {told.message[:MAX_QUOTED]}" if told.message else head
    kind = _kind(rules, status)
    if status < 400:
        text = f"{head}; a redirect is not followed here, set the account's base_url right"
    elif gone:
        text = f"{head}: cannot find file, it is gone or of another project"
        kind = Permanent if rules.call in _SENDING else NotFound
    elif rules.call == "create" and told.type == "NOT_FOUND" and "model" in told.message:  # Google's API is there
        code, kind = "model_not_found", Permanent
    elif (rules.call in _SENDING and status in _NOBODY_HOME) or (rules.call == "call" and is_nobody_home(status, told)):
        text = f"{head}; there is no such API at the account's base_url, set it right; requests wait until then"
        kind = Retryable
    elif is_nobody_home(status, told):  # it stays a 404, by which alone no batch is given up
        text = f"{head}; there is no such API at the account's base_url, set it right"
    waits_s = retry_after_s(headers, now)
    return kind(
        text,
        account=rules.account,
        call=rules.call,
        code=code,
        status=status,
        retry_after_s=told.retry_s if waits_s is None else waits_s,
    )


def _is_key_at_fault(status: int, told: Told) -> bool:
    return status in {401, 403} or told.reason in _BAD_KEY


def is_account_at_fault(status: int, told: Told) -> bool:
    """Whether the key or the account's money is what is wrong: no fault of the request."""
    no_money = told.type in _NO_MONEY or told.code in _NO_MONEY or _no_credit(told)
    not_served = told.type == "FAILED_PRECONDITION" and any(part in told.message for part in _NOT_SERVED)
    return status in {401, 402} or (400 <= status < 500 and (no_money or not_served or told.reason in _BAD_KEY))


def is_nobody_home(status: int, told: Told) -> bool:
    """Whether a realtime call came to a wrong address: what is there does not speak of errors as a provider does."""
    return status in _NOBODY_HOME and (not (told.message or told.code) or told.message.startswith(_NO_SUCH_URL))


def is_request_at_fault(status: int, told: Told) -> bool:
    """Whether a 4xx refuses the request itself, for good; not the account and not the moment."""
    return 400 <= status < 500 and status not in _ASK_LATER and not is_account_at_fault(status, told)


def _kind(rules: CallRules, status: int) -> type[ProviderError]:
    misdirected = status < 400 or status in _NOBODY_HOME
    if status == 429 or (rules.call in _SENDING and misdirected) or (rules.call == "call" and status < 400):
        return Retryable
    if status >= 500 or status in _ASK_LATER:
        return rules.unsure if rules.complete() else Retryable
    return NotFound if status == 404 else Permanent


def _no_credit(told: Told) -> bool:
    # Anthropic says this with status 400 and the type of an ordinary bad request.
    return "credit balance is too low" in told.message


def broken(rules: CallRules, cause: BaseException) -> ProviderError:
    """Return the error for a call that broke off below HTTP; ``cause`` is httpx2's own exception."""
    import httpx2  # noqa: PLC0415

    name = type(cause).__name__
    head = f"{rules.call} on account {rules.account!r}"
    if isinstance(cause, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        kind = Retryable if rules.call == "create" else Permanent
        return kind(
            f"{head}: the account's base_url is no http(s) address; set it right",
            account=rules.account,
            call=rules.call,
            code=name,
        )
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return Retryable(
            f"{head}: no connection to the provider ({name}); nothing was sent",
            account=rules.account,
            call=rules.call,
            code=name,
        )
    return _lost(rules, name, f"the connection broke off ({name})")


def _lost(rules: CallRules, code: str, what: str) -> ProviderError:
    head = f"{rules.call} on account {rules.account!r}: {what}"
    if not rules.complete():
        text = f"{head}, before the whole request was sent"
        return Retryable(text, account=rules.account, call=rules.call, code=code)
    text = f"{head}; it may have happened" if rules.lost is Ambiguous else head
    return rules.lost(text, account=rules.account, call=rules.call, code=code)


def _transport(exc: BaseException) -> bool:
    import httpx2  # noqa: PLC0415

    return isinstance(exc, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL | OSError)


def _first(exc: BaseException, pick: Callable[[BaseException], Any]) -> Any:
    """Return the first thing that ``pick`` finds along the causes: SDKs wrap what their transport raises."""
    current: BaseException | None = exc
    while current is not None:
        found = pick(current)
        if found is not None:
            return found
        current = current.__cause__
    return None


def _content(response: Any) -> bytes:
    try:
        return bytes(response.content)
    except RuntimeError:  # a streamed body that nobody read
        return b""


class Keyed(Generic[T]):
    """The SDK client of an account, built anew whenever the key has changed."""

    def __init__(self, access: AccountAccess, build: Callable[[str], T]) -> None:
        self._access = access
        self._build = build
        self._lock = threading.Lock()
        self._made: tuple[str, T] | None = None

    def client(self, call: str) -> T:
        """Return the client for the key as it is now. Raises KeyRefused when there is no usable key."""
        key = self._access.key()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            what = "is empty" if not key else "has characters that no key has"
            raise KeyRefused(
                f"{call} on account {self._access.name!r}: the key {what}; set it right, requests wait until then",
                account=self._access.name,
                call=call,
                code="no_key",
            )
        with self._lock:
            if self._made is None or self._made[0] != key:
                self._made = (key, self._build(key))
            return self._made[1]
