"""A backlog far larger than its budget drains without one attempt wasted, and a second producer gets through beside it.

    python bench/backlog.py                       200,000 requests of about 300 tokens, 2,000,000 tokens may be enqueued
    python bench/backlog.py --requests 20000      both a tenth of that

One producer puts everything into one lane; three times while that drains, another (a tenant, so a lane of its own) sends 10
requests and waits for their replies. Store, emulator and workers are real processes; the emulator refuses what is over its
limit, as OpenAI does, and so does this bench: every reply comes once, with its own hash and one attempt; nothing was refused,
no batch went again; neither the emulator nor our own reservations ever held more than the budget; the ledger equals the
emulator's bill, and no prompt was executed twice. Ten requests take at most two batch times: the median time from submitted
to settled of the backlog's own batches. Exit code 0 when all holds, else 1 with a line for each mismatch.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gsm8k import questions

from batchline.client import Client
from batchline.local.stack import Emulation, Stack
from batchline.replies import Reply
from batchline.store import Store, keys
from batchline.store.records import Batch

Problems = list[str]

MODEL = "gpt-5-mini"
LANE = f"openai:chat:{MODEL}"
TENANT = f"{LANE}|tenant=second"
TOKENS_PER_REQUEST = 10
"""The budget is so many times the requests in tokens: a request has thirty times as many."""
CHARS = (900, 1_500)
TEN = 10
TURNS = (0.2, 0.5, 0.8)
"""After which shares of the backlog the second producer sends its requests."""
SAMPLE_S = 0.01
SILENT_S = 90.0
UNWANTED = frozenset({"batch.refused", "budget.lowered", "batch.halved", "account.trouble"})
"""What no worker may have to say: here nobody else uses the account."""
HARMLESS = frozenset({"batch.not_created", "batch.split"})
"""What costs an upload or a small batch: a lane's estimate changed between its walk, its cut and its rendering."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be done: how many requests, by how many workers, and for how long a batch is at the emulator."""

    requests: int
    workers: int
    latency_s: float

    @property
    def budget(self) -> int:
        """Most enqueued tokens."""
        return self.requests * TOKENS_PER_REQUEST


@dataclass(kw_only=True)
class Seen:
    """What came of it. Times in seconds; tokens as reserved by us, at most at one time."""

    replies: bytearray
    problems: Problems = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    sent_tokens: int = 0
    held_tokens: int = 0
    samples: int = 0
    took_s: float = 0.0


class Prompts:
    """Questions strung together to about 300 tokens each, every one different, made anew from its number each time."""

    def __init__(self) -> None:
        self._questions = questions()

    def text(self, name: str, number: int) -> str:
        """Return the prompt of a producer's request with this number."""
        shortest, longest = CHARS
        length = shortest + number * 7_919 % (longest - shortest + 1)
        found = f"{name} {number}:"
        for place in itertools.count(number):
            if len(found) >= length:
                return found[:length]
            found += " " + self._questions[place % len(self._questions)]
        raise AssertionError

    def requests(self, name: str, lane: str, count: int) -> Iterator[dict[str, Any]]:
        """Yield a producer's requests; the replies come to the list of its name."""
        for number in range(count):
            body = {"model": MODEL, "messages": [{"role": "user", "content": self.text(name, number)}]}
            yield {"id": f"{name}/{number}", "lane": lane, "body": body, "reply_to": name}


class Watch:
    """Looks often at what our own reservations in the store sum up to; those of one moment are read by one command."""

    def __init__(self, url: str, seen: Seen) -> None:
        self._store = Store(url)
        self._seen = seen
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._store.close()

    def _look(self) -> None:
        seen = self._seen
        while not self._over.wait(SAMPLE_S):
            rooms = [raw.decode().split(":", 3) for raw in self._store.connection.run("HVALS", OPEN)]
            seen.samples += 1
            seen.held_tokens = max(seen.held_tokens, sum(int(tokens) for _, tokens, _, _ in rooms))
            seen.sent_tokens = max(seen.sent_tokens, sum(int(tokens) for _, tokens, sent, _ in rooms if sent == "1"))


OPEN = keys.account_open("openai")


def check_reply(reply: Reply, prompts: Prompts, name: str, replies: bytearray) -> Problems:
    """Note a reply by its number, and hold it against its prompt."""
    number = int(reply.id.rpartition("/")[2])
    replies[number] = min(255, replies[number] + 1)
    if reply.status != "succeeded":
        return [f"{reply.id}: {reply.status}: {reply.error}"]
    problems = [] if reply.attempts == 1 else [f"{reply.id}: {reply.attempts} attempts"]
    if hashlib.sha256(prompts.text(name, number).encode()).hexdigest() not in (reply.text or ""):
        problems.append(f"{reply.id}: the answer carries the hash of another prompt")
    return problems


