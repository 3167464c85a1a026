"""A house to test the engine in: a real store, the real SDKs, and an emulator whose clock is the engine's own.

Nothing sleeps and nothing runs by itself: time passes when a test says so, doorbells call the engine directly, and calls
of a worker to its store or its provider can be broken off before or after they took effect.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount
from tests.engine.meddling import Death, Meddler

from batchline import emulator
from batchline.emulator.app import create_app
from batchline.emulator.serve import serving
from batchline.emulator.world import Emulator
from batchline.engine import accumulator, auditor, context, files, poller, submitter
from batchline.engine.context import Context
from batchline.engine.shutdown import Shutdown
from batchline.errors import LeaseLost
from batchline.providers import facts_of, make_provider
from batchline.providers.protocol import AccountAccess, Options, accept
from batchline.requests import Reply, decode_reply
from batchline.settings import Settings
from batchline.store import Store, keys
from batchline.store.records import Batch

START_MS = 1_795_000_000_000
CHAT = "openai:chat:gpt-5-mini"
ASKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "chat": lambda text: {"messages": [{"role": "user", "content": text}]},
    "responses": lambda text: {"input": text},
    "embeddings": lambda text: {"input": text},
    "completions": lambda text: {"prompt": text},
    "moderations": lambda text: {"input": text},
    "messages": lambda text: {"max_tokens": 64, "messages": [{"role": "user", "content": text}]},
    "generate": lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    "embed": lambda text: {"content": {"parts": [{"text": text}]}},
}
NAMELESS = frozenset({"generate", "embed"})
"""Endpoints whose bodies do not name their model."""
Fault = Callable[[str, str], Response | None]


class Wire:
    """The one server of the session; each test puts its own emulator behind it, and may break its answers."""

    def __init__(self) -> None:
        self.app: Any = None
        self.fault: Fault | None = None
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = (self.fault and self.fault(scope["method"], scope["path"])) or self.app
        await app(scope, receive, send)


class Worker:
    """One worker: the engine's steps called directly, with its own meddlers before store and providers."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.store = Store(bench.store.connection.url)
        self.batches = self.store.batches = cast("Any", Meddler(self.store.batches))
        self.settling = self.store.settling = cast("Any", Meddler(self.store.settling))
        self.openai, self.anthropic, self.gemini, self.inline = (Meddler(each) for each in bench.providers.values())
        self.deaf = False
        """Whether doorbells are lost."""
        self.lost: list[str] = []
        """What this worker was told when it had lost a lease."""
        self._bench = bench
        self.name = name
        self.shutdown = Shutdown()

    @property
    def context(self) -> Context:
        """What the engine is given, with the settings as they are now."""
        account = self._bench.settings.accounts.get("gemini")
        gemini = self.inline if account and account.inline else self.gemini
        dealt = {"openai": self.openai, "anthropic": self.anthropic, "gemini": gemini, "second": self.openai}
        dealt |= self._bench.services
        return Context(
            settings=self._bench.settings,
            store=self.store,
            provider=lambda account: cast("Any", dealt[account]),
            clock=lambda: self._bench.now_ms,
            dice=self._bench.dice,
            worker=self.name,
            shutdown=self.shutdown,
        )

    def tick(self) -> None:
        """Do all that is due now."""
        accumulator.tick_accumulate(self.context, self)
        accumulator.tick_poll(self.context, self)

    def submit(self, batch_id: str) -> None:
        """Answer the doorbell of a batch on its way to the provider."""
        self._step(submitter.submit, batch_id)

    def poll(self, batch_id: str) -> None:
        """Answer the doorbell of a batch at its provider."""
        self._step(poller.poll, batch_id)

    def file(self, file: str) -> None:
        """Answer the doorbell of a provider's file that is due to be deleted."""
        if not self.deaf:
            files.delete(self.context, file)

    def audit(self, account: str) -> None:
        """Answer the doorbell of an account that is due to be audited."""
        self._step(auditor.audit_in_turn, account)

    def _step(self, step: Callable[[Context, str], None], batch_id: str) -> None:
        if self.deaf:
            return
        try:
            step(self.context, batch_id)
        except LeaseLost as lost:
            self.lost.append(str(lost))


