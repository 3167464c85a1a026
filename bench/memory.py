"""Peak memory of the worker's process tree while a large batch goes through, above its idle level.

    python bench/memory.py                        # 50,000 requests of about 3.7 kB: OpenAI, Anthropic, Gemini as a file; 5,000 in a Gemini create call
    python bench/memory.py --requests 5000        # a tenth, as CI does

Exits 1 when the peak is more than --limit-mb (default 150) above idle. Idle is measured after a warm-up of a few requests,
so that the SDK's own import (50 to 75 MB) does not count as the batch's.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from batchline.local.stack import PLAIN_CELERY, Emulation, Stack
from batchline.requests import Request
from batchline.store import Store

LANES = {
    "openai": "openai:chat:gpt-5-mini",
    "anthropic": "anthropic:messages:claude-haiku-4-5",
    "gemini": "gemini:generate:gemini-2.5-flash-lite",
    "gemini-inline": "gemini:generate:gemini-2.5-flash-lite",
}
MOST_INLINE = 5_000
"""So many requests are nearly the 20 MB that a create call may have."""
BODY_CHARS = 3550
WARM_UP = 20


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=50_000)
    options.add_argument("--limit-mb", type=int, default=150)
    options.add_argument("--provider", choices=[*LANES, "all"], default="all")
    given = options.parse_args()
    providers = list(LANES) if given.provider == "all" else [given.provider]
    most = {"gemini-inline": MOST_INLINE}
    asked = {provider: min(given.requests, most.get(provider, given.requests)) for provider in providers}
    return max(measure(provider, requests, given.limit_mb) for provider, requests in asked.items())


def measure(provider: str, requests: int, limit_mb: int) -> int:
    account = LANES[provider].split(":")[0].upper()
    settings = {
        "BATCHLINE_FLUSH__MAX_AGE": str(max(10, requests // 1000)),
        "BATCHLINE_FLUSH__MAX_REQUESTS": str(requests),
        "BATCHLINE_FLUSH__MAX_BYTES": "199000000",
        "BATCHLINE_POLL__MIN_INTERVAL": "1",
        "BATCHLINE_LOG_FORMAT": "json",
        # Else what may be enqueued at one time would cut the batch into many.
        f"BATCHLINE_ACCOUNTS__{account}__BUDGETS": "[]",
    } | ({f"BATCHLINE_ACCOUNTS__{account}__INLINE": "true"} if provider == "gemini-inline" else {})
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), emulation=Emulation(latency_s=3), settings=settings, worker_command=PLAIN_CELERY) as stack,
    ):
        store = Store(stack.redis_url)
        run(stack, store, provider, WARM_UP, queue="warm-up")
        worker = stack.workers[0]
        assert worker is not None
        idle = tree_rss(worker.pid)
        peak = Peak(worker.pid)
        started = time.monotonic()
        run(stack, store, provider, requests, queue="measured")
        took = time.monotonic() - started
        highest = peak.stop()
        batches = [batch for batch in store.batches.records(store.batches.settled_ids(1000)) if batch.rows > WARM_UP]
        largest = max(batch.row_bytes for batch in batches)
        assert all(bool(batch.input_ref) is (provider in {"openai", "gemini"}) for batch in batches)
        print(
            f"{provider}: {requests} requests in {len(batches)} batches (largest {largest / 1e6:.1f} MB), {took:.1f} s;"
            f" worker idle {idle / 1e6:.0f} MB, peak {highest / 1e6:.0f} MB, above idle {(highest - idle) / 1e6:.0f} MB"
            f" (limit {limit_mb} MB)"
        )
        return int(highest - idle > limit_mb * 1_000_000)


def run(stack: Stack, store: Store, provider: str, requests: int, *, queue: str) -> None:
    """Enqueue, and wait until every reply is there; replies are dropped as they come."""
    dice = random.Random(7)
    # Made beforehand, so that all are enqueued well before the first is old enough to cut a batch.
    made = [(request(provider, n, queue, dice), 1000) for n in range(requests)]
    for start in range(0, requests, 500):
        store.intake.enqueue(made[start : start + 500])
    del made
    seen = 0
    while seen < requests:
        stack.check()
        taken = store.connection.run("LPOP", f"batchline:reply:{queue}", 1000) or []
        assert all(json.loads(reply)["status"] == "succeeded" for reply in taken)
        seen += len(taken)
        time.sleep(0 if taken else 0.1)


def request(provider: str, n: int, queue: str, dice: random.Random) -> Request:
    lane = LANES[provider]
    words = " ".join(f"{dice.getrandbits(40):010x}" for _ in range(BODY_CHARS // 11))
    return Request(id=f"{queue}-{n}", lane=lane, body=json.dumps(body(lane, f"{n} {words}")).encode(), reply_to=queue)


def body(lane: str, text: str) -> dict[str, Any]:
    if lane.startswith("gemini"):
        return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 64}}
    limit = "max_tokens" if lane.startswith("anthropic") else "max_completion_tokens"
    return {"model": lane.split(":")[2], limit: 64, "messages": [{"role": "user", "content": text}]}


class Peak:
    """Samples a process tree's resident memory every 20 ms until stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._highest = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            self._highest = max(self._highest, tree_rss(self._pid))

    def stop(self) -> int:
        """Return the highest sample, in bytes."""
        self._over.set()
        self._thread.join()
        return self._highest


def tree_rss(pid: int) -> int:
    """Return the resident memory of a process and its descendants in bytes (Linux)."""
    total = 0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text(encoding="ascii")
            waiting += [int(n) for n in Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
        total += int(line.split()[1]) * 1024
    return total


if __name__ == "__main__":
    sys.exit(main())
