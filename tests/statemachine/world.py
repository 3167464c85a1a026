"""What the machine plays with: store, two fake providers, doorbells, a clock; and what must always be true of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from tests.statemachine.faults import Death, Fault, Faults, Frozen
from tests.statemachine.provider import Fake

from batchline.engine import accumulator, auditor, cancelling, files, poller, submitter
from batchline.engine.context import Context
from batchline.errors import LeaseLost, StoreUnreachable
from batchline.local.store_process import StoreProcess
from batchline.requests import Reply, Request, decode_reply
from batchline.settings import Settings
from batchline.settings.rules import Budget
from batchline.store import Store, keys
from batchline.store.records import Batch

START_MS = 1_700_000_000_000
"""Well before the store's own clock, whose entry ids and leases are its own."""
CHAT, CLAUDE, GHOST = "openai:chat:gpt-5-mini", "anthropic:messages:claude-haiku-4-5", "nobody:chat:m"
LANES = (CHAT, CLAUDE, GHOST)
SHARED = keys.reply_list("out")
WINDOW_MS = 86_400_000
LEASE_MS, CALL_MS = 30_000, 120_000
MOST_OPEN, TOKENS, REQUESTS = 4, 200, 9
"""The room of both accounts: batches at the provider, and what these may have."""
ALARMS = frozenset({"lane.failed", "lane.broken", "result.mismatch", "callback.wrong_type", "result.unknown_lane"})
BODY = b'{"model":"%s","messages":[{"role":"user","content":"hello"}],"max_tokens":9}'
ROLES = {"cut": 0, "submitting": 0, "reconciling": 0, "submitted": 1, "ended": 1}
AGENDAS = (keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL)


@dataclass(frozen=True)
class Bell:
    """A doorbell that rang: which step, for what."""

    kind: str
    name: str


def _settings(url: str) -> Settings:
    settings = Settings(redis_url=url)
    own = {"openai": Budget(tokens=TOKENS), "anthropic": Budget(requests=REQUESTS, shared=True)}
    changes = {name: {"max_open_batches": MOST_OPEN, "budgets": (each,)} for name, each in own.items()}
    accounts = {name: each.model_copy(update=changes.get(name, {})) for name, each in settings.accounts.items()}
    flush = settings.flush.model_copy(update={"max_requests": 4, "max_age": 5.0})
    return settings.model_copy(update={"accounts": accounts, "flush": flush})


