"""Lose nothing, pay for nothing twice: workers, store and provider in trouble for minutes, then drain and audit.

    python bench/soak.py --seconds 120 --seed 7

Three real workers reach a real store (``appendfsync always``) and the emulator through proxies that cut connections, tear
requests and swallow replies. Workers are killed, and frozen beyond their leases; the store is killed and frozen; the
provider drops calls, answers late and fails. Meanwhile requests for two providers come in by the raw protocol and by the
client. Then the trouble stops, and every accepted request must have been answered once, with its own hash, executed and
paid once, and nothing may be left in the store. The seed decides what befalls whom; when exactly, the machine does.
Exit code 0 when all holds, else 1 with a line for each thing that does not; the logs are kept then.
"""

from __future__ import annotations

import argparse
import ctypes
import heapq
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import raw_protocol
from gsm8k import LANES, SUMS, answer, digest, read_bill, read_ledger
from proxy import Proxy

from batchline.cli import main as command_line
from batchline.client import Client
from batchline.engine import transitions
from batchline.errors import BatchlineError
from batchline.local.environment import at_emulator
from batchline.local.stack import Emulation, Stack
from batchline.local.tickets import support_tickets
from batchline.requests import Reply, decode_reply
from batchline.settings import Settings
from batchline.store import Store, keys

WORKERS = 3
A_SECOND = 20
"""Requests enqueued a second, over both providers."""
LEASE_S = 2.0
CREATE_S = 3.0
LAG_S = 1.0
DRAIN_S = 400.0
MOST_LOST = 20
MOST_LIFE_S = 6.0
"""A worker is killed when it was ready for a time drawn up to this, at the earliest."""
QUIET_S = 5.0
"""How long everything is left to itself after the drain: whoever is late must have the chance to do wrong."""

SETTINGS = {
    "BATCHLINE_LEASE_SECONDS": str(LEASE_S),
    "BATCHLINE_CREATE_TIMEOUT": str(CREATE_S),
    "BATCHLINE_RECONCILE__LISTING_LAG": str(LAG_S),
    "BATCHLINE_RECONCILE__AUDIT_EVERY": "5",
    "BATCHLINE_TICK_INTERVAL": "0.2",
    "BATCHLINE_FLUSH__MAX_AGE": "2",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.5",
    "BATCHLINE_POLL__MAX_INTERVAL": "2",
    "BATCHLINE_RETRY__MAX_ATTEMPTS": "20",
    "BATCHLINE_RETRY__BACKOFF_MIN": "0.5",
    "BATCHLINE_RETRY__BACKOFF_MAX": "3",
    "BATCHLINE_LOG_FORMAT": "json",
}
EMULATOR = ("--listing-lag", "0.5", "--missing-file-delay", "1")

BRIEF = {"FIRST_LOOK_S": 0.5, "OUTAGE_MIN_S": 0.5, "OUTAGE_MAX_S": 4.0}
"""Waits of `engine.transitions` that are no settings, made brief in the workers."""

FORKS = multiprocessing.get_context("forkserver")
PR_SET_PDEATHSIG = 1
PRELOADED = (
    *(
        "batchline.app",
        "batchline.client",
        "batchline.local.stack",
        "batchline.cli.processes",
        "celery.bin.worker",
        "celery.apps.worker",
    ),
    *("celery.concurrency.thread", "celery.worker.consumer", "kombu.transport.redis", "genai_prices"),
    *("openai.resources.batches", "openai.resources.files", "anthropic.resources.messages.batches", "httpx2"),
)

EVERY_S = {
    "kill worker": 3.0,
    "freeze worker": 8.0,
    "kill store": 28.0,
    "freeze store": 45.0,
    "store connection": 1.5,
    "provider connection": 4.0,
    "provider fault": 1.2,
}
"""How often each trouble comes, in seconds on average; each time is drawn between half and one and a half of it."""
FAULTS = ("drop_before", "drop_after", "error_before", "error_after", "rate_limit", "hang_before", "hang", "cut_stream")
ROUTES = (
    *("openai.batches.create", "anthropic.batches.create") * 4,
    *("openai.files.create", "openai.files.content", "anthropic.batches.results") * 2,
    *("openai.batches.retrieve", "anthropic.batches.retrieve", "openai.batches.list", "anthropic.batches.list"),
)
# Anthropic has no fence against a create that the provider carries out after call and listing lag are over, OpenAI has.
LATEST_S = {"openai": 9.0, "anthropic": LAG_S + CREATE_S - 1.0}