class Bench:
    """Store, emulator, workers and a clock that only a test moves. ``first`` is the worker that ticks by default."""

    def __init__(self, store: Store, wire: Wire, providers: dict[str, Any]) -> None:
        self.store = store
        self.wire = wire
        self.providers = providers
        self.now_ms = START_MS
        self.dice = random.Random(7)
        self.sent: list[str] = []
        self.services: dict[str, Any] = {}
        """Providers of accounts of a test's own, by name."""
        self.settings = Settings(redis_url=store.connection.url).model_copy(
            update={"flush": Settings().flush.model_copy(update={"max_age": 0.0})}
        )
        self._workers: list[Worker] = []
        self._entries = 0
        self._entry_of: dict[str, str] = {}
        self._emulator: Emulator | None = None
        self.start()
        self.first = self.worker("first")

    def start(self, **options: Any) -> None:
        """Start an emulator with these options in place of the one before."""
        self.close_emulator()
        app = create_app(emulator.Options(**options), lambda: self.now_ms / 1000)
        self.wire.app, self.wire.fault = app, None
        self._emulator = app.state.emulator

    @property
    def emulator(self) -> Emulator:
        """The emulator as it runs."""
        assert self._emulator is not None
        return self._emulator

    def close_emulator(self) -> None:
        """Stop the emulator."""
        if self._emulator is not None:
            self._emulator.close()

    def close(self) -> None:
        """Stop everything."""
        self.close_emulator()
        for worker in self._workers:
            worker.store.close()

    def worker(self, name: str) -> Worker:
        """Start another worker."""
        self._workers.append(Worker(self, name))
        return self._workers[-1]

    def set(self, part: str, **values: Any) -> None:
        """Change settings of a part: flush, retry, poll, limits; ``account`` for all accounts."""
        if part == "account":
            accounts = {name: each.model_copy(update=values) for name, each in self.settings.accounts.items()}
            update: dict[str, Any] = {"accounts": accounts}
        else:
            update = {part: getattr(self.settings, part).model_copy(update=values)}
        self.settings = self.settings.model_copy(update=update)

    # --- time ---

    def advance(self, seconds: float) -> None:
        """Let time pass for engine and emulator alike."""
        self.now_ms += int(seconds * 1000)
        self.emulator.settle()

    def tick(self, worker: Worker | None = None) -> None:
        """Let a worker do all that is due now."""
        (worker or self.first).tick()
        self.emulator.settle()

    def go_inline(self) -> None:
        """Let Gemini's batches go in the create call from now on."""
        gemini = self.settings.accounts["gemini"].model_copy(update={"inline": True})
        accounts = dict(self.settings.accounts) | {"gemini": gemini}
        self.settings = self.settings.model_copy(update={"accounts": accounts})

    def drain(self, worker: Worker | None = None, *, rounds: int = 40, step_s: float = 30.0) -> None:
        """Tick until nothing is owed and no batch is open."""
        for _ in range(rounds):
            self.tick(worker)
            if not self.owed() and not self.open_batches():
                return
            self.advance(step_s)
        pytest.fail(f"still owed after {rounds} ticks: {self.owed()}, open: {self.open_batches()}")

    def lapse(self) -> None:
        """Let every lease and every create call of open batches lie in the past, as if their workers were long dead."""
        for batch in self.open_batches():
            self.run("HSET", keys.batch(batch.id), "lease_until", 1, "call_until", self.now_ms)

    # --- requests in ---

    def run(self, command: str, *args: Any) -> Any:
        """Run a plain command."""
        return self.store.connection.run(command, *args)

    def add(self, lane: str | bytes, **fields: Any) -> str:
        """Put an entry into a lane by the raw protocol; its time is the bench's clock."""
        return self._add(lane, [fields])[0]

    def _add(self, lane: str | bytes, requests: list[dict[str, Any]]) -> list[str]:
        name = lane if isinstance(lane, bytes) else lane.encode()
        entries = [f"{self.now_ms}-{self._entries + n}" for n in range(1, len(requests) + 1)]
        self._entries += len(requests)
        stream = b"batchline:{" + name + b"}:requests"
        commands: list[tuple[Any, ...]] = [
            ("XADD", stream, entry, *(part for pair in fields.items() for part in pair))
            for entry, fields in zip(entries, requests, strict=True)
        ]
        self.store.connection.run_many([*commands, ("SADD", keys.LANES, name)])
        return entries

    def ask(self, text: str, lane: str = CHAT, *, id: str | None = None, **fields: Any) -> str:  # noqa: A002
        """Enqueue a well-formed request; returns its id."""
        return self._ask([(id or f"r{len(self.sent)}", text)], lane, fields)[0]

    def _ask(self, asked: list[tuple[str, str]], lane: str, fields: dict[str, Any]) -> list[str]:
        ids = [request_id for request_id, _ in asked]
        requests = [{"id": request_id, "body": body(text, lane)} | fields for request_id, text in asked]
        self._entry_of |= dict(zip(ids, self._add(lane, requests), strict=True))
        self.sent += ids
        return ids

    def entry_of(self, request_id: str) -> str:
        """Return the entry id of a request that was asked."""
        return self._entry_of[request_id]

    def ask_many(self, count: int, lane: str = CHAT, **fields: Any) -> list[str]:
        """Enqueue so many requests with texts of their own."""
        first = len(self.sent)
        return self._ask([(f"r{n}", f"question {n}") for n in range(first, first + count)], lane, fields)

    def bad(self, raw: bytes | str, lane: str = CHAT, **fields: Any) -> Reply:
        """Enqueue a body as it is beside two good requests, and return its reply. The good ones must be answered."""
        before = self.ask("good one", lane, id="before")
        self.add(lane, **({"id": "bad", "body": raw} | fields))
        after = self.ask("good two", lane, id="after")
        self.sent.append(str(fields.get("id", "bad")))
        self.drain()
        assert [self.reply(good, lane).status for good in (before, after)] == ["succeeded"] * 2
        return self.reply(str(fields.get("id", "bad")), lane)

    # --- what came out ---

    def queue(self, key: str | bytes) -> list[Reply]:
        """Read the replies in a callback list or stream by its key."""
        return self._queues([key])

    def _queues(self, names: list[str | bytes]) -> list[Reply]:
        kinds = self.store.connection.run_many([("TYPE", key) for key in names])
        of_streams = [kind == b"stream" for kind in kinds]
        found = self.store.connection.run_many(
            ("XRANGE", key, "-", "+") if is_stream else ("LRANGE", key, 0, -1)
            for key, is_stream in zip(names, of_streams, strict=True)
        )
        return [
            decode_reply(raw)
            for answer, is_stream in zip(found, of_streams, strict=True)
            for raw in ([parts[b"reply"] for _, parts in _stream(answer)] if is_stream else answer)
        ]

    def reply(self, request_id: str, lane: str = CHAT) -> Reply:
        """Return the one reply in a request's default queue."""
        replies = self.queue(keys.reply_default(lane, request_id))
        assert len(replies) == 1, f"{len(replies)} replies for {request_id}"
        return replies[0]

    def all_replies(self) -> dict[str, Reply]:
        """Return every reply by its request's id; each request has exactly one, and nobody else has any."""
        found = [*self.run("KEYS", "batchline:reply:*"), *self.run("KEYS", "batchline:replies:*")]
        replies = self._queues(found)
        assert sorted(reply.id for reply in replies) == sorted(self.sent)
        return {reply.id: reply for reply in replies}

    def statuses(self) -> Counter[str]:
        """Count all replies by status."""
        return Counter(reply.status for reply in self.all_replies().values())

    def ledger(self, base: str = CHAT) -> dict[str, int]:
        """Return the ledger of a lane."""
        return next((dict(each.fields) for each in self.store.ledger.accounts() if each.base == base), {})

    def bill(self) -> Any:
        """Return the emulator's bill."""
        return self.emulator.bill.report()

    def created(self, kind: str = "openai") -> int:
        """Return how many batches the emulator has."""
        return int(self.emulator.bill.batches_created[kind])

    def batches(self) -> list[Batch]:
        """Return all batches, settled or not, in order of their ids."""
        ids = {key.decode().split(":")[2] for key in self.run("KEYS", "batchline:batch:*")}
        return self.store.batches.records(sorted(ids))

    def open_batches(self) -> list[Batch]:
        """Return the batches that are not settled."""
        return [batch for batch in self.batches() if batch.state != "settled"]

    def owed(self) -> int:
        """Return how many requests are owed a reply."""
        return sum(depth.owed for depth in self.store.ledger.depths())

    def answers_itself(self, reply: Reply, text: str) -> bool:
        """Whether a reply carries the hash of this text."""
        return hashlib.sha256(text.encode()).hexdigest() in json.dumps(reply.response)