class World:
    """One store, two accounts, and all that was ever accepted."""

    def __init__(self, process: StoreProcess) -> None:
        self.process = process
        self.now_ms = START_MS
        self.store = Store(process.url)
        self.store.connection.run("FLUSHALL")
        self.fakes = {kind: Fake(kind=kind, clock=lambda: self.now_ms) for kind in ("openai", "anthropic")}
        self.faults = Faults(self._intended)
        self._worker_store = self.faults.store(Store(process.url))
        self._dealt = {kind: self.faults.provider(fake) for kind, fake in self.fakes.items()}
        self.context = Context(
            settings=_settings(process.url),
            store=self._worker_store,
            provider=lambda account: self._dealt[account],
            clock=lambda: self.now_ms,
            dice=random.Random(7),
            worker="worker",
        )
        self.accepted: dict[tuple[str, str], str] = {}
        """Lane and entry id to the request id, which stands in one lane only."""
        self.bad: set[str] = set()
        self.bells: list[Bell] = []
        self.frozen: list[Frozen] = []
        self.alarms: list[str] = []
        self.heard: Counter[str] = Counter()
        """The engine's log events, for a look at what a game comes to."""
        self.adopted: set[str] = set()
        structlog.configure(processors=[self._hear], cache_logger_on_first_use=False)

    def close(self) -> None:
        """Let go of everything."""
        for frozen in self.frozen:
            frozen.thaw()
        self.store.close()
        self._worker_store.close()

    def run(self, command: str, *args: Any) -> Any:
        """Run a plain command, with no fault before it."""
        return self.store.connection.run(command, *args)

    def _hear(self, _: Any, __: str, event: Any) -> Any:
        self.heard[event["event"] + (f" {event['how']} proven={event['proven']}" if "how" in event else "")] += 1
        if event.get("how") == "adopted":
            self.adopted.add(event["batch"])
        if event["event"] in ALARMS:
            self.alarms.append(str(event))
        raise structlog.DropEvent

    def _intended(self, batch_key: str) -> None:
        """Put the end of a create call on the clock of this world; the store has only its own."""
        if self.run("HGET", batch_key, "state") == b"submitting":
            self.run("HSET", batch_key, "call_until", self.now_ms + LEASE_MS + CALL_MS)

    # --- requests in ---

    def raw(self, lane: str, *, shared: bool, body: bytes | None = None) -> None:
        """Enqueue by the raw protocol."""
        request_id = f"raw-{len(self.accepted)}"
        fields: list[Any] = ["id", request_id, "body", body or BODY % lane.rpartition(":")[2].encode()]
        fields += ["reply_to", "out"] if shared else []
        entry = self.run("XADD", keys.requests(lane), "*", *fields)
        self.run("SADD", keys.LANES, lane)
        self._accept(entry.decode(), lane, request_id, bad=body is not None)

    def windowed(self, lane: str, number: int, fault: Fault | None) -> None:
        """Enqueue with an id window; a producer whose acknowledgement was lost asks again."""
        request = Request(
            id=f"{lane[0]}-{number}",
            lane=lane,
            body=BODY % lane.rpartition(":")[2].encode(),
            reply_to="out" if number % 2 else None,
        )
        for armed in (fault, None):
            self.faults.arm(armed)
            try:
                (accepted,) = self._worker_store.intake.enqueue([(request, WINDOW_MS)])
            except (StoreUnreachable, Death):
                continue
            finally:
                self.faults.arm(None)
            self._accept(accepted.entry, lane, request.id, bad=False)
            return

    def _accept(self, entry: str, lane: str, request_id: str, *, bad: bool) -> None:
        self.accepted[lane, entry] = request_id
        if bad or lane == GHOST:
            self.bad.add(request_id)

    # --- steps ---

    def submit(self, batch_id: str) -> None:
        """A doorbell of the tick."""
        self.bells.append(Bell("submit", batch_id))

    def poll(self, batch_id: str) -> None:
        """A doorbell of the tick."""
        self.bells.append(Bell("poll", batch_id))

    def file(self, file: str) -> None:
        """A doorbell of the tick."""
        self.bells.append(Bell("file", file))

    def audit(self, account: str) -> None:
        """A doorbell of the tick."""
        self.bells.append(Bell("audit", account))

    def tick(self, fault: Fault | None = None) -> str:
        """Look at all that is due."""

        def work() -> None:
            accumulator.tick_accumulate(self.context, self)
            accumulator.tick_poll(self.context, self)

        return self.step(work, fault)

    def answer(self, bell: Bell, fault: Fault | None = None) -> str:
        """Answer a doorbell."""
        steps: dict[str, Callable[[Context, str], None]] = {
            "submit": submitter.submit,
            "poll": poller.poll,
            "file": files.delete,
            "audit": auditor.audit_in_turn,
        }
        return self.step(lambda: steps[bell.kind](self.context, bell.name), fault)

    def cancel(self, kind: str, name: str, request: str, fault: Fault | None = None) -> str:
        """Cancel a request of a lane, a batch, or a lane."""
        work: dict[str, Callable[[], object]] = {
            "request": lambda: cancelling.cancel_request(self.context, name, request),
            "batch": lambda: cancelling.cancel_batch(self.context, name),
            "lane": lambda: cancelling.cancel_lane(self.context, name),
        }
        return self.step(lambda: work[kind]() and None, fault)

    def step(self, work: Callable[[], object], fault: Fault | None) -> str:
        """Do one step of a worker; returns what became of it."""
        self.faults.arm(fault)
        try:
            if fault and fault.action.startswith("freeze"):
                return self._freezing(work)
            return _guarded(work)
        finally:
            self.faults.arm(None)

    def _freezing(self, work: Callable[[], object]) -> str:
        frozen = Frozen(lambda: _guarded(work))
        self.faults.frozen = frozen
        if frozen.start():
            self.frozen.append(frozen)
            return f"frozen {frozen.at}"
        _raise(frozen)
        return "done"

    def thaw(self, number: int) -> str:
        """Let a frozen step go on."""
        frozen = self.frozen.pop(number % len(self.frozen))
        frozen.thaw()
        _raise(frozen)
        return frozen.at

    # --- time, and what else goes wrong ---

    def advance(self, seconds: float) -> None:
        """Let time pass: leases lapse and late calls arrive."""
        self._thaw_creates(self.now_ms + int(seconds * 1000))
        self.now_ms += int(seconds * 1000)
        for batch in self.batches():
            over = self.now_ms >= batch.call_until if batch.state == "submitting" else seconds * 1000 >= LEASE_MS
            if over:
                self.run("HSET", keys.batch(batch.id), "lease_until", 1)
        for fake in self.fakes.values():
            fake.pass_time()

    def _thaw_creates(self, until_ms: int) -> None:
        """A create call without a file behind it ends within its time limit; that it does is a limit we name."""
        for number in reversed(range(len(self.frozen))):
            if self.frozen[number].at == "before provider create" and until_ms > self.now_ms + LEASE_MS:
                self.thaw(number)

    def lapse(self) -> None:
        """Let all leases run out now; that create calls may still be running stays on record."""
        for batch in self.batches():
            self.run("HSET", keys.batch(batch.id), "lease_until", 1)

    def restart(self) -> None:
        """Kill the store and start it again over its append-only file."""
        self.process.kill()
        self.process.start()

    # --- what must be true ---

    def batches(self) -> list[Batch]:
        """Return the batches that are not settled."""
        found = self.store.batches.records(
            key.decode().split(":")[2] for key in sorted(self.run("KEYS", "batchline:batch:*")) if key.count(b":") == 2
        )
        return [batch for batch in found if batch.state != "settled"]

    def owed(self, lane: str) -> list[str]:
        """Return a lane's entries."""
        return [entry.decode() for entry, _ in self.run("XRANGE", keys.requests(lane), "-", "+")]

    def replies(self) -> list[Reply]:
        """Return all replies."""
        found = self.run("KEYS", "batchline:reply:*")
        return [decode_reply(reply) for key in sorted(found) for reply in self.run("LRANGE", key, 0, -1)]

    def check(self) -> None:
        """Check all that must be true between two steps."""
        batches = self.batches()
        owed = {lane: self.owed(lane) for lane in LANES}
        self._check_answers(owed)
        for lane in LANES:
            self._check_places(lane, owed[lane], [batch for batch in batches if batch.lane == lane])
        self._check_owners(batches)
        self._check_providers()
        assert not self.alarms, self.alarms

    def _check_answers(self, owed: dict[str, list[str]]) -> None:
        replies = self.replies()
        seen = Counter(reply.id for reply in replies)
        seen.update(self.accepted[lane, entry] for lane, entries in owed.items() for entry in entries)
        assert seen == Counter(self.accepted.values()), "owed or answered exactly once"
        assert not self.run("EXISTS", keys.UNDELIVERED)
        counted: Counter[str] = Counter()
        for account in self.store.ledger.accounts():
            for name, count in account.having("settled:").items():
                counted[name.partition(":")[0]] += count
        assert +counted == Counter(reply.status for reply in replies), "the ledger counts what was answered"

    def _check_places(self, lane: str, owed: list[str], batches: list[Batch]) -> None:
        cut = (self.run("HGET", keys.walk(lane), "cut") or b"0-0").decode()
        retry = {entry.decode() for entry in self.run("ZRANGE", keys.retry(lane), 0, -1)}
        attempts = {entry.decode() for entry in self.run("HKEYS", keys.attempts(lane))}
        cancels = {entry.decode() for entry in self.run("SMEMBERS", keys.cancels(lane))}
        riders = {b.id: {e.decode() for e in self.run("ZRANGE", keys.riders(b.id), 0, -1)} for b in batches}
        assert retry | attempts | cancels <= set(owed), "nothing is left of what was answered"
        for entry in owed:
            places = [f"rider of {batch}" for batch, entries in riders.items() if entry in entries]
            places += ["retry"] if entry in retry else []
            if entry not in attempts:
                places += [f"range of {b.id}" for b in batches if _id(b.after) < _id(entry) <= _id(b.last)]
                places += ["open"] if _id(entry) > _id(cut) else []
            assert len(places) == 1, f"{entry} of {lane} is in {places}"

    def _check_owners(self, batches: list[Batch]) -> None:
        agendas = [{each.decode() for each in self.run("ZRANGE", agenda, 0, -1)} for agenda in AGENDAS]
        for batch in batches:
            assert batch.id in agendas[ROLES[batch.state]], f"nobody will look at {batch.id} in {batch.state}"
        live = {batch.id for batch in batches}
        assert agendas[0] | agendas[1] <= live
        for account in ("openai", "anthropic", "unknown"):
            room = {each.decode() for each in self.run("HKEYS", keys.account_open(account))}
            taken = {batch.id for batch in batches if batch.account == account and batch.state != "ended"}
            assert room == taken, f"room of {account}: {room ^ taken}"
            self._check_room(account, {batch.id: batch for batch in batches})

    def _check_room(self, account: str, batches: dict[str, Batch]) -> None:
        """See that what is in use is what the records say, and that nothing was sent beyond a limit."""
        sent: list[tuple[int, int]] = []
        for id_, value in self.run("HGETALL", keys.account_open(account)).items():
            batch = batches[id_.decode()]
            requests, tokens, is_sent, place = value.decode().split(":", 3)
            assert place == f"{batch.pool}|{batch.lane}"
            assert (is_sent == "1") == (batch.state != "cut"), f"{batch.id} in {batch.state} has {value}"
            if is_sent == "1":
                assert int(tokens) == batch.sent_tokens, f"{batch.id} has {value}"
                assert batch.orphan or int(requests) == batch.rows, f"{batch.id} has {value}"
                sent.append((int(requests), int(tokens)))
        # What was found at its provider, after it had been given up there, is there whatever room there is.
        if len(sent) > 1 and not any(batch.orphan or batch.id in self.adopted for batch in batches.values()):
            requests, tokens = map(sum, zip(*sent, strict=True))
            assert len(sent) <= MOST_OPEN
            assert account != "openai" or tokens <= TOKENS
            assert account != "anthropic" or requests <= REQUESTS

    def _check_providers(self) -> None:
        for fake in self.fakes.values():
            assert max(fake.creates.values(), default=0) <= 1, "one create call for each nonce"
            for entry, times in fake.executed.items():
                assert times <= 1 + fake.excused[entry], f"{entry} was run {times} times"

    # --- the end ---

    def drain(self) -> None:
        """Bring everything to its end, with nothing going wrong any more."""
        while self.frozen:
            self.thaw(0)
        for fake in self.fakes.values():
            fake.moods, fake.cut_at = [], None
        self._until(lambda: not self.batches() and not any(self.owed(lane) for lane in LANES))
        self.advance(7200)
        self._until(lambda: not self.run("EXISTS", keys.FILES))
        self.check()
        self._check_end()

    def _until(self, done: Callable[[], bool]) -> None:
        for _ in range(80):
            if done():
                return
            self._round()
        raise AssertionError(f"not drained: {[(b.id, b.state, b.reason) for b in self.batches()]}")

    def _round(self) -> None:
        self.tick()
        bells, self.bells = self.bells, []
        for bell in bells:
            self.answer(bell)
        for fake in self.fakes.values():
            for made in fake.running():
                fake.end(made, "completed", ["ok"])
        self.advance(65)

    def _check_end(self) -> None:
        status = {reply.id: reply.status for reply in self.replies()}
        for (lane, entry), request_id in self.accepted.items():
            fake = self.fakes.get(lane.partition(":")[0])
            told = fake.executed[entry] - fake.excused[entry] if fake else 0
            assert told <= 1
            assert not told or status[request_id] == "succeeded", (
                f"{request_id} was paid for and is {status[request_id]}"
            )
            assert request_id not in self.bad or status[request_id] in {"failed", "cancelled"}
        for account in self.store.ledger.accounts():
            assert account.get("wasted_nano:unmatched") == 0, "waste that nobody asked for"
        self._check_leftovers()

    def _check_leftovers(self) -> None:
        kept = {keys.LANES, keys.LEDGERS, keys.TICKS, keys.DEAD, keys.SETTLED, keys.AUDITED, keys.IDENTITY}
        kept |= {keys.UNREAD}
        kept |= {key for lane in LANES for key in (keys.requests(lane), keys.walk(lane), keys.dead(lane))}
        kept |= {keys.account(kind) for kind in self.fakes}
        for key in sorted(self.run("KEYS", "*")):
            name = key.decode()
            owned = name in kept or name.startswith("batchline:ledger:")
            assert owned or self.run("TTL", name) > 0, f"{name} has neither owner nor TTL"


def _id(entry: str) -> tuple[int, int]:
    ms, sequence = entry.split("-")
    return int(ms), int(sequence)


def _guarded(work: Callable[[], object]) -> str:
    try:
        work()
    except (Death, LeaseLost, StoreUnreachable) as why:
        return f"{type(why).__name__}: {why}"
    return "done"


def _raise(frozen: Frozen) -> None:
    if frozen.error is not None:
        raise frozen.error
