"""The client: enqueue requests and read their replies, from any Python program."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from batchline.compose import NAMES, Deadline, Draft, compose, draft
from batchline.errors import BatchlineError, InvalidRequest, StoreFull, UsageError
from batchline.replies import Reply
from batchline.reply_to import parse_reply_to
from batchline.requests import Request, decode_reply
from batchline.settings import Settings, load_settings
from batchline.store import Store, keys

MOST = 500
MOST_BYTES = 4 * 2**20
"""Most requests, and about how many bytes of bodies, that go to the store in one round trip."""
READ_AHEAD = 100
ACKNOWLEDGE_AT = 50
ACKNOWLEDGE_S = 0.2
AHEAD_S = 5.0
BLOCK_S = 60.0


def _random_id() -> str:
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted request. ``new`` is False when its id had been accepted before: then nothing was enqueued again."""

    id: str
    lane: str
    entry: str
    reply_to: str | None = None
    new: bool = True
    _client: Client | None = field(default=None, repr=False, compare=False)

    def wait(self, timeout: float | None = None) -> Reply:
        """Wait for the reply, at most ``timeout`` seconds; reading does not take it away, so it can be asked for again.

        Raises TimeoutError when it has not come, UsageError for a request that named a ``reply_to``, StoreError.
        """
        if self._client is None:
            raise UsageError("this ticket belongs to no client: get one by client.ticket(lane, id)")
        if self.reply_to is not None:
            raise UsageError(
                f"request {self.id!r} named the shared reply_to {self.reply_to!r}: read it by client.replies({self.reply_to!r})"
            )
        return self._client._wait(self, timeout)  # noqa: SLF001 - one module


class Client:
    """A producer's and consumer's way to batchline; safe to share between threads.

    ``url`` is the store's, by default that of the settings (BATCHLINE_REDIS_URL). ``new_id`` makes up ids, ``clock``
    returns unix seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        new_id: Callable[[], str] = _random_id,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or load_settings()
        self.store = Store(url or self.settings.redis_url, reply_ttl_s=self.settings.reply_ttl)
        self._new_id = new_id
        self._clock = clock
        self._name = secrets.token_hex(6)
        self._reading: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the store."""
        self.store.close()

    def enqueue(
        self,
        *,
        model: str | None = None,
        lane: str | None = None,
        account: str | None = None,
        endpoint: str | None = None,
        body: Mapping[str, Any] | bytes | str | None = None,
        id: str | None = None,  # noqa: A002 - the protocol's own name
        reply_to: str | None = None,
        deadline: Deadline | None = None,
        metadata: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        beta: str | None = None,
        version: str | None = None,
        traceparent: str | None = None,
        **body_fields: Any,
    ) -> Ticket:
        """Enqueue one request; when this returns, the store has it.

        Give the provider's request body as ``body``, or its fields as further keywords. Where the body has a field of
        a name above (``metadata``), use ``body``. The lane is ``lane``, or built from model, account and endpoint; what is missing of these
        the settings' table of model patterns knows. An ``id`` is accepted once per lane, so a call whose acknowledgement
        was lost can simply be repeated. ``deadline``: seconds from now, ``"6h"``, or a datetime with a time zone.
        Raises InvalidRequest, UsageError (no account is known for the model), StoreFull, StoreError.
        """
        given = {name: value for name, value in locals().items() if name in NAMES and name != "self"}
        return next(self.enqueue_drafts([draft({**body_fields, **given})]))

    def enqueue_many(self, requests: Iterable[Mapping[str, Any]], *, reply_to: str | None = None) -> list[Ticket]:
        """Enqueue many requests, each a mapping of what ``enqueue`` takes; ``reply_to`` is for those that name none.

        They are checked and sent in chunks as they come, so an iterator of any length will do. An InvalidRequest names
        the request by its index; then some of those before it have been enqueued.
        """
        return list(self.enqueue_iter(requests, reply_to=reply_to))

    def enqueue_iter(self, requests: Iterable[Mapping[str, Any]], *, reply_to: str | None = None) -> Iterator[Ticket]:
        """Do as ``enqueue_many``, but give each ticket as soon as its chunk is accepted and keep none."""
        shared = {} if reply_to is None else {"reply_to": reply_to}
        return self.enqueue_drafts(_drafts(requests, shared), numbered=True)

    def enqueue_drafts(self, drafts: Iterable[Draft], *, numbered: bool = False) -> Iterator[Ticket]:
        """Enqueue drafts in chunks of bounded size; ``numbered``: an error names the draft by its index."""
        chunk: list[tuple[Request, int]] = []
        size = 0
        for index, given in enumerate(drafts):
            with _naming(index if numbered else None):
                request, window_ms = compose(
                    given, self.settings, now_ms=int(self._clock() * 1000), new_id=self._new_id
                )
            chunk.append((request, window_ms))
            size += len(request.body) + len(request.metadata or b"")
            if len(chunk) >= MOST or size >= MOST_BYTES:
                yield from self._accepted(chunk)
                chunk, size = [], 0
        yield from self._accepted(chunk)

    def _accepted(self, chunk: list[tuple[Request, int]]) -> list[Ticket]:
        if not chunk:
            return []
        self._check_room()
        answers = self.store.intake.enqueue(chunk)
        return [
            Ticket(request.id, request.lane, answer.entry, request.reply_to, answer.new, self)
            for (request, _), answer in zip(chunk, answers, strict=True)
        ]

    def _check_room(self) -> None:
        """Raise StoreFull while the store is so full that what is under way needs the rest."""
        refuse_above = self.settings.pressure.refuse_above
        share = self.store.memory.share()
        if share > refuse_above:
            raise StoreFull(
                f"the store uses {share:.0%} of its maxmemory and takes no new requests above {refuse_above:.0%} "
                "(pressure.refuse_above); try again when replies have been read, or raise maxmemory"
            )

    def ticket(self, lane: str, id: str) -> Ticket:  # noqa: A002 - the protocol's own name
        """Return the ticket of a request enqueued before, perhaps by another process; nothing is looked up yet."""
        return Ticket(id=id, lane=lane, entry="", _client=self)

    def _wait(self, ticket: Ticket, timeout: float | None) -> Reply:
        key = keys.reply_default(ticket.lane, ticket.id)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = BLOCK_S if end is None else end - time.monotonic()
            raw = self.store.callbacks.peek(key, timeout_s=min(max(left, 0.0), BLOCK_S))
            if raw is not None:
                return _reply(raw, key)
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"no reply to request {ticket.id!r} within {timeout} s; it is still owed one")

    def replies(self, name: str, *, timeout: float | None = None, reader: str | None = None) -> Iterator[Reply]:
        """Iterate over the replies that come to the callback list ``name``, waiting for each.

        At least once: a reply counts as dealt with when the next one is asked for, and is acknowledged soon after (within
        50 replies or a fifth of a second), so what was being dealt with during a crash comes again. Ends when none came for
        ``timeout`` seconds (None: never). ``reader`` names this reader: one that comes back under its old name gets what it
        had not acknowledged first; else that goes to other readers once its reader has been silent for a minute. Two
        readers must not use one name at the same time. Raises UsageError, StoreError.
        """
        for chunk, acknowledge in self.reply_chunks(name, timeout=timeout, reader=reader, most=READ_AHEAD):
            yield from _acknowledged(chunk, acknowledge, keys.reply_list(name))

    def reply_chunks(
        self, name: str, *, timeout: float | None, reader: str | None = None, most: int = MOST
    ) -> Iterator[tuple[list[bytes], Callable[[int], None]]]:
        """Iterate over raw replies in chunks, each with the function that acknowledges so many of the oldest.

        A chunk must be acknowledged whole before the next is asked for. For ``timeout`` and ``reader`` see ``replies``.
        """
        _check_list(name)
        with self._reader_name(name, reader) as own, closing(self.store.callbacks.reader(name, own)) as queue:
            if taken := queue.resume():
                yield taken, queue.acknowledge
            ahead = 1
            while (first := _take(queue.take, timeout)) is not None:
                chunk = [first, *(queue.take_many(ahead - 1) if ahead > 1 else ())]
                began = time.monotonic()
                yield chunk, queue.acknowledge
                ahead = _ahead(len(chunk), time.monotonic() - began, most)

    @contextmanager
    def _reader_name(self, name: str, reader: str | None) -> Iterator[str]:
        """Take a reader's name for as long as it reads; a name of this client's own comes back to what it left unread."""
        with self._lock:
            made_up = (f"{self._name}-{n}" for n in range(len(self._reading) + 1))
            own = reader or next(each for each in made_up if (name, each) not in self._reading)
            if (name, own) in self._reading:
                raise UsageError(f"the reader {own!r} of {name!r} is reading already: give each its own name")
            self._reading.add((name, own))
        try:
            yield own
        finally:
            with self._lock:
                self._reading.discard((name, own))


