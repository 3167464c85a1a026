"""Faults of the transport: which call is dropped, refused, held up or cut.

Armed exactly, one call at a time (`POST /_emulator/faults`), or drawn per call from `Options.fault_rates`; what is
armed goes first.  `routing` carries them out.

    action        what the provider did      what the caller sees
    drop_before   nothing                    the connection closes without an answer
    drop_after    everything                 the connection closes without an answer
    error_before  nothing                    `status`, 500 unless told
    error_after   everything                 `status`, 500 unless told
    rate_limit    nothing                    429 with a retry-after of `retry_after` seconds
    hang_before   everything, but only then  the answer after `seconds`, 60 at most (a late create)
    hang          everything, at once        the answer after `seconds`, 60 at most
    cut_stream    everything                 the first `after_bytes` of the answer (half of it unless told), then the end
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from threading import Lock
from typing import Annotated, Any

import msgspec

from batchline.emulator.options import Action, Options

MAX_HANG_S = 60.0
HANG_STEP_S = 0.01


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault for the next `times` calls of the routes that `route` names (shell wildcards: `*.create`).

    `seconds` beyond 60 count as 60.
    """

    route: str
    action: Action
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    after_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0)] = MAX_HANG_S
    retry_after: Annotated[int, msgspec.Meta(ge=0)] = 1


class TransportFaults:
    """What is armed and what fired. Every method may be called from any thread."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._armed: list[list[Any]] = []  # [fault, calls left], in the order of arming
        self._fired: Counter[tuple[str, Action]] = Counter()
        self._calls: Counter[str] = Counter()
        self._hanging = 0
        self._releases = 0
        self._lock = Lock()

    def arm(self, fault: Fault) -> None:
        """Let `fault` befall the next calls that it names."""
        with self._lock:
            self._armed.append([fault, fault.times])

    def disarm(self) -> None:
        """Forget what is armed, and let the calls that hang go on at once. The rates stay."""
        with self._lock:
            self._armed.clear()
            self._releases += 1

    def take(self, route: str) -> Fault | None:
        """Return the fault of this call of `route`, and count it as fired; None for an ordinary call."""
        with self._lock:
            self._calls[route] += 1
            fault = self._armed_for(route) or self._rolled(route)
            if fault is not None:
                self._fired[route, fault.action] += 1
            return fault

    def report(self) -> dict[str, Any]:
        """Return `armed` (with the calls left as `times`), `fired` per route and action, and how many are `hanging`."""
        with self._lock:
            armed = [{**msgspec.to_builtins(fault), "times": left} for fault, left in self._armed]
            fired = [
                {"route": route, "action": action, "times": times}
                for (route, action), times in sorted(self._fired.items())
            ]
            return {"armed": armed, "fired": fired, "hanging": self._hanging}

    async def hang(self, seconds: float) -> None:
        """Wait `seconds` of real time, 60 at most, or until `disarm`."""
        left, releases = min(seconds, MAX_HANG_S), self._releases
        with self._lock:
            self._hanging += 1
        try:
            while left > 0 and self._releases == releases:
                await asyncio.sleep(min(HANG_STEP_S, left))
                left -= HANG_STEP_S
        finally:
            with self._lock:
                self._hanging -= 1

    def _armed_for(self, route: str) -> Fault | None:
        for entry in self._armed:
            fault: Fault = entry[0]
            if fnmatchcase(route, fault.route):
                entry[1] -= 1
                if entry[1] == 0:
                    self._armed.remove(entry)
                return fault
        return None

    def _rolled(self, route: str) -> Fault | None:
        options = self._options
        if not options.fault_rates or not any(fnmatchcase(route, pattern) for pattern in options.fault_routes):
            return None
        action = _draw(options.fault_rates, f"{options.seed}/{route}/{self._calls[route]}")
        return None if action is None else Fault(route, action, seconds=options.fault_seconds)


def _draw(rates: Mapping[Action, float], what: str) -> Action | None:
    """Return the action that falls on `what`; the same for the same text, whatever order the rates were given in."""
    die = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "big") / 2**64
    for action, rate in sorted(rates.items()):
        if die < rate:
            return action
        die -= rate
    return None
