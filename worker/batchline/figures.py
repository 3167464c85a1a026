"""A snapshot of the store's figures, as `status` shows them and the exporter serves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers import facts, facts_of, options_of
from batchline.settings import Account as AccountSettings
from batchline.settings import Settings
from batchline.store import Store
from batchline.store.accounts import AccountFacts
from batchline.store.ledger import PRUNED, Account, LaneDepth
from batchline.store.records import Batch
from batchline.store.server import ServerFacts

READS = 3
"""So often lanes and ledger are read in all, when lanes are pruned meanwhile."""
IN_FLIGHT = frozenset({"submitting", "reconciling", "submitted", "ended"})
DAY_S = 86_400
"""The window that is reckoned with for batches of an account that the settings do not have any more."""
LATE = 4
"""Results that their account lets expire soon are late once this part of their time is over: before that each batch would seem so."""


class Depth(msgspec.Struct, kw_only=True):
    """What is owed under one ``account:endpoint:model``: enqueued ever, pending, in flight, dead letters, and the oldest (unix ms).

    ``stuck`` batches made no progress for too long; the results of one vanish at ``results_gone_ms`` at the earliest (0: of none),
    and one that runs expires with all that it did at ``all_lost_ms`` (0: none does). Of all, the window that its provider has for
    it ends at ``window_ends_ms`` at the earliest. ``estimated`` tokens of input were expected
    of the batches that told something last, ``counted`` were used, with so many bytes in all as estimates take a token for.
    """

    enqueued: int = 0
    pending: int = 0
    in_flight: int = 0
    dead: int = 0
    oldest_pending_ms: int = 0
    oldest_batch_ms: int = 0
    stuck: int = 0
    results_gone_ms: int = 0
    all_lost_ms: int = 0
    window_ends_ms: int = 0
    estimated: int = 0
    counted: int = 0
    counted_bytes: float = 0.0
    states: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: Depth) -> None:
        """Add what is owed under another name."""
        for name in ("enqueued", "pending", "in_flight", "dead", "stuck", "estimated", "counted", "counted_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("oldest_pending_ms", "oldest_batch_ms", "results_gone_ms", "all_lost_ms", "window_ends_ms"):
            setattr(self, name, _older(getattr(self, name), getattr(other, name)))
        self.states.update(other.states)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures at one moment."""

    depths: Mapping[str, Depth]
    ledger: Mapping[str, Account]
    accounts: tuple[AccountFacts, ...]
    ticks: Mapping[str, int]
    server: ServerFacts
    batches: tuple[Batch, ...]
    lanes: int
    lanes_aside: int
    undelivered: int
    expired: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Replies that expired unread, by ``callbacks:<kind>:expired``."""
    pruning: frozenset[str] = frozenset()
    """Bases of which lanes were pruned each time they were read: ``enqueued`` may count these twice, or not at all."""


def read(store: Store, settings: Settings, *, now_ms: int) -> Figures:
    """Read everything in a bounded number of commands. Raises StoreError."""
    batches = tuple(store.batches.records(store.batches.open_ids()))
    lanes, accounts, pruning = _lanes_and_ledger(store)
    depths: dict[str, Depth] = {}
    for lane in lanes:
        depth = depths.setdefault(base_of(lane.lane), Depth())
        depth.enqueued += lane.added
        depth.pending += lane.owed
        depth.dead += lane.dead
        depth.oldest_pending_ms = _older(depth.oldest_pending_ms, lane.since_ms)
        depth.estimated += lane.estimated
        depth.counted += lane.counted
        depth.counted_bytes += lane.counted * lane.per_token
    for batch in batches:
        account = settings.accounts.get(batch.account)
        _add_batch(depths.setdefault(base_of(batch.lane), Depth()), batch, account, now_ms)
    return Figures(
        depths=depths,
        ledger={account.base: account for account in accounts},
        accounts=tuple(store.accounts.facts(list(settings.accounts), now_ms=now_ms)),
        ticks=store.last_ticks(),
        server=store.server.facts(),
        batches=batches,
        expired=store.unread.expired(),
        pruning=pruning,
        **store.ledger.counts(),
    )


def _lanes_and_ledger(store: Store) -> tuple[list[LaneDepth], list[Account], frozenset[str]]:
    """Read the lanes' depths and the ledger to which prune adds theirs as of one moment, and tell for which bases that failed."""
    for _ in range(READS):
        before = store.ledger.pruned()
        lanes = store.ledger.depths()
        accounts = store.ledger.accounts()
        pruning = frozenset(each.base for each in accounts if each.get(PRUNED) != before.get(each.base, 0))
        if not pruning:
            break
    return lanes, accounts, pruning


def base_of(lane: str) -> str:
    """Return the name under which a lane's figures stand; lanes without a proper name share one."""
    try:
        return parse_lane(lane).base
    except InvalidRequest:
        return "unknown:unknown:unknown"


def results_gone_ms(batch: Batch, account: AccountSettings, *, now_ms: int) -> int:
    """Return when (unix ms) the results of an unsettled batch vanish at the earliest; 0: not known, or too early to tell.

    The provider's own time counts from the submission. One that the account sets (``files_expire``) counts from when the
    file of results was made. Source: platform.openai.com/docs/api-reference/batch/create (output_expires_after)
    """
    if not batch.submitted_ms:
        return 0
    usual_s = facts(account.provider, msgspec.structs.replace(options_of(account), files_expire_s=None)).results_kept_s
    kept_s = facts_of(account).results_kept_s
    if kept_s < usual_s and batch.ended_ms and now_ms >= batch.ended_ms + kept_s * 1000 // LATE:
        return batch.ended_ms + kept_s * 1000
    return batch.submitted_ms + usual_s * 1000


def window_ends_ms(batch: Batch, account: AccountSettings | None) -> int:
    """Return when (unix ms) a provider should have answered an unsettled batch; 0: not known.

    That is when the provider said that the batch expires. Where it said nothing or does not end a batch then (Azure), and before
    the submission, it is the account's window, counted from the submission or the cut.
    """
    known = facts_of(account) if account else None
    if batch.expires_ms and (known is None or known.window_ends_it):
        return batch.expires_ms
    since_ms = batch.submitted_ms or batch.cut_ms
    return since_ms + (known.window_s if known else DAY_S) * 1000 if since_ms else 0


def _add_batch(depth: Depth, batch: Batch, account: AccountSettings | None, now_ms: int) -> None:
    depth.states[batch.state] += 1
    depth.stuck += batch.stuck_since > 0
    if account:
        depth.results_gone_ms = _older(depth.results_gone_ms, results_gone_ms(batch, account, now_ms=now_ms))
    if account and batch.state == "submitted" and facts_of(account).expiry_loses_all:
        depth.all_lost_ms = _older(depth.all_lost_ms, batch.expires_ms)
    depth.oldest_batch_ms = _older(depth.oldest_batch_ms, batch.cut_ms)
    depth.window_ends_ms = _older(depth.window_ends_ms, window_ends_ms(batch, account))
    if batch.state in IN_FLIGHT:
        carried = batch.requests + batch.riders - batch.succeeded - batch.failed - batch.cancelled - batch.retried
        depth.in_flight += max(0, carried)
        depth.pending = max(0, depth.pending - max(0, carried))


def _older(known: int, other: int) -> int:
    return min(filter(None, (known, other)), default=0)
