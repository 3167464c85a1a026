"""A whole house under a real Prometheus: load that goes well, then every kind of trouble that a metric tells of."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen

from tests.crash.waiting import until
from tests.deploy.prometheus import Prometheus, Span

from batchline import Client
from batchline.local.environment import EMULATOR_KEY
from batchline.local.stack import Emulation, Stack, free_port
from batchline.settings import load_settings
from batchline.store import keys
from batchline.store.accounts import StorageFacts
from batchline.store.records import Batch

CHAT, NANO = "openai:chat:gpt-5-mini", "openai:chat:gpt-5-nano|tenant=acme"
EMBEDDINGS, HAIKU = "openai:embeddings:text-embedding-3-small", "anthropic:messages:claude-haiku-4-5"
UNPRICED = "openai:chat:my-own"
LANES = (CHAT, NANO, EMBEDDINGS, HAIKU, UNPRICED)
LOCKED, LOCKED_TOO = "locked:chat:gpt-5-mini", "locked:chat:gpt-5-nano"
"""Lanes of an account whose key is wrong, with room for one batch."""
SETTINGS = {
    "BATCHLINE_WORKER_PORT": "0",
    "BATCHLINE_FLUSH__MAX_AGE": "0.5",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.3",
    "BATCHLINE_POLL__MAX_INTERVAL": "0.5",
    "BATCHLINE_TICK_INTERVAL": "0.25",
    "BATCHLINE_RETRY__BACKOFF_MIN": "0.2",
    "BATCHLINE_RETRY__BACKOFF_MAX": "0.4",
    "BATCHLINE_RECONCILE__LISTING_LAG": "1",
    "BATCHLINE_LOG_FORMAT": "json",
    "BATCHLINE_ACCOUNTS__LOCKED__PROVIDER": "openai",
    "BATCHLINE_ACCOUNTS__LOCKED__API_KEY_ENV": "LOCKED_KEY",
    "BATCHLINE_ACCOUNTS__LOCKED__MAX_OPEN_BATCHES": "1",
    "BATCHLINE_ACCOUNTS__LOCKED__BUDGETS": '[{"tokens": 1000000, "shared": true}]',
    "LOCKED_KEY": "not-the-key",
}
WAVES, EACH = 4, 20
WAIT_S = 60.0
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Counts:
    """What the metrics and the emulator counted until the same moment."""

    settled: dict[tuple[str, ...], float]
    tokens: dict[tuple[str, ...], float]
    list_usd: dict[tuple[str, ...], float]
    paid_usd: dict[tuple[str, ...], float]
    cut: dict[tuple[str, ...], float]
    errors: dict[tuple[str, ...], float]
    up: dict[tuple[str, ...], float]
    loops: dict[tuple[str, ...], float]
    bill: Any
    faults: Any


class House:
    """Store, emulator, two workers, exporter and Prometheus. ``calm`` and ``troubled`` run one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = ExitStack()
        self.port = free_port()

    def __enter__(self) -> Self:
        with ExitStack() as last:
            port = free_port()
            url = f"http://127.0.0.1:{port}/v1"
            settings = SETTINGS | {"BATCHLINE_ACCOUNTS__LOCKED__BASE_URL": url}
            more = ("--port", str(port), "--api-key", EMULATOR_KEY, "--validation-delay", "0")
            self.stack = Stack(
                self._folder,
                emulation=Emulation(latency_s=0.5, more=more),
                settings=settings,
                workers=2,
                exporter_port=self.port,
                fsync="always",
                base={"PATH": os.environ.get("PATH", "")},
            )
            last.enter_context(self.stack)
            self.client = last.enter_context(Client(self.stack.redis_url, settings=load_settings(environ=settings)))
            self.store = self.client.store
            assert self.stack.exporter is not None
            self.stack.exporter.wait_line(r"exporter\.listening", WAIT_S)
            self.workers = [f"127.0.0.1:{_port(worker)}" for worker in self.stack.workers]
            targets = {"batchline": [f"127.0.0.1:{self.port}"], "batchline-workers": self.workers}
            self.prometheus = last.enter_context(Prometheus(self._folder / "prometheus", targets))
            self._last = last.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._last.close()

    # --- load ---

    def calm(self) -> tuple[Span, Counts]:
        """Let all go well: waves of requests to several accounts, endpoints, models and tenants, all answered in time."""
        self.wait("the exporter is scraped", lambda: self.value("batchline_store_up") == 1)
        start_s = time.time()
        for wave in range(WAVES):
            for lane in LANES:
                self.ask(lane, [_text(wave, n) for n in range(EACH)], deadline="6h")
            self.rest()
            self.scraped()
        return Span(start_s, time.time()), self.counts()

    def ask(self, lane: str, texts: list[str], **fields: Any) -> None:
        """Enqueue these texts."""
        asks = ({"lane": lane, "body": _body(lane, text), **fields} for text in texts)
        self.client.enqueue_many(asks, reply_to=None if "reply_to" in fields else "out")

    def rest(self) -> None:
        """Wait until nothing is owed and no batch is on its way in the lanes that work."""
        self.wait("all is answered", self._rested)

    def _rested(self) -> bool:
        owed = self.store.connection.run_many([("XLEN", keys.requests(lane)) for lane in LANES])
        return not any(owed) and all(batch.account == "locked" for batch in self.open_batches())

    def scraped(self) -> None:
        """Wait until Prometheus knows what the store knows: it has scraped and evaluated once more since now."""
        now_s = time.time()
        self.wait("a scrape", lambda: (self.value("min(timestamp(batchline_lanes))") or 0) > now_s)

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until something is true. TimeoutError: it did not become so."""
        if not until(true, WAIT_S):
            raise TimeoutError(f"waited {WAIT_S:g} s for this in vain: {what}")

    def value(self, expr: str) -> float | None:
        """Ask Prometheus for one value."""
        found: float | None = self.prometheus.value(expr)
        return found

    # --- the emulator's own counts ---

    def counts(self) -> Counts:
        """Return what was counted on both sides."""
        values = self.prometheus.values
        return Counts(
            settled=values("sum by (model, status) (batchline_requests_settled_total)", "model", "status"),
            tokens=values("sum by (model, kind) (batchline_tokens_total)", "model", "kind"),
            list_usd=values("sum by (model) (batchline_list_usd_total)", "model"),
            paid_usd=values("sum by (model) (batchline_paid_usd_total)", "model"),
            cut=values("sum by (account) (batchline_batches_cut_total)", "account"),
            errors=values("batchline_provider_errors_total > 0", "account", "call", "code"),
            up=values("up", "job", "instance"),
            loops=values("time() - batchline_worker_loop_timestamp_seconds", "instance"),
            bill=self._emulator("bill"),
            faults=self._emulator("faults"),
        )

    def arm(self, route: str, action: str, times: int = 1, **more: Any) -> None:
        """Let calls of the emulator fail."""
        body = json.dumps({"route": route, "action": action, "times": times, **more}).encode()
        with urlopen(Request(f"{self.stack.emulator_url}/_emulator/faults", data=body)):
            pass

    def _emulator(self, what: str) -> Any:
        with urlopen(f"{self.stack.emulator_url}/_emulator/{what}") as answer:
            return json.load(answer)

    # --- trouble ---

    def troubled(self) -> tuple[Span, Counts]:
        """Let everything go wrong that a metric tells of; by the store's own records where it would take days.

        The counts are those of what went wrong by itself.
        """
        start_s = time.time()
        self.calls_fail()
        self.requests_fail()
        self.locked_account()
        self.rest()
        self.scraped()
        counts = self.counts()
        self.days_later()
        self.scraped()
        self.store_in_trouble()
        return Span(start_s, time.time() + 1), counts

    def calls_fail(self) -> None:
        """Let provider calls fail below HTTP and above, one of them so that it may have happened."""
        self.arm("openai.batches.retrieve", "error_before", times=12, status=503)
        self.arm("openai.batches.retrieve", "drop_before", times=2)
        self.arm("anthropic.batches.retrieve", "rate_limit", times=2, retry_after=0)
        self.arm("anthropic.batches.create", "drop_after")

    def requests_fail(self) -> None:
        """Let requests fail for good, be sent again, come too late, and their replies find no list."""
        for key in (keys.reply_list("taken"), keys.reply_default(CHAT, "homeless")):
            self.store.connection.run("SET", key, "no list")
        markers = ("[[fail]]", "[[reject]]", "[[expire-once]]")
        for lane in (CHAT, HAIKU):
            self.ask(lane, [f"{marker} {n}" for marker in markers for n in range(20)], deadline=0.2)
        self.ask(CHAT, ["nobody takes this"], id="homeless", reply_to="taken")
        self.ask(CHAT, ["its own queue takes this"], reply_to="taken")

    def locked_account(self) -> None:
        """Let a batch wait for a key that is refused, and another lane for its room."""
        self.ask(LOCKED, ["let me in"])
        self.wait("a batch of the locked account", lambda: bool(self.open_batches("locked")))
        old = f"{int(time.time() * 1000) - 2 * 3_600_000}-0"
        body = json.dumps(_body(LOCKED_TOO, "for hours"))
        self.store.connection.run("XADD", keys.requests(LOCKED_TOO), old, "id", "old", "body", body)
        self.store.connection.run("SADD", keys.LANES, LOCKED_TOO)
        self.wait("the account is down", lambda: self.value('batchline_account_down{account="locked"}') == 1)

    def open_batches(self, account: str = "") -> list[Batch]:
        """Return the batches that are not settled, of one account or of all."""
        return [
            batch
            for batch in self.store.batches.records(self.store.batches.open_ids())
            if account in {"", batch.account}
        ]

    def days_later(self) -> None:
        """Write into the store what only days, races or a lot of money would bring about; the workers stand still."""
        for index in range(2):
            self.stack.stop_worker(index)
        now_ms, run = int(time.time() * 1000), self.store.connection.run
        batch = self.open_batches("locked")[0]
        old = {"cut_ms": now_ms - 2 * DAY_MS, "submitted_ms": now_ms - 29 * DAY_MS, "stuck_since": now_ms - 1}
        run(
            "HSET",
            keys.batch(batch.id),
            "orphan",
            1,
            "state",
            "reconciling",
            *(x for pair in old.items() for x in pair),
        )
        run("HSET", keys.account_open("locked"), batch.id, f"1:10:1:{batch.pool}|{batch.lane}")
        self._runs_out("gemini:generate:gemini-2.5-flash", now_ms)
        self.store.accounts.count_duplicate("openai", "batch_twin", now_ms=now_ms)
        self.store.accounts.note_storage("gemini", StorageFacts(9, 19_000_000_000, 9, 19_000_000_000, now_ms))
        run("HINCRBY", keys.ledger(CHAT), "list_nano:batch", 5_000_000_000)
        for role in ("accumulate", "poll"):
            self.store.note_tick(role, now_ms - 600_000)

    def _runs_out(self, lane: str, now_ms: int) -> None:
        """Put a batch on record that loses all it did in an hour; no worker looks at it any more."""
        fields: dict[str, Any] = {
            "id": "b0",
            "lane": lane,
            "account": lane.partition(":")[0],
            "state": "submitted",
            "trigger": "age",
        }
        times = {
            "cut_ms": now_ms,
            "submitted_ms": now_ms,
            "expires_ms": now_ms + 3_600_000,
            "after": "0-0",
            "last": "0-0",
        }
        run = self.store.connection.run
        run("HSET", keys.batch("b0"), *(part for pair in (fields | times).items() for part in pair))
        run("ZADD", keys.AGENDA_POLL, now_ms, "b0")

    def store_in_trouble(self) -> None:
        """Let the store lose its file, fill up and die, and then the exporter."""
        self.store.connection.run("CONFIG SET", "appendonly", "no")
        used = self.store.server.facts().used
        self.store.connection.run("CONFIG SET", "maxmemory", int(used * 1.05))
        self.wait("a full store is seen", lambda: (self.value("batchline_store_memory_ratio") or 0) > 0.9)
        self.stack.store.kill()
        self.wait("a dead store is seen", lambda: self.value("batchline_store_up") == 0)
        assert self.stack.exporter is not None
        self.stack.exporter.stop()
        self.wait("a dead exporter is seen", lambda: self.value("absent(batchline_store_up)") == 1)


def _port(worker: Any) -> int:
    assert worker is not None
    return int(re.search(r'"port": (\d+)', worker.wait_line(r".*worker\.listening.*", WAIT_S)[0])[1])  # type: ignore[index]


def _text(wave: int, number: int) -> str:
    return f"{'[[cached]] and more text ' if number % 2 else ''}question {number} of wave {wave}"


def _body(lane: str, text: str) -> dict[str, Any]:
    _, endpoint, model = lane.partition("|")[0].split(":", 2)
    if endpoint == "embeddings":
        return {"model": model, "input": text}
    more = {"max_tokens": 64} if endpoint == "messages" else {}
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