LASTING = re.compile(
    r"batchline:(lanes|ledgers|ledger:.*|ticks|account:[^:]+|account:[^:]+:audit|batches:settled|files|audited"
    r"|\{.*\}:(requests|walk)|celery:.*)"
)
"""Keys that stay for ever, by design (docs/design.md, section 3)."""

UNHEARD_OF = ("batch.unknown", "result.mismatch", "callback.wrong_type", "celery.task_failed")
"""Log events that nothing in here gives a reason for."""

Problems = list[str]


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
        lane = dice.choice(list(LANES.values()))
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


class Worker:
    """A worker process, `batchline worker` in all but its start: it is forked from a process that has imported everything.

    An import of all SDKs costs seconds, and workers are killed every few seconds here. ``log`` is continued.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], counts: Counter[str], life_s: float) -> None:
        self.log = log
        self.ready = False
        self._life_s = life_s
        self._ready_at = 0.0
        self._counts = counts
        self._read = log.stat().st_size if log.exists() else 0
        self._process = FORKS.Process(target=work, args=(dict(environment), str(log)), daemon=True)
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    @property
    def ripe(self) -> bool:
        """Whether it has worked for its ``life_s``: one that is killed at its start has done nothing that could go wrong."""
        return self.ready and time.monotonic() >= self._ready_at + self._life_s

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it, and count what it logged to its end."""
        self._process.kill()
        self._process.join()
        self.follow()

    def stop(self) -> int | None:
        """Ask it to end; returns its exit code."""
        self.signal(signal.SIGTERM)
        self._process.join(30)
        self.kill()
        return self.exit_code

    def follow(self) -> None:
        """Count the events that were logged since the last time."""
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        whole = lines.rpartition(b"\n")[0]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                self._count(line)

    def _count(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:  # the last words of one that was killed
            return
        name = event.get("event", "")
        self._counts[name] += 1
        self._counts["retried"] += event.get("retried", 0)
        if name == "worker.ready":
            self.ready, self._ready_at = True, time.monotonic()
        if event.get("how"):
            self._counts[event["how"]] += 1


def work(environment: Mapping[str, str], log: str) -> None:
    """Be a worker; runs in a forked process."""
    if sys.platform.startswith("linux"):  # it dies with the process that forked it, which dies with this one
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    for name, seconds in BRIEF.items():
        if not hasattr(transitions, name):
            raise AttributeError(f"batchline.engine.transitions has no {name} any more: bring BRIEF up to date")
        setattr(transitions, name, seconds)
    command_line(["worker"])


class Trouble:
    """The workers, and all that befalls them, the store, the connections and the provider."""

    def __init__(self, stack: Stack, proxies: tuple[Proxy, Proxy], dice: random.Random) -> None:
        self.made: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.lost: list[str] = []
        self.proxies = proxies
        self._stack = stack
        self._dice = dice
        self._agenda: list[tuple[float, int, str, int]] = []
        self._frozen: set[int] = set()
        self._number = 0
        self._workers = [self._start(index) for index in range(WORKERS)]

    def _start(self, index: int) -> Worker:
        log = self._stack.folder / f"worker-{index}.log"
        return Worker(log, self._stack.environment(), self.events, self._dice.uniform(0.0, MOST_LIFE_S))

    def end(self) -> None:
        """Stop the workers in order; one that does not end in order is noted."""
        for index, worker in enumerate(self._workers):
            if code := worker.stop():
                self.lost.append(f"worker-{index} was stopped and ended with exit code {code}")

    def close(self) -> None:
        """Leave no worker behind, whatever happened."""
        for worker in self._workers:
            worker.kill()

    def make(self, seconds: float) -> None:
        """Make all kinds of trouble for so many seconds."""
        over = time.monotonic() + seconds
        for kind, every_s in EVERY_S.items():
            self._later(kind, self._dice.uniform(0.3, 1.0) * every_s)
        while time.monotonic() < over:
            at, _, kind, index = self._agenda[0]
            if at > time.monotonic():
                time.sleep(min(0.05, at - time.monotonic()))
                self.follow()
                continue
            heapq.heappop(self._agenda)
            self._do(kind, index)
            if kind in EVERY_S:
                self._later(kind, self._dice.uniform(0.5, 1.5) * EVERY_S[kind])

    def stop(self) -> None:
        """Stop all trouble: everybody goes on, and who died is started again."""
        for proxy in self.proxies:
            proxy.calm()
        for index in range(WORKERS):
            self._thaw(index)
        self._thaw_store()
        self.follow()
        call(f"{self._stack.emulator_url}/_emulator/faults", method="DELETE")

    def _later(self, kind: str, seconds: float, index: int = -1) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (time.monotonic() + seconds, self._number, kind, index))

    def _do(self, kind: str, index: int) -> None:
        actions: dict[str, Callable[[], None]] = {
            "kill worker": self._kill,
            "freeze worker": self._freeze,
            "thaw worker": lambda: self._thaw(index),
            "kill store": self._kill_store,
            "freeze store": self._freeze_store,
            "thaw store": self._thaw_store,
            "store connection": lambda: self._connection(self.proxies[0]),
            "provider connection": lambda: self._connection(self.proxies[1]),
            "provider fault": self._fault,
        }
        actions[kind]()

    def _kill(self) -> None:
        able = [index for index, worker in enumerate(self._workers) if worker.ripe]
        if able:
            index = self._dice.choice(able)
            self._workers[index].kill()
            self._again(index)
            self.made["workers killed"] += 1

    def _again(self, index: int) -> None:
        self._frozen.discard(index)
        self._workers[index] = self._start(index)

    def _freeze(self) -> None:
        able = [index for index, worker in enumerate(self._workers) if worker.ready and index not in self._frozen]
        if able:
            index = self._dice.choice(able)
            self._workers[index].signal(signal.SIGSTOP)
            self._frozen.add(index)
            self._later("thaw worker", LEASE_S * self._dice.uniform(1.2, 5.0), index)
            self.made["workers frozen"] += 1

    def _thaw(self, index: int) -> None:
        if index in self._frozen:
            self._frozen.discard(index)
            self._workers[index].signal(signal.SIGCONT)

    def _kill_store(self) -> None:
        self._stack.store.kill()
        time.sleep(self._dice.uniform(0.1, 2.0))
        self._stack.store.start()
        self.made["store killed"] += 1

    def _freeze_store(self) -> None:
        self._signal_store(signal.SIGSTOP)
        self._later("thaw store", self._dice.uniform(0.5, 2.0) * LEASE_S)
        self.made["store frozen"] += 1

    def _thaw_store(self) -> None:
        self._signal_store(signal.SIGCONT)

    def _signal_store(self, number: int) -> None:
        if self._stack.store.process is not None:
            self._stack.store.process.send_signal(number)

    def _connection(self, proxy: Proxy) -> None:
        kind = self._dice.choice(("cut", "tear", "swallow"))
        if kind == "cut":
            proxy.cut(self._dice.random())
        else:
            (proxy.tear if kind == "tear" else proxy.swallow)()

    def _fault(self) -> None:
        route, action = self._dice.choice(ROUTES), self._dice.choice(FAULTS)
        latest_s = LATEST_S[route.partition(".")[0]]
        status = self._dice.choice((500, 502, 503, 529))
        fault = {"route": route, "action": action, "seconds": self._dice.uniform(0.2, latest_s), "status": status}
        call(f"{self._stack.emulator_url}/_emulator/faults", fault)

    def follow(self) -> None:
        """Read the workers' logs; start again, and remember, who ended without being killed by us."""
        for index, worker in enumerate(self._workers):
            worker.follow()
            if worker.exit_code is not None:
                self.lost.append(f"worker-{index} ended by itself, with exit code {worker.exit_code}")
                if len(self.lost) > MOST_LOST:
                    raise SystemExit(f"FAILED: workers keep ending by themselves, see {worker.log}")
                self._again(index)


