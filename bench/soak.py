"""Lose nothing, pay for nothing twice: workers, store and provider in trouble for minutes, then drain and audit.

    python bench/soak.py --seconds 120 --seed 7

Three real workers reach a real store (``appendfsync always``) and the emulator through proxies that cut connections, tear
requests and swallow replies. Workers are killed, and frozen beyond their leases; the store is killed and frozen; the
provider drops calls, answers late and fails. Meanwhile requests for two providers come in by the raw protocol and by the
client. Then the trouble stops, and every accepted request must have been answered once, with its own hash, executed and
paid once, and nothing may be left in the store; and there must have been as much of it all as promised (soak_checks.LEAST).
The seed decides what befalls whom; when exactly, the machine does.
Exit code 0 when all holds, else 1 with a line for each thing that does not; the logs are kept then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from proxy import Proxy
from soak_audit import audit
from soak_checks import Problems
from soak_load import Books, ClientProducer, RawProducer, asks
from soak_table import print_table
from soak_trouble import CREATE_S, LAG_S, LEASE_S, WORKERS, Trouble
from soak_worker import FORKS, PRELOADED

from batchline.local.environment import at_emulator
from batchline.local.stack import Emulation, Stack

A_SECOND = 13
"""Requests enqueued a second, over both providers."""

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
        found, wrong = audit(stack, books, trouble, seconds)
        problems += wrong
        print_table(stack, trouble, found)
        print(f"drained and audited in {time.monotonic() - began:.1f} s")
    for proxy in proxies:
        proxy.stop()
    return problems


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
