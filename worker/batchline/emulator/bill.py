"""The emulator's bill: what it executed, and what that costs."""

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, NamedTuple

from batchline.emulator.prices import cost_nano
from batchline.emulator.quotas import Quotas

Provider = Literal["openai", "anthropic", "gemini"]
Route = Literal["batch", "realtime"]
MAX_DOUBLES_SHOWN = 10_000


class Usage(NamedTuple):
    """Tokens of one answer; `input_tokens` is all input, what was read from and written to a cache included."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    written_tokens: int = 0  # for 5 minutes
    written_1h_tokens: int = 0


@dataclass(slots=True)
class Tally:
    """Sums over the executed requests of one model; only succeeded ones carry tokens and money."""

    executed: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    written_tokens: int = 0
    written_1h_tokens: int = 0
    list_nano_usd: int = 0
    batch_nano_usd: int = 0
    unpriced: int = 0
    messages: "array[int]" = field(default_factory=lambda: array("Q"))

    def succeed(self, model: str, digest: str, usage: Usage) -> None:
        """Add a request that was executed and answered; `digest` is its message's SHA-256 in hex."""
        self.executed += 1
        self.succeeded += 1
        self.input_tokens += usage.input_tokens
        self.cached_tokens += usage.cached_tokens
        self.output_tokens += usage.output_tokens
        self.written_tokens += usage.written_tokens
        self.written_1h_tokens += usage.written_1h_tokens
        self.messages.append(int(digest[:16], 16))
        cost = cost_nano(model, *usage)
        if cost is None:
            self.unpriced += 1
            return
        self.list_nano_usd += cost[0]
        self.batch_nano_usd += cost[1]

    def fail(self) -> None:
        """Add a request that was executed and ended in an error: not billed."""
        self.executed += 1

    def merge(self, other: "Tally") -> None:
        """Add the sums of `other`, without its messages."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMS = tuple(name for name in Tally.__slots__ if name != "messages")


@dataclass(slots=True)
class Bill:
    """The sums since the emulator's start.

    It remembers 8 bytes of every billed message's hash (about 70 bytes of memory each), to count double executions.
    """

    tallies: dict[tuple[Provider, str, Route], Tally] = field(default_factory=dict)
    batches_created: Counter[str] = field(default_factory=Counter)
    batches_cancelled: Counter[str] = field(default_factory=Counter)
    violations: list[dict[str, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    quotas: Quotas = field(default_factory=Quotas)
    _lock: Lock = field(default_factory=Lock)
    _seen: dict[tuple[Provider, str], set[int]] = field(default_factory=dict)
    _again: dict[tuple[Provider, str], Counter[int]] = field(default_factory=dict)

    def add(self, provider: Provider, model: str, route: Route, tally: Tally) -> None:
        """Add a finished batch's or realtime call's sums for one model."""
        with self._lock:
            self.tallies.setdefault((provider, model, route), Tally()).merge(tally)
            seen = self._seen.setdefault((provider, model), set())
            again = self._again.setdefault((provider, model), Counter())
            for message in tally.messages:
                if message in seen:
                    again[message] += 1
                seen.add(message)

    def violate(self, provider: Provider, action: str, what: str) -> None:
        """Note that another application's batch or file, named by its id `what`, was touched."""
        with self._lock:
            self.violations.append({"provider": provider, "action": action, "id": what})

    def report(self) -> dict[str, Any]:
        """Return the bill as JSON.

        Per provider: `executions`, rows that were run, failed ones included; `charges`, those that were answered and
        billed; `messages`, how many different (model, message) pairs these were.  Each message was paid once when
        charges equal messages; else `double_executions` says how many too many, `doubles` which, by provider, model
        and message (10,000 at most).  Then `batches_created` and `batches_cancelled` per provider, `violations`
        (foreign things that were touched), `calls` per route, `quotas` (in `quotas`), and `models`, the sums.
        Batches are in it once they have ended; foreign ones never.  Money is in nano-dollars: `list_nano_usd` and `batch_nano_usd` are the same requests at both prices,
        `paid_nano_usd` is the one that their route costs.  A double is named by its message's first 16 hex digits.
        """
        with self._lock:
            return self._report()

    def _report(self) -> dict[str, Any]:
        rows = [_row(*key, tally) for key, tally in sorted(self.tallies.items())]
        doubles: list[dict[str, Any]] = [
            {"provider": provider, "model": model, "sha256_prefix": f"{message:016x}", "executions": count + 1}
            for (provider, model), again in self._again.items()
            for message, count in again.items()
        ]
        return {
            "models": rows,
            "executions": self._per_provider(lambda tally: tally.executed),
            "charges": self._per_provider(lambda tally: tally.succeeded),
            "messages": self._messages(),
            "double_executions": sum(double["executions"] - 1 for double in doubles),
            "doubles": doubles[:MAX_DOUBLES_SHOWN],
            "batches_created": dict(self.batches_created),
            "batches_cancelled": dict(self.batches_cancelled),
            "violations": list(self.violations),
            "calls": dict(sorted(self.calls.items())),
            "quotas": self.quotas.report(),
        }

    def _per_provider(self, number: Callable[[Tally], int]) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for (provider, _, _), tally in self.tallies.items():
            sums[provider] += number(tally)
        return dict(sums)

    def _messages(self) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for (provider, _), seen in self._seen.items():
            sums[provider] += len(seen)
        return dict(sums)


def _row(provider: Provider, model: str, route: Route, tally: Tally) -> dict[str, Any]:
    paid = tally.batch_nano_usd if route == "batch" else tally.list_nano_usd
    sums = {name: getattr(tally, name) for name in _SUMS}
    return {"provider": provider, "model": model, "route": route, **sums, "paid_nano_usd": paid}
