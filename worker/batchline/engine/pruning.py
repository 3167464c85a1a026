"""What `batchline prune` may remove: lanes that nobody uses, and what is older than somebody wants to keep it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from batchline.engine.context import target
from batchline.errors import InvalidRequest, UsageError
from batchline.lanes import parse_lane
from batchline.settings import Settings
from batchline.store import Store

DAY_S = 86_400


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """What to remove by its age in seconds; None: leave it alone."""

    idle_s: float | None = None
    dead_s: float | None = None
    days_s: float | None = None
    undelivered_s: float | None = None


class Pruned(msgspec.Struct, kw_only=True):
    """What was removed, or would be; None for what was not asked for.

    ``kept`` counts the other lanes by the reason. ``found`` are lanes with a stream that no tick looked at, because they stood in
    no set of lanes; they are taken in again.
    """

    lanes: int | None = None
    kept: Mapping[str, int] = msgspec.field(default_factory=dict)
    found: int | None = None
    dead_letters: int | None = None
    days: int | None = None
    undelivered: int | None = None


def prune(store: Store, settings: Settings, wanted: Criteria, *, now_ms: int, really: bool) -> Pruned:
    """Remove what meets the criteria, page by page; unless ``really``, only count it. Raises UsageError, StoreError."""
    _check(settings, wanted)
    done = Pruned()
    # Letters and replies go first: a lane whose last dead letter is dropped here can go in the same run.
    if wanted.dead_s is not None:
        done.dead_letters = _dead(store, _before(now_ms, wanted.dead_s), really=really)
    if wanted.days_s is not None:
        before_ms = _before(now_ms, wanted.days_s)
        done.days = (store.pruning.drop_days if really else store.pruning.count_days)(before_ms=before_ms)
    if wanted.undelivered_s is not None:
        done.undelivered = store.pruning.discard(before_ms=_before(now_ms, wanted.undelivered_s), really=really)
    if wanted.idle_s is not None:
        _lanes(store, settings, done, idle_before_ms=_before(now_ms, wanted.idle_s), now_ms=now_ms, really=really)
    return done


def _check(settings: Settings, wanted: Criteria) -> None:
    window_s = settings.reconcile.audit_window
    if wanted.idle_s is not None and wanted.idle_s < window_s:
        raise UsageError(
            f"a lane must be idle for {window_s / DAY_S:g} days at least (reconcile.audit_window): so long the audit may find "
            "a batch at its provider whose rows it tells by the name of their lane"
        )
    if wanted.days_s is not None and wanted.days_s < DAY_S:
        raise UsageError("the ledger of a day can go when the day is over: give 1d or more")


def _before(now_ms: int, age_s: float) -> int:
    return now_ms - int(age_s * 1000)


def _dead(store: Store, before_ms: int, *, really: bool) -> int:
    if not really:
        return store.pruning.count_dead(before_ms=before_ms)
    return sum(store.dead.drop(page) for page in store.dead.scan(until_ms=before_ms - 1) if page)


def _lanes(store: Store, settings: Settings, done: Pruned, *, idle_before_ms: int, now_ms: int, really: bool) -> None:
    done.found = 0
    for names in store.pruning.strays():
        done.found += store.pruning.take_in(names) if really else len(names)
    ledgers = {account.base for account in store.ledger.accounts()}
    words: Counter[str] = Counter()
    for names in store.pruning.lanes():
        page = [(name, _base(settings, ledgers, name)) for name in names]
        words.update(store.pruning.prune(page, idle_before_ms=idle_before_ms, now_ms=now_ms, really=really))
    done.lanes = words.pop("pruned", 0)
    words.pop("gone", None)
    done.kept = dict(sorted(words.items()))


def _base(settings: Settings, ledgers: set[str], lane: str) -> str:
    """Return the ledger that has a lane's figures, so that they add up there; names that nobody configured share one."""
    try:
        base = parse_lane(lane).base
    except InvalidRequest:
        base = ""
    return base if base in ledgers else target(settings, lane).lane.base