def call(url: str, body: object = None, method: str | None = None) -> Any:
    """Call the emulator directly."""
    headers = {"Authorization": "Bearer soak", "x-api-key": "soak", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data=data, headers=headers, method=method), timeout=30
    ) as got:
        return json.loads(got.read())


def drain(stack: Stack, store: Store, trouble: Trouble) -> Problems:
    """Wait until nothing is owed and nothing runs; say what is still there when that takes too long."""
    deadline, said = time.monotonic() + DRAIN_S, time.monotonic()
    while left := owed(stack, store):
        if time.monotonic() > deadline:
            return [f"not drained within {DRAIN_S:g} s: {left}", *open_batches(store)]
        if time.monotonic() > said + 15:
            said = time.monotonic()
            print(f"  draining: {left}", flush=True)
        trouble.follow()
        time.sleep(0.3)
    time.sleep(QUIET_S)
    return drain(stack, store, trouble) if owed(stack, store) else []


def owed(stack: Stack, store: Store) -> dict[str, int]:
    run = store.connection.run
    counts = {lane.decode(): int(run("XLEN", keys.requests(lane.decode()))) for lane in run("SMEMBERS", keys.LANES)}
    counts["agenda"] = sum(int(run("ZCARD", agenda)) for agenda in (keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL))
    openai = [each["status"] for each in call(f"{stack.emulator_url}/v1/batches?limit=100")["data"]]
    listed = call(f"{stack.emulator_url}/v1/messages/batches?limit=100")["data"]
    over = {"completed", "failed", "expired", "cancelled", "ended"}
    counts["provider"] = sum(s not in over for s in [*openai, *(each["processing_status"] for each in listed)])
    return {name: count for name, count in counts.items() if count}


