"""The settlement of many requests: what was answered, how fast, in which batches, and what it cost. Used by run and demo."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Console

from batchline.cli.console import span, table
from batchline.report.amounts import exact
from batchline.requests import NANO, Reply
from batchline.store import Store
from batchline.store.records import Batch

TOTAL = "total"
_PAGE = 500


@dataclass(slots=True)
class Sums:
    """What the replies of one ``account:endpoint:model`` add up to. Money in nano-dollars, latencies in ms."""

    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: array[int] = field(default_factory=lambda: array("q"))
    batches: set[str] = field(default_factory=set)
    input_tokens: int = 0
    output_tokens: int = 0
    list_nano: int = 0
    paid_nano: int = 0
    saved_nano: int = 0
    cache_saved_nano: int = 0
    cache_extra_nano: int = 0
    unpriced: int = 0

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.answered += reply.status == "succeeded"
        self.failed += reply.status == "failed"
        self.cancelled += reply.status == "cancelled"
        if reply.error is not None:
            self.errors[reply.error.code] += 1
        self.latencies.append(reply.timing.settled - reply.timing.enqueued)
        if reply.batch is not None:
            self.batches.add(reply.batch.id)
        if reply.usage is not None:
            self.input_tokens += reply.usage.input_tokens
            self.output_tokens += reply.usage.output_tokens
        if reply.cost is not None:
            self.list_nano += nano(reply.cost.list_usd)
            self.paid_nano += nano(reply.cost.paid_usd)
            self.saved_nano += nano(reply.cost.saved_usd)
            self.cache_saved_nano += nano(reply.cost.cache_saved_usd)
            self.cache_extra_nano += nano(reply.cost.cache_extra_usd)
        self.unpriced += reply.cost is None and reply.status == "succeeded"

    def add_sums(self, other: Sums) -> None:
        """Add what another lane's replies add up to."""
        for name in ("answered", "failed", "cancelled", "input_tokens", "output_tokens", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("list_nano", "paid_nano", "saved_nano", "cache_saved_nano", "cache_extra_nano"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors.update(other.errors)
        self.latencies.extend(other.latencies)
        self.batches.update(other.batches)


def nano(text: str) -> int:
    """Return the nano-dollars of a decimal string of a reply."""
    return int(Decimal(text) * NANO)


def rank(latencies: Sequence[int], share: float) -> float:
    """Return the latency in seconds that this share of requests did not exceed (nearest rank); 0 without any."""
    if not latencies:
        return 0.0
    return sorted(latencies)[max(0, math.ceil(share * len(latencies)) - 1)] / 1000


class Settlement:
    """Takes replies one by one and keeps only their sums and their latencies."""

    def __init__(self) -> None:
        self.lanes: dict[str, Sums] = {}
        self._triggers: dict[str, str] = {}

    def add(self, lane: str, reply: Reply) -> None:
        """Count a reply of a lane."""
        self.lanes.setdefault(lane.split("|", 1)[0], Sums()).add(reply)

    def total(self) -> Sums:
        """Return the sums over all lanes."""
        total = Sums()
        for sums in self.lanes.values():
            total.add_sums(sums)
        return total

    @property
    def total_failed(self) -> int:
        """How many replies were failed."""
        return sum(sums.failed for sums in self.lanes.values())

    @property
    def all_succeeded(self) -> bool:
        """Whether no reply was failed or cancelled."""
        return not any(sums.failed or sums.cancelled for sums in self.lanes.values())

    def look_up_batches(self, store: Store) -> None:
        """Find out what triggered the batches that brought the replies; records that have expired stay unknown."""
        ids = sorted(set().union(*(sums.batches for sums in self.lanes.values())))
        for start in range(0, len(ids), _PAGE):
            self.add_batches(store.batches.records(ids[start : start + _PAGE]))

    def add_batches(self, batches: Iterable[Batch]) -> None:
        """Take note of what triggered these batches."""
        self._triggers.update((batch.id, batch.trigger) for batch in batches)

    def triggers(self, sums: Sums) -> str:
        """Return how many batches there were and why they were cut: ``3 (2 age, 1 requests)``."""
        counted = Counter(self._triggers.get(batch, "unknown") for batch in sums.batches)
        reasons = ", ".join(f"{count} {trigger}" for trigger, count in counted.most_common())
        return f"{len(sums.batches)} ({reasons})" if reasons else "0"

    def print(self, console: Console) -> None:
        """Print what happened and what it cost, a row for each lane and one for all."""
        total = self.total()
        rows = sorted(self.lanes.items())
        if len(rows) != 1:
            rows.append((TOTAL, total))
        done = table("lane", "batches (cut by)", "answered", "failed", "cancelled", "median", "p95", left=2)
        cached = bool(total.cache_saved_nano or total.cache_extra_nano)
        caching = ("cache savings",) if cached else ()
        cost = table("lane", "tokens in", "tokens out", "list price", "paid", "saved", *caching, "unpriced")
        for name, sums in rows:
            times = (span(rank(sums.latencies, share)) for share in (0.5, 0.95))
            counts = (f"{n:,}" for n in (sums.answered, sums.failed, sums.cancelled))
            done.add_row(name, self.triggers(sums), *counts, *times)
            tokens = (f"{sums.input_tokens:,}", f"{sums.output_tokens:,}")
            nanos = (sums.list_nano, sums.paid_nano, sums.saved_nano)
            cache = (sums.cache_saved_nano - sums.cache_extra_nano,) if cached else ()
            cost.add_row(name, *tokens, *(exact(n) for n in (*nanos, *cache)), f"{sums.unpriced:,}")
        console.print(done)
        console.print()
        console.print(cost)
        errors = total.errors
        if errors:
            console.print()
            console.print("errors: " + ", ".join(f"{count:,} {code}" for code, count in errors.most_common()))
