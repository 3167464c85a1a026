"""The load of the soak: requests for two providers, by the raw protocol and by the client, and the books of what was accepted."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import raw_protocol

from batchline.client import Client
from batchline.errors import BatchlineError
from batchline.local.tickets import support_tickets
from batchline.settings import Settings
from batchline.store import keys

LANES = ("openai:chat:gpt-5-mini", "anthropic:messages:claude-haiku-4-5")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; ``shared`` is the callback list that it named, if any. A ``rejected`` one is refused by its provider."""

    lane: str
    id: str
    text: str
    shared: str | None
    rejected: bool

    @property
    def body(self) -> dict[str, Any]:
        """The provider's own body."""
        limit = "max_tokens" if self.lane.startswith("anthropic") else "max_completion_tokens"
        model = self.lane.rpartition(":")[2]
        return {"model": model, limit: 64, "messages": [{"role": "user", "content": self.text}]}

    @property
    def queue(self) -> str:
        """The key of the callback list."""
        return keys.reply_list(self.shared) if self.shared else keys.reply_default(self.lane, self.id)


def asks(number: int, dice: random.Random) -> Iterator[Ask]:
    for ticket in support_tickets(number, seed=dice.randrange(2**32)):
        mark = dice.choices(("", " [[reject]]", " [[duplicate]]", " [[fail-once]]"), (92, 1, 3, 4))[0]
        lane = dice.choice(LANES)
        shared = dice.choice((None, f"soak-{lane.partition(':')[0]}"))
        yield Ask(lane, ticket.id, f"{ticket.text}{mark}", shared, "reject" in mark)


@dataclass
class Books:
    """What was enqueued: accepted for certain, or perhaps (the acknowledgement of a raw one was lost)."""

    accepted: dict[str, Ask] = field(default_factory=dict)
    doubtful: dict[str, Ask] = field(default_factory=dict)
    repeats: int = 0


class Producer(threading.Thread):
    """Enqueues its share over ``seconds``; when the store was away, it catches up."""

    def __init__(self, books: Books, todo: Sequence[Ask], seconds: float, dice: random.Random) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.books = books
        self._todo = todo
        self._seconds = seconds
        self._dice = dice
        self.done = False
        self.error: Exception | None = None

    def run(self) -> None:
        """Enqueue all; runs in the thread."""
        try:
            self._enqueue_all()
            self.done = True
        except Exception as error:  # noqa: BLE001 - it is reported at the end
            self.error = error

    def _enqueue_all(self) -> None:
        began, done = time.monotonic(), 0
        while done < len(self._todo):
            time.sleep(0.05 + self._dice.random())
            due = int(len(self._todo) * min(1.0, (time.monotonic() - began) / self._seconds))
            while done < due:
                size = min(self._dice.randint(1, 30), due - done)
                self.enqueue(self._todo[done : done + size])
                done += size

    def enqueue(self, chunk: Sequence[Ask]) -> None:
        """Enqueue some, or note them as doubtful."""
        raise NotImplementedError


class RawProducer(Producer):
    """By the protocol alone. What was not acknowledged is not sent again: it may have been accepted."""

    def __init__(self, url: str, *rest: Any) -> None:
        super().__init__(*rest)
        self._port = urlsplit(url).port or 0
        self._connection: Any = None

    def enqueue(self, chunk: Sequence[Ask]) -> None:
        """Enqueue each by itself."""
        for ask in chunk:
            request = raw_protocol.RawRequest(ask.lane, ask.id, json.dumps(ask.body), ask.shared)
            try:
                self._connection = self._connection or raw_protocol.connect("127.0.0.1", self._port)
                raw_protocol.enqueue(self._connection, [request])
                self.books.accepted[ask.id] = ask
            except (OSError, RuntimeError, TypeError, ValueError):
                self.books.doubtful[ask.id] = ask
                self._connection = None


class ClientProducer(Producer):
    """By the client, which accepts an id once: what was not acknowledged is sent again until it is."""

    def __init__(self, url: str, *rest: Any) -> None:
        super().__init__(*rest)
        self._client = Client(url, settings=Settings())

    def enqueue(self, chunk: Sequence[Ask]) -> None:
        """Enqueue all in one round trip, as often as it takes."""
        drafts = [{"id": a.id, "lane": a.lane, "body": a.body, "reply_to": a.shared} for a in chunk]
        while True:
            try:
                self._client.enqueue_many(drafts)
            except BatchlineError:
                self.books.repeats += 1
                time.sleep(0.2)
            else:
                self.books.accepted.update((ask.id, ask) for ask in chunk)
                return