def open_batches(store: Store) -> Problems:
    records = store.batches.records(store.batches.open_ids())
    return [
        f"open: batch {each.id} of {each.lane}: {each.state}, {each.rows} rows, at {each.provider_id}"
        for each in records
    ]


def read_replies(store: Store) -> list[tuple[str, Reply]]:
    queues = sorted(raw.decode() for raw in store.connection.run("KEYS", "batchline:reply:*"))
    lists = store.connection.run_many([("LRANGE", queue, 0, -1) for queue in queues])
    return [(queue, decode_reply(raw)) for queue, found in zip(queues, lists, strict=True) for raw in found]


def check_replies(replies: Sequence[tuple[str, Reply]], books: Books) -> Iterator[str]:
    """Hold every reply against the request whose id it carries."""
    times = Counter(reply.id for _, reply in replies)
    for name in books.accepted:
        if times[name] != 1:
            yield f"{'LOST' if not times[name] else 'DOUBLE'} {name}: {times[name]} replies"
    yield from (
        f"DOUBLE {name} (never acknowledged): {times[name]} replies" for name in books.doubtful if times[name] > 1
    )
    known = books.accepted | books.doubtful
    for queue, reply in replies:
        ask = known.get(reply.id)
        if ask is None:
            yield f"{reply.id}: a reply in {queue} to a request that was never sent"
        elif queue != ask.queue:
            yield f"{reply.id}: its reply is in {queue} and not in {ask.queue}"
        elif reply.status != ("failed" if ask.rejected else "succeeded"):
            yield f"{reply.id}: {reply.status}: {reply.error}"
        elif reply.status == "succeeded" and digest(ask.text) not in answer(reply.response).split():
            yield f"{reply.id}: the answer carries the hash of another request"


def check_money(stack: Stack, store: Store, replies: Sequence[tuple[str, Reply]]) -> Iterator[str]:
    """Hold the emulator's bill against the replies, and the ledger with its waste against the bill."""
    bill = call(f"{stack.emulator_url}/_emulator/bill")
    succeeded = sum(reply.status == "succeeded" for _, reply in replies)
    if sum(bill["charges"].values()) != succeeded:
        yield f"{bill['charges']} charged, {succeeded} answered"
    if bill["double_executions"]:
        yield f"PAID TWICE: {bill['double_executions']} prompts, e.g. {bill['doubles'][:3]}"
    billed, booked = dict(read_bill(bill)), dict(read_ledger(stack))
    waste = wasted(store)
    for lane in LANES.values():
        have, owe = booked.get(lane, {}), billed.get(lane, {})
        if have.get("paid_nano", 0) + sum(waste.get(lane, {}).values()) != owe.get("paid_nano", 0):
            yield f"{lane}: {have.get('paid_nano')} booked as paid, {waste.get(lane)} as waste, {owe.get('paid_nano')} billed"
        if waste.get(lane):
            yield f"{lane}: nothing was to be wasted, the ledger has {waste[lane]}"
        else:
            yield from (
                f"{lane}: {name}: {have.get(name)} booked, {owe.get(name)} billed"
                for name in SUMS
                if have.get(name) != owe.get(name)
            )


def wasted(store: Store) -> dict[str, dict[str, int]]:
    """Return waste in nano-dollars by lane and cause."""
    found = {account.base: account.having("wasted_nano:") for account in store.ledger.accounts()}
    return {base: {why: nano for why, nano in causes.items() if nano} for base, causes in found.items()}


def check_left(store: Store) -> Iterator[str]:
    run = store.connection.run
    for raw in sorted(run("KEYS", "batchline:*")):
        key = raw.decode()
        if int(run("PTTL", key)) == -1 and not LASTING.fullmatch(key):
            yield f"left without owner or expiry: {key} ({run('TYPE', key).decode()})"


