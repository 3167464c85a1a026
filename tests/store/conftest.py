"""Builders for the tests of the store: a scene is a store with one lane at a time that stands still.

Entries are added as another language would add them, all in the same millisecond unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from batchline.budgets import Pool, Room
from batchline.lanes import OpenRange, Trigger, parse_lane
from batchline.requests import Cost, Request, Usage
from batchline.store import Store, keys
from batchline.store.callbacks import SILENT_MS, Reader
from batchline.store.dead import Place
from batchline.store.records import Batch, CutAnswer
from batchline.store.settling import Answer, Queue, Retry

LANE = "openai:chat:gpt-5-mini"
POOL = Pool(name="gpt-5-mini")
NOW = 1_800_000_000_000
VOLATILE = {b"lease_until", b"call_until"}
XADD = """
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], ARGV[i], 'id', ARGV[i + 1], 'body', ARGV[2])
end
redis.call('SADD', KEYS[2], ARGV[1])
"""
LIMITS = {"max_requests": 1_000_000, "max_bytes": 10**12, "max_tokens": None, "row_bytes": 100, "bytes_per_token": 4.0}


class Scene:
    """A store, its one lane, and the shortest way to each state."""

    now = NOW

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lane = parse_lane(LANE)
        self._count = 0

    def run(self, command: str, *args: Any) -> Any:
        """Run a plain command."""
        return self.store.connection.run(command, *args)

    def add(self, *ids: str, body: bytes = b"{}", lane: str = LANE, ms: int = NOW - 10_000) -> list[str]:
        """Add requests as the raw protocol does, with entry ids of the millisecond ``ms``."""
        entries = [f"{ms}-{self._count + i + 1}" for i in range(len(ids))]
        self._count += len(ids)
        rows = [part for row in zip(entries, ids, strict=True) for part in row]
        self.run("EVAL", XADD, 2, keys.requests(lane), keys.LANES, lane, body, *rows)
        return entries

    def add_many(self, count: int, *, body: bytes = b"{}") -> list[str]:
        """Add so many requests."""
        return self.add(*(f"r{i}" for i in range(count)), body=body)

    def enqueue(self, request_id: str, *, window_ms: int = 60_000, **fields: Any) -> str:
        """Enqueue a request through the script, with an id window."""
        request = Request(id=request_id, lane=LANE, body=b"{}", **fields)
        return self.store.intake.enqueue([(request, window_ms)])[0].entry

    def walk(self, **limits: Any) -> OpenRange:
        """Walk one step; without limits the range is never full."""
        return self.store.intake.walk(LANE, now_ms=NOW, **(LIMITS | limits))

    def walk_all(self, **limits: Any) -> OpenRange:
        """Walk until nothing is left to walk, or the range is full."""
        seen = self.walk(**limits)
        while seen.unwalked and not seen.full:
            seen = self.walk(**limits)
        return seen

    def look(self, *, max_lanes: int = 10_000) -> OpenRange | None:
        """Look at the lanes and return the open range of the scene's own, None when it is idle."""
        found = self.store.intake.look(0, max_lanes=max_lanes)
        return next((r for r in found.ranges if r.lane == LANE), None)

    def cut(
        self, batch_id: str = "b1", *, seen: OpenRange | None = None, trigger: Trigger = "age", **changes: Any
    ) -> CutAnswer:
        """Cut what is walked."""
        rules: dict[str, Any] = {"now_ms": NOW, "max_open": 100, "max_creates": 100, "pool": POOL} | changes
        return self.store.batches.cut(self.lane, seen or self.walk(), trigger, batch_id=batch_id, **rules)

    def claim(self, batch_id: str = "b1") -> Batch:
        """Take the lease of a batch at a time when it is due, whoever holds it."""
        self.age(batch_id)
        self._count += 1
        batch = self.store.batches.claim(batch_id, holder=f"holder-{self._count}", now_ms=NOW * 2)
        assert isinstance(batch, Batch)
        return batch

    def age(self, batch_id: str = "b1") -> None:
        """Let the lease and the create call of a batch lie in the past."""
        self.run("HSET", keys.batch(batch_id), "lease_until", 1, "call_until", 1)

    def batch(self, *ids: str, batch_id: str = "b1") -> Batch:
        """Cut a batch with these requests and claim it."""
        self.add(*ids)
        self.walk_all()
        assert self.cut(batch_id) == "cut"
        return self.claim(batch_id)

    def intent(
        self,
        batch: Batch,
        *,
        nonce: str = "n1",
        max_open: int = 100,
        max_creates: int = 100,
        call_s: float = 60,
        rows: int = 3,
        tagged: bool = True,
        pool: Pool = POOL,
        tokens: int = 30,
        sent: Sequence[str] = (),
    ) -> str:
        """cut → submitting."""
        return self.store.batches.intent(
            batch,
            tagged=tagged,
            nonce=nonce,
            rows=rows,
            row_bytes=300,
            input_ref="file-1",
            now_ms=NOW,
            call_s=call_s,
            max_open=max_open,
            max_creates=max_creates,
            pool=pool,
            tokens=tokens,
            body_bytes=120,
            sent=sent,
        )

    def room(self, batch: Batch, pool: Pool = POOL, **changes: int) -> Room:
        """Ask for the room of a batch in cut."""
        rules = {"now_ms": NOW, "max_open": 100, "max_creates": 100} | changes
        return self.store.accounts.room(batch, pool, **rules)

    def submit(self, batch: Batch, *, provider_id: str = "p1") -> bool:
        """submitting → submitted."""
        return self.store.batches.submitted(
            batch, provider_id=provider_id, submitted_ms=NOW - 7_000, expires_ms=NOW + 9_000, first_poll_ms=NOW + 1_000
        )

    def submitting(self, *ids: str, batch_id: str = "b1") -> Batch:
        """Return a batch in submitting."""
        batch = self.batch(*ids, batch_id=batch_id)
        assert self.intent(batch, nonce=f"nonce-{batch_id}") == "durable"
        return self.get(batch_id)

    def submitted(self, *ids: str, batch_id: str = "b1") -> Batch:
        """Return a claimed batch in submitted."""
        assert self.submit(self.submitting(*ids, batch_id=batch_id), provider_id=f"provider-{batch_id}")
        return self.claim(batch_id)

    def end(self, batch: Batch) -> Batch:
        """submitted → ended."""
        self.store.batches.ended(batch, outcome="completed", ended_ms=NOW - 1_000, results=b"{}")
        return self.get(batch.id)

    def ended(self, *ids: str, batch_id: str = "b1") -> Batch:
        """Return a claimed batch in ended."""
        return self.end(self.submitted(*ids, batch_id=batch_id))

    def get(self, batch_id: str = "b1") -> Batch:
        """Read a batch record."""
        batch = self.store.batches.get(batch_id)
        assert batch is not None
        return batch

    def carried(self, batch: Batch) -> list[str]:
        """Return the entries that a batch carries."""
        return [owed.entry for page in self.store.settling.carried(batch) for owed in page]

    def answer(self, entry: str, request_id: str = "r1", **changes: Any) -> Answer:
        """Return a success for the list ``out``, or what the changes make of it."""
        default = keys.reply_default(LANE, request_id)
        plain = Answer(
            entry=entry,
            request_id=request_id,
            queue=Queue(kind="list", key=keys.reply_list("out"), default=default),
            status="succeeded",
            reply=b"reply " + request_id.encode(),
            own=False,
            usage=Usage(),
            cost=Cost(list_nano=0, paid_nano=0),
        )
        return msgspec.structs.replace(plain, **changes)

    def settle(self, *answers: Answer, batch: Batch | None = None, **changes: Any) -> list[int]:
        """Settle answers."""
        return self.store.settling.settle(self.lane, answers, batch=batch, route="batch", **({"now_ms": NOW} | changes))

    def retry(self, batch: Batch, entries: Sequence[str], *, not_before_ms: int = NOW) -> int:
        """Send entries to the retry pool."""
        items = [Retry(entry=e, record=b'{"used":1}', not_before_ms=not_before_ms, reason="expired") for e in entries]
        return self.store.settling.retry(self.lane, items, batch=batch)

    def bury(self, *ids: str, record: bytes = b'{"used":3,"errors":[]}') -> list[Place]:
        """Give requests up; returns where their dead letters lie, oldest entry first."""
        entries = self.add(*ids)
        rows = [self.answer(e, i, status="failed", dead=record) for e, i in zip(entries, ids, strict=True)]
        assert self.settle(*rows) == [1] * len(ids)
        return [Place(lane=LANE, entry=entry, died_ms=NOW) for entry in entries]

    def settled(self, batch: Batch, **changes: Any) -> Batch | None:
        """ended, cut → settled."""
        rules = {"now_ms": NOW, "waste_nano": 5, "kept_s": 3600, "turnaround_bucket": 2, "size_bucket": 1} | changes
        return self.store.batches.settled(batch, self.lane, **rules)

    def pool(self, count: int, *, not_before_ms: int = NOW, batch_id: str = "old") -> list[str]:
        """Return so many entries in the retry pool; the batch that sent them there is settled."""
        entries = self.add(*(f"{batch_id}-{i}" for i in range(count)))
        self.walk_all()
        self.cut(batch_id)
        batch = self.claim(batch_id)
        for start in range(0, count, 1000):
            self.retry(batch, entries[start : start + 1000], not_before_ms=not_before_ms)
        assert self.settled(batch)
        return entries

    def riders(self, count: int, *, batch_id: str = "b1") -> Batch:
        """Return a claimed batch in cut with so many riders and nothing else."""
        self.pool(count)
        assert self.cut(batch_id, riders_only=True) == "cut"
        batch = self.claim(batch_id)
        assert self.store.batches.ride(batch, horizon_ms=NOW, max_requests=1_000_000) == count
        return self.get(batch_id)

    def split(self, batch: Batch, *, at: str = "", keep_riders: int = 10**9, new_id: str = "b2") -> None:
        """Split a batch; the totals of the range that stays are 1 request of 102 bytes and 1 token."""
        self.store.batches.split(
            batch,
            new_id=new_id,
            at=at,
            requests=1,
            total_bytes=102,
            tokens=1,
            keep_riders=keep_riders,
            not_before_ms=NOW,
        )

    def outage(self, *, now_ms: int = NOW, asked_s: float | None = None) -> int:
        """Note provider trouble with waits from 10 to 60 s."""
        return self.store.accounts.note_outage(
            "openai",
            now_ms=now_ms,
            min_s=10,
            max_s=60,
            asked_s=asked_s,
            call="create",
            code="503",
            message="overloaded",
        )

    def reader(self, name: str = "me") -> Reader:
        """Return a reader of the list ``out``."""
        return self.store.callbacks.reader("out", name)

    def silent_reader(self, *replies: str) -> None:
        """Let a reader take these replies and then stay silent for longer than is allowed."""
        self.run("RPUSH", keys.reply_list("out"), *replies)
        dead = self.reader("dead")
        for _ in replies:
            dead.take(timeout_s=0)
        dead.close()
        seconds = int(self.run("TIME")[0])
        self.run("ZADD", keys.readers("out"), seconds * 1000 - SILENT_MS - 1000, "dead")

    def let_pass(self, seconds: float) -> None:
        """Let time pass for callback queues and their readers: what expires does so that much sooner."""
        ms = int(seconds * 1000)
        for queue, due in self.run("ZRANGE", keys.UNREAD, 0, -1, "WITHSCORES"):
            self.run("ZADD", keys.UNREAD, int(due) - ms, queue)
        for pattern in ("batchline:repl*", "batchline:read*"):
            for key in self.run("KEYS", pattern):
                if (ends := self.run("PEXPIRETIME", key)) > 0:
                    self.run("PEXPIREAT", key, ends - ms)

    def waiting(self) -> list[str]:
        """Return the callback queues that are noted as perhaps unread."""
        return sorted(queue.decode() for queue in self.run("ZRANGE", keys.UNREAD, 0, -1))

    def prune(self, *lanes: str, idle_before_ms: int = NOW, really: bool = True) -> list[str]:
        """Prune lanes, this scene's own by default, into the ledger of its lane."""
        rows = [(lane, self.lane.base) for lane in lanes or (LANE,)]
        return self.store.pruning.prune(rows, idle_before_ms=idle_before_ms, now_ms=NOW, really=really)

    def emptied(self, *ids: str, lane: str = LANE) -> list[str]:
        """Let these requests be answered at once, so that the lane is empty."""
        entries = self.add(*ids, lane=lane)
        self.walk_all()
        assert self.cut(f"of-{ids[0]}") == "cut"
        batch = self.claim(f"of-{ids[0]}")
        self.settle(*(self.answer(entry, each) for entry, each in zip(entries, ids, strict=True)), batch=batch)
        assert self.settled(batch)
        return entries

    def entries(self) -> list[str]:
        """Return the entries that are owed a reply."""
        return [entry.decode() for entry, _ in self.run("XRANGE", keys.requests(LANE), "-", "+")]

    def replies(self, key: str = "batchline:reply:out") -> list[bytes]:
        """Return what lies in a callback list."""
        found: list[bytes] = self.run("LRANGE", key, 0, -1)
        return found

    def ledger(self) -> dict[str, int]:
        """Return the ledger of the scene's lane."""
        return next((dict(a.fields) for a in self.store.ledger.accounts() if a.base == self.lane.base), {})

    def key_names(self) -> set[str]:
        """Return the names of all keys."""
        return {key.decode() for key in self.run("KEYS", "*")}

    def snapshot(self) -> dict[str, Any]:
        """Return all that the store holds, save times that the store's own clock sets."""
        return {key: self._content(key) for key in sorted(self.key_names())}

    def _content(self, key: str) -> Any:
        kind = self.run("TYPE", key).decode()
        if kind == "hash":
            return {k: v for k, v in self.run("HGETALL", key).items() if k not in VOLATILE}
        if key.startswith("batchline:readers:"):
            return self.run("ZRANGE", key, 0, -1)
        read: dict[str, tuple[Any, ...]] = {
            "string": ("GET", key),
            "list": ("LRANGE", key, 0, -1),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
            "stream": ("XRANGE", key, "-", "+"),
        }
        return self.run(*read[kind])

    def prepare(self, script: str) -> Callable[[], object]:
        """Set the scene for a script and return a call of it that does all that the script can do."""
        prepared: Callable[[], object] = getattr(self, f"_scene_{script}")()
        return prepared

    def adopt(self, batch_id: str = "b9") -> bool:
        """Put an orphan on record."""
        return self.store.orphans.adopt(
            "openai",
            batch_id=batch_id,
            lane=LANE,
            provider_id="p9",
            nonce="lost",
            rows=2,
            created_ms=NOW - 50,
            expires_ms=0,
            now_ms=NOW,
            pool=POOL.name,
        )

    def lower(
        self, batch: Batch, *, told: int | None = None, tokens: int = 40, pool: Pool = POOL, least: int = 1
    ) -> int:
        """Believe in a lower limit after the provider had no room for a batch."""
        kept: dict[str, Any] = {"told_for_s": 1000, "guess_for_s": 100, "unit": pool.unit, "least": least}
        return self.store.accounts.lower(batch, pool, tokens=tokens, requests=4, told=told, now_ms=NOW, **kept)

    def _scene_lower(self) -> Callable[[], object]:
        self.submitted("r1")
        batch = self.batch("r2", batch_id="b2")
        return lambda: self.lower(batch, told=60)

    def _scene_defer(self) -> Callable[[], object]:
        return lambda: self.store.accounts.defer("openai", until_ms=NOW + 60_000)

    def _scene_room(self) -> Callable[[], object]:
        batch = self.batch("r1")
        return lambda: self.room(batch)

    def _scene_adopt(self) -> Callable[[], object]:
        return self.adopt

    def _scene_embark(self) -> Callable[[], object]:
        entries = self.add("r1", "r2")
        self.adopt("b1")
        batch = self.claim("b1")
        return lambda: self.store.orphans.embark(batch, entries, record=b"{}")

    def _scene_again(self) -> Callable[[], object]:
        batch = self.submitted("r1")
        return lambda: self.store.batches.again(batch, not_before_ms=NOW + 5, reason="no room")

    def _scene_ambiguous(self) -> Callable[[], object]:
        batch = self.submitting("r1")
        return lambda: self.store.batches.ambiguous(batch, look_ms=NOW + 5)

    def _scene_cancel(self) -> Callable[[], object]:
        (entry,) = self.add("r1")
        return lambda: self.store.intake.cancel(LANE, entry)

    def _scene_carried(self) -> Callable[[], object]:
        batch = self.batch("r1", "r2")
        return lambda: self.carried(batch)

    def _scene_claim(self) -> Callable[[], object]:
        self.add("r1")
        self.cut()
        return lambda: self.store.batches.claim("b1", holder="me", now_ms=NOW)

    def _scene_cut(self) -> Callable[[], object]:
        self.add("r1", "r2")
        seen = self.walk()
        return lambda: self.cut(seen=seen)

    def _scene_depths(self) -> Callable[[], object]:
        self.add("r1")
        return self.store.ledger.depths

    def _scene_drop(self) -> Callable[[], object]:
        places = self.bury("r1", "r2")
        return lambda: self.store.dead.drop(places)

    def _scene_ended(self) -> Callable[[], object]:
        batch = self.submitted("r1")
        return lambda: self.end(batch)

    def _scene_enqueue(self) -> Callable[[], object]:
        return lambda: self.enqueue("r1")

    def _scene_find(self) -> Callable[[], object]:
        self.add("r1", "r2")
        return lambda: list(self.store.intake.find(LANE, "r1"))

    def _scene_intent(self) -> Callable[[], object]:
        batch = self.batch("r1")
        return lambda: self.intent(batch)

    def _scene_disown(self) -> Callable[[], object]:
        batch = self.submitted("r1")
        return lambda: self.store.batches.disown(batch, look_ms=NOW + 5)

    def _scene_letters(self) -> Callable[[], object]:
        places = self.bury("r1", "r2")
        return lambda: list(self.store.dead.letters(places))

    def _scene_look(self) -> Callable[[], object]:
        self.add("r1")
        self.add("r2", lane="openai:chat:gpt-5-nano")
        return lambda: self.look(max_lanes=1)

    def _scene_outage(self) -> Callable[[], object]:
        return self.outage

    def _scene_owed(self) -> Callable[[], object]:
        entries = self.add("r1", "r2")
        return lambda: self.store.settling.owed(LANE, entries)

    def _scene_reclaim(self) -> Callable[[], object]:
        self.silent_reader("one", "two")
        reader = self.reader()
        return lambda: reader.acknowledge(1)

    def _scene_take(self) -> Callable[[], object]:
        self.run("RPUSH", keys.reply_list("out"), "one", "two")
        reader = self.reader()
        return lambda: reader.take_many(10)

    def _scene_redrive(self) -> Callable[[], object]:
        places = self.bury("r1", "r2")
        return lambda: self.store.dead.redrive(places)

    def _scene_release(self) -> Callable[[], object]:
        batch = self.batch("r1")
        return lambda: self.store.batches.release(batch, agenda=keys.AGENDA_ACCUMULATE, next_ms=NOW + 5)

    def _scene_renew(self) -> Callable[[], object]:
        batch = self.batch("r1")
        return lambda: self.store.batches.renew(batch)

    def _scene_retry(self) -> Callable[[], object]:
        batch = self.ended("r1", "r2")
        entries = self.carried(batch)
        return lambda: self.retry(batch, entries)

    def _scene_revoke(self) -> Callable[[], object]:
        self.submitted("r1")
        return lambda: self.store.intake.revoke("b1", now_ms=NOW - 5)

    def _scene_ride(self) -> Callable[[], object]:
        self.pool(2)
        batch = self.batch("r1")
        return lambda: self.store.batches.ride(batch, horizon_ms=NOW, max_requests=100)

    def _scene_ring(self) -> Callable[[], object]:
        self.batch("r1")
        return lambda: self.store.batches.ring(keys.AGENDA_ACCUMULATE, now_ms=NOW + 60_000)

    def _scene_settle(self) -> Callable[[], object]:
        self.enqueue("r1")
        batch = self.ended()
        (entry,) = self.carried(batch)
        return lambda: self.settle(self.answer(entry), batch=batch)

    def _scene_settled(self) -> Callable[[], object]:
        batch = self.ended("r1")
        self.settle(self.answer(self.carried(batch)[0]), batch=batch)
        return lambda: self.settled(batch)

    def _scene_split(self) -> Callable[[], object]:
        batch = self.batch("r1", "r2")
        at = self.carried(batch)[0]
        return lambda: self.split(batch, at=at)

    def _scene_submitted(self) -> Callable[[], object]:
        batch = self.submitting("r1")
        return lambda: self.submit(batch)

    def _scene_deleted(self) -> Callable[[], object]:
        self.run("ZADD", keys.FILES, NOW, "openai|file-1")
        return lambda: self.store.files.failed("openai|file-1", now_ms=NOW)

    def _scene_length(self) -> Callable[[], object]:
        self.run("RPUSH", keys.reply_list("out"), "one")
        queue = Queue(kind="list", key=keys.reply_list("out"), default="")
        return lambda: self.store.settling.waiting([queue])

    def _scene_duplicate(self) -> Callable[[], object]:
        return lambda: self.store.accounts.count_duplicate("openai", "batch_2", now_ms=NOW)

    def _scene_erred(self) -> Callable[[], object]:
        return lambda: self.store.accounts.count_error("openai", "poll", "500", token="t1")

    def _scene_note(self) -> Callable[[], object]:
        batch = self.submitted("r1")
        return lambda: self.store.batches.note(batch, done=3, status="running")

    def _scene_prune(self) -> Callable[[], object]:
        self.emptied("r1", "r2")
        return self.prune

    def _scene_discard(self) -> Callable[[], object]:
        self.run("RPUSH", keys.UNDELIVERED, '{"timing":{"settled":5}}', '{"timing":{"settled":50}}')
        return lambda: self.store.pruning.discard(before_ms=6, really=True)

    def _scene_expire(self) -> Callable[[], object]:
        (entry,) = self.add("r1")
        self.settle(self.answer(entry))
        self.let_pass(604_801)
        return self.store.unread.expire

    def _scene_tick(self) -> Callable[[], object]:
        return lambda: self.store.take_tick("poll", holder="me", seconds=5)

    def _scene_replaced(self) -> Callable[[], object]:
        return lambda: self.store.orphans.replaced_ms("another", now_ms=NOW)

    def _scene_ticked(self) -> Callable[[], object]:
        return lambda: self.store.note_tick("poll", NOW)

    def _scene_walk(self) -> Callable[[], object]:
        self.add("r1", "r2")
        return self.walk


@pytest.fixture
def scene(store: Store) -> Scene:
    """One lane of an empty store."""
    return Scene(store)


@pytest.fixture
def full(store: Store) -> Iterator[Callable[[], None]]:
    """Call it to let the store be over its maxmemory until the end of the test."""
    yield lambda: store.connection.run("CONFIG SET", "maxmemory", 1)
    store.connection.run("CONFIG SET", "maxmemory", 0)
