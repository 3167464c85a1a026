"""The audit of the soak: wait until nothing is owed, and gather what is to be held against each other."""

from __future__ import annotations

import time
from contextlib import closing

from gsm8k import read_ledger
from soak_checks import Evidence, Problems, check
from soak_emulator import call
from soak_load import Books
from soak_trouble import Trouble

from batchline.local.stack import Stack
from batchline.requests import Reply, decode_reply
from batchline.store import Store, keys

DRAIN_S = 400.0
QUIET_S = 5.0
"""How long everything is left to itself after the drain: whoever is late must have the chance to do wrong."""


def audit(stack: Stack, books: Books, trouble: Trouble, seconds: float) -> tuple[Evidence, Problems]:
    """Drain, stop the workers, and return what was found and a line for each thing that does not hold."""
    with closing(Store(stack.redis_url)) as store:
        problems = drain(stack, store, trouble)
        trouble.end()
        found = gather(stack, store, books, trouble, seconds)
    return found, problems + check(found)


def gather(stack: Stack, store: Store, books: Books, trouble: Trouble, seconds: float) -> Evidence:
    """Return all that is to be held against each other."""
    return Evidence(
        books=books,
        replies=read_replies(store),
        bill=call(f"{stack.emulator_url}/_emulator/bill"),
        booked=dict(read_ledger(stack)),
        waste=wasted(store),
        seconds=seconds,
        unowned=unowned(store),
        ends=trouble.ends,
        events=trouble.events,
        made=trouble.made,
    )


def drain(stack: Stack, store: Store, trouble: Trouble) -> Problems:
    """Wait until nothing is owed and nothing runs, and stays so; say what is still there when that takes too long."""
    deadline, said, quiet_since = time.monotonic() + DRAIN_S, time.monotonic(), None
    while quiet_since is None or time.monotonic() < quiet_since + QUIET_S:
        left, now = owed(stack, store), time.monotonic()
        quiet_since = None if left else quiet_since or now
        if left and now > deadline:
            return [f"not drained within {DRAIN_S:g} s: {left}", *open_batches(store)]
        if left and now > said + 15:
            said = now
            print(f"  draining: {left}", flush=True)
        trouble.follow()
        time.sleep(0.3)
    return []


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


def wasted(store: Store) -> dict[str, dict[str, int]]:
    """Return waste in nano-dollars by lane and cause."""
    found = {account.base: account.having("wasted_nano:") for account in store.ledger.accounts()}
    return {base: {why: nano for why, nano in causes.items() if nano} for base, causes in found.items()}


def unowned(store: Store) -> list[str]:
    """Return our keys that never expire."""
    found = sorted(raw.decode() for raw in store.connection.run("KEYS", "batchline:*"))
    lives = store.connection.run_many([("PTTL", key) for key in found])
    return [key for key, life in zip(found, lives, strict=True) if int(life) == -1]