def build(folder: Path, seed: int) -> tuple[Stack, tuple[Proxy, Proxy], str]:
    """Return the processes, not yet started, the proxies to their store and provider, and the store's URL by its proxy."""
    proxies = Proxy(lambda: stack.store.port), Proxy(lambda: urlsplit(stack.emulator_url or "").port or 0)
    store_port, provider_port = (proxy.start() for proxy in proxies)
    url = f"redis://127.0.0.1:{store_port}/0"
    by_proxy = {
        "BATCHLINE_REDIS_URL": url,
        "BATCHLINE_BROKER_URL": url,
        **at_emulator(f"http://127.0.0.1:{provider_port}"),
    }
    stack = Stack(
        folder,
        emulation=Emulation(latency_s=2, seed=seed, error_rate=0.02, expire_rate=0.02, more=EMULATOR),
        settings=SETTINGS | by_proxy,
        workers=0,
        fsync="always",
    )
    return stack, proxies, url


def soak(folder: Path, seconds: float, seed: int) -> Problems:
    """Trouble, drain, audit; prints the table and returns all that does not hold."""
    dice, books = random.Random(seed), Books()
    stack, proxies, url = build(folder, seed)
    todo = list(asks(int(seconds * A_SECOND), dice))
    third = len(todo) // 3
    producers = [
        RawProducer(url, books, todo[:third], seconds * 0.9, random.Random(seed + 1)),
        ClientProducer(url, books, todo[third:], seconds * 0.9, random.Random(seed + 2)),
    ]
    with stack, closing(Trouble(stack, proxies, dice)) as trouble:
        for producer in producers:
            producer.start()
        trouble.make(seconds)
        trouble.stop()
        for producer in producers:
            producer.join(60)
        problems = [f"{each.name} did not get through: {each.error!r}" for each in producers if not each.done]
        began = time.monotonic()
        problems += audit(stack, books, trouble)
        print_table(stack, trouble, books)
        print(f"drained and audited in {time.monotonic() - began:.1f} s")
    for proxy in proxies:
        proxy.stop()
    return problems


def audit(stack: Stack, books: Books, trouble: Trouble) -> Problems:
    store = Store(stack.redis_url)
    problems = drain(stack, store, trouble)
    trouble.end()
    replies = read_replies(store)
    problems += [*check_replies(replies, books), *check_money(stack, store, replies), *check_left(store), *trouble.lost]
    problems += [
        f"{trouble.events[name]} times {name} in the workers' logs" for name in UNHEARD_OF if trouble.events[name]
    ]
    store.close()
    return problems


def print_table(stack: Stack, trouble: Trouble, books: Books) -> None:
    fired = Counter[str]()
    for row in call(f"{stack.emulator_url}/_emulator/faults")["fired"]:
        fired[row["action"]] += row["times"]
    bill = call(f"{stack.emulator_url}/_emulator/bill")
    counts = trouble.events
    rows: dict[str, object] = {
        "requests accepted": len(books.accepted),
        "  perhaps accepted (raw, not acknowledged)": len(books.doubtful),
        "  enqueued again by the client": books.repeats,
        **trouble.made,
        **{f"store connections {kind}": n for kind, n in trouble.proxies[0].counts.items()},
        **{f"provider connections {kind}": n for kind, n in trouble.proxies[1].counts.items()},
        "provider faults fired": f"{fired.total()}  {dict(sorted(fired.items()))}",
        "batches at the providers": f"{sum(bill['batches_created'].values())}  {bill['batches_created']}",
        "  cancelled": sum(bill["batches_cancelled"].values()),
        "creates of unknown end": counts["batch.ambiguous"],
        "  adopted / absent / disowned / duplicate": " / ".join(
            str(counts[name]) for name in ("adopted", "batch.absent", "batch.disowned", "batch.duplicate")
        ),
        "requests sent again": counts["retried"],
        "leases lost": counts["lease.lost"],
        "store trouble seen": counts["store.trouble"],
        "executed / charged / different": f"{bill['executions']} / {bill['charges']} / {bill['messages']}",
    }
    for name, value in rows.items():
        print(f"  {name:<44} {value}")


def main() -> int:
    FORKS.set_forkserver_preload(list(PRELOADED))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long the trouble lasts")
    parser.add_argument("--seed", type=int, default=None, help="of all dice; drawn and printed when not given")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"soak: {given.seconds:g} s of trouble, {WORKERS} workers, seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="batchline-soak-"))
    problems = soak(folder, given.seconds, seed)
    for problem in problems[:40]:
        print(f"WRONG {problem}", file=sys.stderr)
    if problems:
        print(f"FAILED, seed {seed}: {len(problems)} problems; the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"seed {seed}: every accepted request was answered once and paid once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