def send_ten(client: Client, prompts: Prompts, turn: int, seen: Seen) -> None:
    """Send 10 requests beside the backlog and wait for their replies."""
    name, got = f"second-{turn}", bytearray(TEN)
    began = time.monotonic()
    client.enqueue_many(prompts.requests(name, TENANT, TEN))
    for count, reply in enumerate(client.replies(name, timeout=SILENT_S), start=1):
        if count == TEN:
            seen.waits.append(time.monotonic() - began)
        seen.problems += check_reply(reply, prompts, name, got)
        if count == TEN:
            break
    seen.problems += not_once(name, got)


def not_once(name: str, replies: Sequence[int]) -> Problems:
    return [f"{name}/{number}: {times} replies instead of one" for number, times in enumerate(replies) if times != 1]


def drain(stack: Stack, client: Client, prompts: Prompts, asked: Asked, seen: Seen) -> None:
    """Start the workers and read the backlog's replies as they come, with the second producer at its turns."""
    stack.workers = [None] * asked.workers
    for index in range(asked.workers):
        stack.start_worker(index)
    began = time.monotonic()
    due = {int(asked.requests * share): turn for turn, share in enumerate(TURNS)}
    others: list[threading.Thread] = []
    for count, reply in enumerate(client.replies("backlog", timeout=SILENT_S), start=1):
        seen.problems += check_reply(reply, prompts, "backlog", seen.replies)
        if count in due:
            others.append(threading.Thread(target=send_ten, args=(client, prompts, due[count], seen)))
            others[-1].start()
        if count % 1_000 == 0:
            stack.check()
        if count == asked.requests:
            break
    seen.took_s = time.monotonic() - began
    for thread in others:
        thread.join()


def enqueue(client: Client, prompts: Prompts, count: int) -> None:
    began = time.monotonic()
    for _ in client.enqueue_iter(prompts.requests("backlog", LANE, count)):
        pass
    print(f"  {count:,} requests enqueued in {time.monotonic() - began:.1f} s", flush=True)


def check_room(bill: Mapping[str, Any], asked: Asked, seen: Seen) -> Problems:
    """Hold the budget against what the emulator had enqueued, and against what we had reserved."""
    quota = bill["quotas"]["openai"][MODEL]
    print(
        f"  budget {asked.budget:,} tokens: at most {quota['peak']:,} at the emulator, {seen.sent_tokens:,} sent and "
        f"{seen.held_tokens:,} held by our own estimate ({seen.samples:,} samples); {quota['refused']} refused"
    )
    problems = [f"{quota['refused']} batches were refused by the emulator"] if quota["refused"] else []
    for whose, tokens in (("the emulator's", quota["peak"]), ("our own", seen.sent_tokens)):
        if not 0 < tokens <= asked.budget:
            problems.append(f"{whose} peak of enqueued tokens is {tokens:,}, the budget {asked.budget:,}")
    return problems


def check_batches(batches: Sequence[Batch], seen: Seen) -> Problems:
    """See that no batch went again, and hold the second producer's waits against the batch time."""
    times = [(batch.settled_ms - batch.submitted_ms) / 1000 for batch in batches if batch.lane == LANE]
    batch_time = statistics.median(times)
    print(
        f"  {len(times)} batches of the backlog, {max(batch.rows for batch in batches):,} rows at most; batch time "
        f"(median submitted to settled) {batch_time:.2f} s; the second producer's ten took "
        f"{', '.join(f'{wait:.2f}' for wait in seen.waits)} s ({max(seen.waits, default=0) / batch_time:.2f} batch times at most)"
    )
    problems = [f"batch {batch.id} went again {batch.again} times: {batch.reason}" for batch in batches if batch.again]
    problems += [f"batch {batch.id} is {batch.state}" for batch in batches if batch.state != "settled"]
    if len(seen.waits) != len(TURNS):
        problems.append(f"the second producer was answered {len(seen.waits)} times of {len(TURNS)}")
    problems += [f"ten requests took {wait:.2f} s" for wait in seen.waits if wait > 2 * batch_time]
    return problems


