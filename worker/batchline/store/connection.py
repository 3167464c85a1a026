"""The connection to the store, and the one way in which scripts are called and store errors translated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.commands.core import Script
from redis.retry import Retry

from batchline import killpoints
from batchline.errors import BatchlineError, LeaseLost, StoreError, StoreFull, StoreUnreachable, UsageError
from batchline.store import scripts

Argument = str | bytes | int | float
T = TypeVar("T")
TIMEOUT_S = 10.0
CONNECT_S = 5.0
RETRIES = 3


class Patience(NamedTuple):
    """How long an answer is waited for, in seconds, and how often what got none is sent again."""

    timeout_s: float
    retries: int


HASTY = Patience(timeout_s=1.5, retries=1)
"""Of those who are waited for themselves: a scrape must end within 10 seconds. It repeats once, for a store that was restarted."""


class Flat(Retry):
    """Repeats a command, and not each attempt to connect within each attempt of the command: that would be 16 waits, not 4."""

    _inside = threading.local()

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Do something; try again what fails, unless somebody further out does."""
        if getattr(self._inside, "repeats", False):
            try:
                return do()
            except self._supported_errors as error:
                fail(error, 1) if with_failure_count else fail(error)
                raise
        self._inside.repeats = True
        try:
            return super().call_with_retry(do, fail, is_retryable, with_failure_count)
        finally:
            self._inside.repeats = False


class Connection:
    """A connection pool to one Redis or Valkey primary, with every script at hand.

    Every script may be sent twice, so a lost reply is simply asked for again; that holds for the plain commands used here
    too. Blocking reads are not resent: they take ``blocking``.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url
        patience = patience or Patience(TIMEOUT_S, RETRIES)
        with _url_is_right():
            self.redis = _client(url, timeout_s=patience.timeout_s, retries=patience.retries)
            pool = self.redis.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # connects to nothing yet
        self._scripts: dict[str, Script] = {}

    def blocking(self, *, timeout_s: float) -> redis.Redis:
        """Return a client of its own for commands that block up to ``timeout_s``."""
        return _client(self.url, timeout_s=timeout_s + 10.0, retries=0)

    def script(self, name: str) -> Script:
        """Return a registered script, for use in a pipeline."""
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(scripts.source(name))
        return self._scripts[name]

    def call(
        self, name: str, keys: Sequence[str], args: Sequence[Argument], *, client: redis.Redis | None = None
    ) -> Any:
        """Run a script, on a client of the caller's own if it has one. Raises LeaseLost, StoreFull or StoreError."""
        with sending(f"script.{name}", f"script {name}"):
            return self.script(name)(keys=[_raw(key) for key in keys], args=[_raw(arg) for arg in args], client=client)

    def call_many(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]) -> list[Any]:
        """Run a script many times in one round trip. Raises LeaseLost, StoreFull or StoreError; what ran before stays."""
        script = self.script(name)
        pipeline = self.redis.pipeline(transaction=False)
        for keys, args in calls:
            script(keys=[_raw(key) for key in keys], args=[_raw(arg) for arg in args], client=pipeline)
        with sending(f"script.{name}", f"script {name}"):
            return pipeline.execute()

    def call_then(
        self, name: str, keys: Sequence[str], args: Sequence[Argument], command: Sequence[Argument]
    ) -> tuple[Any, Any]:
        """Run a script and then a command on the same connection: what WAIT and WAITAOF need. Raises as ``call``."""
        pipeline = self.redis.pipeline(transaction=False)
        self.script(name)(keys=[_raw(key) for key in keys], args=[_raw(arg) for arg in args], client=pipeline)
        pipeline.execute_command(*[_raw(part) for part in command])  # type: ignore[no-untyped-call]
        with sending(f"script.{name}", f"script {name}"):
            answer, then = pipeline.execute()
        return answer, then

    def run(self, command: str, *args: Argument) -> Any:
        """Run a plain command. Raises StoreFull or StoreError."""
        with sending(f"command.{command.lower()}", command):
            return self.redis.execute_command(command, *[_raw(arg) for arg in args])  # type: ignore[no-untyped-call]

    def run_many(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """Run plain commands in one round trip. Raises StoreFull or StoreError; what ran before stays."""
        pipeline = self.redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*[_raw(part) for part in command])  # type: ignore[no-untyped-call]
        with sending("commands", "a pipeline of commands"):
            return pipeline.execute()

    def close(self) -> None:
        """Close the pool's connections."""
        self.redis.close()


@contextmanager
def sending(name: str, what: str) -> Iterator[None]:
    """Put kill points around what is sent to the store, and translate its errors."""
    try:
        with killpoints.around(name, _lost):
            yield
    except redis.RedisError as error:
        raise translate(error, what) from error


@contextmanager
def _url_is_right() -> Iterator[None]:
    """Say at once, and not with the first command, that a URL has a parameter that the client does not take."""
    try:
        yield
    except (TypeError, ValueError, redis.RedisError):
        raise UsageError(
            "the store's URL is not right: check the port, the database and the parameters (BATCHLINE_REDIS_URL, or the client's `url`)"
        ) from None


def _lost() -> Exception:
    return redis.ConnectionError("the connection broke off (kill point)")


def _client(url: str, *, timeout_s: float, retries: int) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        decode_responses=False,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(CONNECT_S, timeout_s),
        **({} if url.startswith("unix://") else {"socket_keepalive": True}),
        health_check_interval=30,
        retry=Flat(ExponentialBackoff(cap=1.0, base=0.05), retries),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError] if retries else [],
    )


def broker(url: str) -> tuple[str, dict[str, Any] | None]:
    """Return a broker's URL and its TLS options as Celery takes them, from the form of URL that the store's client takes.

    Both are to check the same: kombu accepts any certificate unless it is told not to, and knows none of redis-py's other
    parameters. A broker that is no Redis keeps its URL.
    """
    if not url.startswith(("redis://", "rediss://")):
        return url, None
    given = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    plain = urlunsplit(urlsplit(url)._replace(path=f"/{given.get('db', 0)}", query="", fragment=""))
    if not url.startswith("rediss://"):
        return plain, None
    checked = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    return plain, checked | {name: value for name, value in given.items() if name.startswith("ssl_")}


def _raw(value: Argument) -> Any:
    # Names from the store may hold bytes that are no UTF-8; they go back as they came.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def translate(error: redis.RedisError, what: str) -> BatchlineError:
    """Turn a Redis error into one of ours; the URL (it may hold a password) is never quoted."""
    message = str(error)
    if "LEASELOST" in message:
        return LeaseLost(f"{what}: somebody else holds the lease on this batch")
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM command not allowed" in message:
        return StoreFull(
            f"{what}: the store is full (maxmemory) and takes no new requests; free memory or raise maxmemory"
        )
    if isinstance(error, redis.ConnectionError) and "CERTIFICATE_VERIFY_FAILED" in message:
        return StoreUnreachable(
            f"{what}: the store's TLS certificate is not accepted; does ssl_ca_certs in BATCHLINE_REDIS_URL name its CA, and is it for this host name?"
        )
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return StoreUnreachable(
            f"{what}: cannot reach the store ({type(error).__name__}); is it running, and is BATCHLINE_REDIS_URL right?"
        )
    return StoreError(f"{what}: the store answered with an error: {message[:300]}")
