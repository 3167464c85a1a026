"""A snapshot of the store's figures, as `status` shows them and the exporter serves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.store import Store
from batchline.store.ledger import Account
from batchline.store.records import Batch

IN_FLIGHT = frozenset({"submitting", "reconciling", "submitted", "ended"})


class Depth(msgspec.Struct, kw_only=True):
    """What is owed under one ``account:endpoint:model``: enqueued ever, pending, in flight, dead letters, and the oldest (unix ms)."""

    enqueued: int = 0
    pending: int = 0
    in_flight: int = 0
    dead: int = 0
    oldest_pending_ms: int = 0
    oldest_batch_ms: int = 0
    states: Counter[str] = msgspec.field(default_factory=Counter)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures at one moment."""

    depths: Mapping[str, Depth]
    ledger: Mapping[str, Account]
    ticks: Mapping[str, int]
    memory: tuple[int, int]
    batches: tuple[Batch, ...]


def read(store: Store) -> Figures:
    """Read everything in a bounded number of commands. Raises StoreError."""
    batches = tuple(store.batches.records(store.batches.open_ids()))
    depths: dict[str, Depth] = {}
    for lane in store.ledger.depths():
        depth = depths.setdefault(base_of(lane.lane), Depth())
        depth.enqueued += lane.added
        depth.pending += lane.owed
        depth.dead += lane.dead
        depth.oldest_pending_ms = _older(depth.oldest_pending_ms, lane.since_ms)
    for batch in batches:
        _add_batch(depths.setdefault(base_of(batch.lane), Depth()), batch)
    return Figures(
        depths=depths,
        ledger={account.base: account for account in store.ledger.accounts()},
        ticks=store.last_ticks(),
        memory=store.ledger.memory(),
        batches=batches,
    )


def base_of(lane: str) -> str:
    """Return the name under which a lane's figures stand; lanes without a proper name share one."""
    try:
        return parse_lane(lane).base
    except InvalidRequest:
        return "unknown:unknown:unknown"


def _add_batch(depth: Depth, batch: Batch) -> None:
    depth.states[batch.state] += 1
    depth.oldest_batch_ms = _older(depth.oldest_batch_ms, batch.cut_ms)
    if batch.state in IN_FLIGHT:
        carried = batch.requests + batch.riders - batch.succeeded - batch.failed - batch.cancelled - batch.retried
        depth.in_flight += max(0, carried)
        depth.pending = max(0, depth.pending - max(0, carried))


def _older(known: int, other: int) -> int:
    return min(filter(None, (known, other)), default=0)