def check_money(bill: Mapping[str, Any], store: Store, asked: Asked) -> Problems:
    """Hold the ledger against the emulator's own bill, and both against the number of requests."""
    (billed,), booked = bill["models"], ledger(store)
    print(f"  ledger: {booked}")
    problems = [
        f"{name} is {figure} in the ledger and {billed[name]} on the bill"
        for name, figure in booked.items()
        if figure != billed[name]
    ]
    wanted = asked.requests + TEN * len(TURNS)
    problems += [
        f"{what} are {bill[what]}, {wanted} requests were sent"
        for what in ("executions", "charges", "messages")
        if bill[what] != {"openai": wanted}
    ]
    if bill["double_executions"]:
        problems.append(f"{bill['double_executions']} prompts were executed twice, e.g. {bill['doubles'][:3]}")
    return problems


def ledger(store: Store) -> dict[str, int]:
    """Return the sums of the ledger by their names on the bill; both lanes are one in it."""
    (account,) = store.ledger.accounts()
    return {
        "succeeded": account.get("settled:succeeded:batch"),
        "input_tokens": sum(account.get(f"tokens:{kind}") for kind in ("input_uncached", "cache_read", "cache_write")),
        "output_tokens": account.get("tokens:output"),
        "list_nano_usd": account.get("list_nano:batch"),
        "paid_nano_usd": account.get("paid_nano:batch"),
    }


def check_logs(stack: Stack) -> Problems:
    """See that the workers had no trouble to report."""
    said: Counter[str] = Counter()
    for log in stack.folder.glob("worker-*.log"):
        with log.open(encoding="utf-8", errors="replace") as lines:
            said.update(event for line in lines for event in UNWANTED | HARMLESS if f'"{event}"' in line)
    print(f"  the workers said {', '.join(f'{event} {said[event]} times' for event in sorted(HARMLESS))}")
    return [f"the workers said {event} {times} times" for event, times in said.items() if event in UNWANTED]


def measure(asked: Asked, folder: Path) -> Problems:
    """Run it all on a stack of its own and return what does not hold."""
    prompts, seen = Prompts(), Seen(replies=bytearray(asked.requests))
    emulation = Emulation(latency_s=asked.latency_s, more=("--enqueued-tokens", f"{MODEL}={asked.budget}"))
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder, emulation=emulation, settings=settings(asked, folder), workers=0)
    with stack, Client(stack.redis_url) as client:
        enqueue(client, prompts, asked.requests)
        with Watch(stack.redis_url, seen):
            drain(stack, client, prompts, asked, seen)
            batches = settled(client.store, stack)
        with urllib.request.urlopen(f"{stack.emulator_url}/_emulator/bill", timeout=60) as answered:
            bill = json.load(answered)
        checks: list[Callable[[], Problems]] = [
            lambda: seen.problems + not_once("backlog", seen.replies),
            lambda: check_batches(batches, seen),
            lambda: check_room(bill, asked, seen),
            lambda: check_money(bill, client.store, asked),
            lambda: check_logs(stack),
        ]
        problems = [problem for check in checks for problem in check()]
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = asked.requests / seen.took_s
    print(f"{asked.requests:,} requests in {seen.took_s:.1f} s ({rate:,.0f}/s); this bench took {memory_mb:.0f} MB")
    return problems


def settings(asked: Asked, folder: Path) -> dict[str, str]:
    file = folder / "budget.yaml"
    budgets = {"accounts": {"openai": {"budgets": [{"match": "*", "tokens": asked.budget}]}}}
    file.write_text(json.dumps(budgets), encoding="utf-8")  # JSON is YAML
    return {
        "BATCHLINE_CONFIG": str(file),
        "BATCHLINE_FLUSH__MAX_AGE": "0.2",
        "BATCHLINE_POLL__MIN_INTERVAL": "0.1",
        "BATCHLINE_TICK_INTERVAL": "0.1",
        "BATCHLINE_LOG_FORMAT": "json",
    }


def settled(store: Store, stack: Stack) -> list[Batch]:
    """Return all batches, once the last reply's own has been settled as well."""
    for _ in range(200):
        if not store.batches.open_ids():
            break
        stack.check()
        time.sleep(0.05)
    return store.batches.records([*store.batches.settled_ids(100_000), *store.batches.open_ids()])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="the budget is ten times as many tokens")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--latency", type=float, default=1.0, help="seconds that a batch is at the emulator at the least"
    )
    given = parser.parse_args()
    asked = Asked(requests=given.requests, workers=given.workers, latency_s=given.latency)
    with tempfile.TemporaryDirectory(prefix="batchline-backlog-") as name:
        problems = measure(asked, Path(os.environ.get("BACKLOG_FOLDER") or name))
    for line in problems[:20]:
        print(f"MISMATCH {line}", file=sys.stderr)
    if not problems:
        print("every request was answered once at its first attempt, within the budget all the time")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