def _stream(rows: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [
        (row[0], dict(zip(row[1][::2], row[1][1::2], strict=True)) if isinstance(row[1], list) else row[1])
        for row in rows
    ]


def body(text: str, lane: str = CHAT) -> bytes:
    """Return a lane's request body around a text."""
    _, endpoint, model = lane.partition("|")[0].split(":", 2)
    named = {} if endpoint in NAMELESS else {"model": model}
    return json.dumps({**named, **ASKS[endpoint](text)}, ensure_ascii=False).encode()


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    """The session's server."""
    wire = Wire()
    with serving(Starlette(routes=[Mount("/", wire)])) as url:
        wire.url = url
        yield wire


@pytest.fixture(scope="session")
def keyring() -> dict[str, str]:
    """The API keys of the accounts, to be changed by a test and put back."""
    return {"openai": "sk-test", "anthropic": "sk-test", "gemini": "sk-test"}


@pytest.fixture(scope="session")
def providers(wire: Wire, keyring: dict[str, str]) -> dict[str, Any]:
    """The real providers over the real SDKs: making their clients takes its time, so they live as long as the session."""

    def made(kind: str, url: str, options: Options) -> Any:
        access = AccountAccess(name=kind, key=lambda: keyring[kind], base_url=url, options=options)
        return make_provider(kind, access)

    return {
        "openai": made("openai", f"{wire.url}/v1", Options()),
        "anthropic": made("anthropic", wire.url, Options()),
        "gemini": made("gemini", wire.url, Options()),
        "gemini inline": made("gemini", wire.url, Options(inline=True)),
    }


def _to_nowhere(*_: Any) -> Any:
    raise structlog.DropEvent


@pytest.fixture
def bench(store: Store, wire: Wire, providers: dict[str, Any]) -> Iterator[Bench]:
    """A house with one worker and an emulator that answers after 2 s."""
    structlog.configure(processors=[_to_nowhere], cache_logger_on_first_use=False)
    bench = Bench(store, wire, providers)
    yield bench
    bench.close()
    structlog.reset_defaults()


@pytest.fixture(params=["file", "inline"])
def manner(bench: Bench, request: pytest.FixtureRequest) -> str:
    """Whether Gemini's rows go in a file or in the create call."""
    if request.param == "inline":
        bench.go_inline()
    return str(request.param)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let through what a provider would refuse for certain, so that the provider does."""
    monkeypatch.setattr(context, "facts_of", lambda account: msgspec.structs.replace(facts_of(account), check=accept))


@pytest.fixture
def death() -> type[Death]:
    """The end of a process."""
    return Death