def _acknowledged(chunk: list[bytes], acknowledge: Callable[[int], None], key: str) -> Iterator[Reply]:
    """Give the replies of a chunk one by one; acknowledge those that were dealt with, a few at a time."""
    dealt_with = 0
    since = time.monotonic()
    try:
        for raw in chunk:
            try:
                reply = _reply(raw, key)
            except BatchlineError:
                dealt_with += 1  # or it would come again for ever
                raise
            yield reply
            dealt_with += 1
            if dealt_with >= ACKNOWLEDGE_AT or time.monotonic() - since >= ACKNOWLEDGE_S:
                acknowledge(dealt_with)
                dealt_with, since = 0, time.monotonic()
    finally:
        if dealt_with:
            acknowledge(dealt_with)


def _take(take: Callable[..., bytes | None], timeout: float | None) -> bytes | None:
    """Take one reply in blocks of bounded length, so that a reader shows that it is alive."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = BLOCK_S / 2 if end is None else end - time.monotonic()
        first = take(timeout_s=min(max(left, 0.0), BLOCK_S / 2))
        if first is not None or (end is not None and time.monotonic() >= end):
            return first


def _ahead(dealt_with: int, seconds: float, most: int) -> int:
    """Return how many replies to take at once: what is dealt with in a few seconds, lest a slow reader be taken for dead."""
    return max(1, min(most, dealt_with * 20, int(dealt_with * AHEAD_S / max(seconds, 1e-6))))


def _check_list(name: str) -> None:
    try:
        kind = parse_reply_to(name).kind
    except InvalidRequest as error:
        raise UsageError(f"cannot read {name!r}: {error}") from None
    if kind == "stream":
        raise UsageError(f"{name!r} is a stream: read it with XREADGROUP; client.replies reads lists")


def _drafts(requests: Iterable[Mapping[str, Any]], shared: Mapping[str, str]) -> Iterator[Draft]:
    for index, request in enumerate(requests):
        with _naming(index):
            if not isinstance(request, Mapping):
                raise InvalidRequest("it is not a mapping of what enqueue takes")
            given = draft({**shared, **request})
        yield given


@contextmanager
def _naming(index: int | None) -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        if index is None:
            raise
        raise InvalidRequest(f"request {index}: {error}", code=error.code) from None
    except UsageError as error:
        if index is None:
            raise
        raise UsageError(f"request {index}: {error}") from None


def _reply(raw: bytes, key: str) -> Reply:
    try:
        return Reply(decode_reply(raw))
    except msgspec.DecodeError as error:
        raise UsageError(f"{key} holds something that is no reply of batchline: {error}") from None
