"""The trouble of the soak: workers, store, connections and provider, and all that befalls them."""

from __future__ import annotations

import heapq
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from proxy import Proxy
from soak_emulator import call
from soak_worker import Worker

from batchline.local.stack import Stack

WORKERS = 3
LEASE_S = 2.0
CREATE_S = 3.0
LAG_S = 1.0
MOST_ENDS = 20
MOST_LIFE_S = 6.0
"""A worker is killed when it was ready for a time drawn up to this, at the earliest."""

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


class Trouble:
    """The workers, and all that befalls them, the store, the connections and the provider."""

    def __init__(self, stack: Stack, proxies: tuple[Proxy, Proxy], dice: random.Random) -> None:
        self.made: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.ends: list[str] = []
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
                self.ends.append(f"worker-{index} was stopped and ended with exit code {code}")

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
            self.made["workers killed"] += 1
            if self._workers[index].exit_code != -signal.SIGKILL:
                self._ended(index)
            self._again(index)

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
                self._ended(index)
                self._again(index)

    def _ended(self, index: int) -> None:
        """Remember a worker that ended without our doing; -11 is a crash, -9 somebody else's kill."""
        worker = self._workers[index]
        self.ends.append(f"worker-{index} ended by itself, with exit code {worker.exit_code}")
        if len(self.ends) > MOST_ENDS:
            raise SystemExit(f"FAILED: workers keep ending by themselves, see {worker.log}")
