"""The metrics: one reading of the store as Prometheus families. Names and labels are a promise (docs/protocol.md). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from batchline import labels, pools
from batchline.figures import Depth, Figures
from batchline.labels import Labels
from batchline.providers import facts_of
from batchline.providers.watched import VERBS
from batchline.requests import NANO
from batchline.settings import Settings
from batchline.store.accounts import AccountFacts, StorageFacts
from batchline.store.batches import RATIO_BUCKETS
from batchline.store.ledger import PRUNED, SIZE_BUCKETS
from batchline.store.settling import BUCKETS_S

LANE = ("account", "endpoint", "model")
STATES = ("cut", "submitting", "reconciling", "submitted", "ended")
TRIGGERS = ("requests", "bytes", "tokens", "age", "drain", "deadline")
STATUSES = ("succeeded", "failed", "cancelled")
ROUTES = ("batch", "realtime")
REASONS = ("provider_error", "expired", "missing", "cancelled")
WASTE = ("unmatched", "duplicate")
TOKENS = ("input_uncached", "cache_read", "cache_write", "output")
ROLES = ("accumulate", "poll")
CALLBACKS = (
    ("list", "delivered"),
    ("list", "default"),
    ("list", "undelivered"),
    ("list", "expired"),
    ("stream", "delivered"),
    ("stream", "expired"),
)
CODES = ("401", "429", "500", "503", "529", "timeout", "connection")
"""Codes of provider errors whose series stand at 0 from the start."""
PPM = 1_000_000

MONEY = (
    ("list_nano", "list_usd", "What the answered requests cost at the realtime list price"),
    ("paid_nano", "paid_usd", "What the answered requests cost as paid"),
    ("saved_nano", "saved_usd", "What was saved against the list price"),
    ("cache_saved_nano", "cache_saved_usd", "What input read from the prompt cache cost less than plain input"),
    ("cache_extra_nano", "cache_extra_usd", "What writing input into the prompt cache cost more than plain input"),
)


class Series(msgspec.Struct, kw_only=True):
    """What stands under the same labels: depths and ledgers of one or more ``account:endpoint:model``."""

    depth: Depth = msgspec.field(default_factory=Depth)
    ledger: Counter[str] = msgspec.field(default_factory=Counter)
    pruning: bool = False
    """Whether lanes of it went into the ledger while it was read: how many requests were enqueued cannot be told then."""


Sheet = Mapping[Labels, Series]


def metrics(read: Figures, settings: Settings, *, now_ms: int) -> Iterator[Metric]:
    """Turn one reading into metric families; series of known lanes and accounts that were never counted stand at 0."""
    sheet = sum_up(read, settings)
    yield from _depths(sheet, now_ms)
    yield from _outcomes(sheet)
    yield from _times(sheet)
    yield from _money(sheet)
    yield _callbacks(read)
    yield from _accounts(read, settings, now_ms)
    yield from _storage(read.accounts, settings)
    yield from _budgets(read.accounts, settings, sheet.keys())
    yield from _whole(read)


def sum_up(read: Figures, settings: Settings) -> dict[Labels, Series]:
    """Add up what stands under the same labels; the ledger's order, what was used first first, decides who has a name."""
    assigned = labels.assign(settings, read.ledger, sorted(read.depths.keys() - read.ledger.keys()))
    sheet: dict[Labels, Series] = {}
    for base, label in assigned.items():
        series = sheet.setdefault(label, Series())
        series.pruning = series.pruning or base in read.pruning
        if base in read.depths:
            series.depth.add(read.depths[base])
        if base in read.ledger:
            series.ledger.update(read.ledger[base].fields)
    return sheet


def _depths(sheet: Sheet, now_ms: int) -> Iterator[Metric]:
    enqueued = CounterMetricFamily("batchline_requests_enqueued", "Requests ever enqueued", labels=LANE)
    pending = GaugeMetricFamily("batchline_requests_pending", "Requests waiting to be sent", labels=LANE)
    flying = GaugeMetricFamily("batchline_requests_in_flight", "Requests in batches at a provider", labels=LANE)
    waiting = GaugeMetricFamily("batchline_oldest_pending_seconds", "Age of the oldest pending request", labels=LANE)
    oldest = GaugeMetricFamily("batchline_oldest_batch_seconds", "Age of the oldest unsettled batch", labels=LANE)
    overdue = GaugeMetricFamily(
        "batchline_batches_overdue_seconds",
        "For how long an unsettled batch is past the end of its provider's window at the most, 0: none is",
        labels=LANE,
    )
    stuck = GaugeMetricFamily("batchline_batches_stuck", "Batches without progress for too long", labels=LANE)
    vanish = GaugeMetricFamily(
        "batchline_results_expire_timestamp_seconds",
        "When unsettled results vanish at the earliest, 0: none",
        labels=LANE,
    )
    lost = GaugeMetricFamily(
        "batchline_batches_expire_timestamp_seconds",
        "When a running batch expires at the earliest and all it did is lost, 0: none",
        labels=LANE,
    )
    dead = GaugeMetricFamily("batchline_dead_letters", "Requests given up on and kept", labels=LANE)
    states = GaugeMetricFamily("batchline_batches", "Unsettled batches", labels=(*LANE, "state"))
    for lane, series in sheet.items():
        depth = series.depth
        if not series.pruning:
            enqueued.add_metric(lane, depth.enqueued + series.ledger[PRUNED])
        pending.add_metric(lane, depth.pending)
        flying.add_metric(lane, depth.in_flight)
        waiting.add_metric(lane, _age_s(depth.oldest_pending_ms, now_ms))
        oldest.add_metric(lane, _age_s(depth.oldest_batch_ms, now_ms))
        overdue.add_metric(lane, _age_s(depth.window_ends_ms, now_ms))
        stuck.add_metric(lane, depth.stuck)
        vanish.add_metric(lane, depth.results_gone_ms / 1000)
        lost.add_metric(lane, depth.all_lost_ms / 1000)
        dead.add_metric(lane, depth.dead)
        for state in STATES:
            states.add_metric((*lane, state), depth.states[state])
    yield from (enqueued, pending, flying, waiting, oldest, overdue, stuck, vanish, lost, dead, states)


def _outcomes(sheet: Sheet) -> Iterator[Metric]:
    settled = _counter("requests_settled", "Requests answered", "status", "route")
    retries = _counter("request_retries", "Requests sent again", "reason")
    cut = _counter("batches_cut", "Batches cut", "trigger")
    met = _counter("deadlines_met", "Requests answered by their deadline", "route")
    missed = _counter("deadlines_missed", "Requests answered after their deadline", "route")
    tokens = _counter("tokens", "Tokens of answered requests", "kind")
    unpriced = _counter("unpriced_requests", "Requests answered by a model without a known price")
    for lane, series in sheet.items():
        counted = series.ledger
        for route in ROUTES:
            for status in STATUSES:
                settled.add_metric((*lane, status, route), counted[f"settled:{status}:{route}"])
            met.add_metric((*lane, route), counted[f"deadlines_met:{route}"])
            missed.add_metric((*lane, route), counted[f"deadlines_missed:{route}"])
        for reason in REASONS:
            retries.add_metric((*lane, reason), counted[f"retries:{reason}"])
        for trigger in TRIGGERS:
            cut.add_metric((*lane, trigger), counted[f"cut:{trigger}"])
        for kind in TOKENS:
            tokens.add_metric((*lane, kind), counted[f"tokens:{kind}"])
        unpriced.add_metric(lane, counted["unpriced"])
    yield from (settled, retries, cut, met, missed, tokens, unpriced)


def _counter(name: str, meaning: str, *more: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"batchline_{name}", meaning, labels=(*LANE, *more))


def _times(sheet: Sheet) -> Iterator[Metric]:
    latency = _histogram("request_latency_seconds", "From enqueued to settled", "route")
    queue = _histogram("request_queue_seconds", "From enqueued to submitted")
    turnaround = _histogram("batch_turnaround_seconds", "From submitted to ended")
    size = _histogram("batch_requests", "Requests in a batch")
    wrong = _histogram("batch_error_ratio", "Share of a finished batch's requests without an answer")
    for lane, series in sheet.items():
        counted = series.ledger
        for route in ROUTES:
            _observe(latency, (*lane, route), counted, f"latency:{route}:", counted[f"latency_ms:{route}"] / 1000)
        _observe(queue, lane, counted, "queue:", counted["queue_ms"] / 1000)
        _observe(turnaround, lane, counted, "turnaround:", counted["turnaround_ms"] / 1000)
        _observe(size, lane, counted, "size:", counted["size_sum"], SIZE_BUCKETS)
        _observe(wrong, lane, counted, "error_ratio:", counted["error_ratio_ppm"] / PPM, RATIO_BUCKETS)
    yield from (latency, queue, turnaround, size, wrong)


def _histogram(name: str, meaning: str, *more: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"batchline_{name}", meaning, labels=(*LANE, *more))


def _observe(
    family: HistogramMetricFamily,
    values: Sequence[str],
    counted: Counter[str],
    prefix: str,
    total: float,
    bounds: Sequence[float] = BUCKETS_S,
) -> None:
    counts = accumulate(counted[f"{prefix}{i}"] for i in range(len(bounds) + 1))
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    family.add_metric(values, list(zip(names, counts, strict=True)), total)


def _money(sheet: Sheet) -> Iterator[Metric]:
    for field, name, meaning in MONEY:
        family = _counter(name, meaning, "route")
        for lane, series in sheet.items():
            for route in ROUTES:
                family.add_metric((*lane, route), series.ledger[f"{field}:{route}"] / NANO)
        yield family
    wasted = _counter("wasted_usd", "Paid for and of no use", "reason")
    for lane, series in sheet.items():
        for reason in WASTE:
            wasted.add_metric((*lane, reason), series.ledger[f"wasted_nano:{reason}"] / NANO)
    yield wasted


def _callbacks(read: Figures) -> Metric:
    counts = Counter({name.removeprefix("callbacks:"): n for name, n in read.expired.items()})
    for ledger in read.ledger.values():
        counts.update(ledger.having("callbacks:"))
    family = CounterMetricFamily("batchline_callbacks", "What became of replies", labels=("kind", "outcome"))
    for name in sorted({":".join(each) for each in CALLBACKS} | counts.keys()):
        family.add_metric(name.split(":", 1), counts[name])
    return family


def _accounts(read: Figures, settings: Settings, now_ms: int) -> Iterator[Metric]:
    one = ("account",)
    ambiguous = CounterMetricFamily("batchline_ambiguous_submissions", "Create calls whose end was unknown", labels=one)
    duplicates = CounterMetricFamily("batchline_duplicate_batches", "Second batches for one attempt", labels=one)
    down = GaugeMetricFamily("batchline_account_down", "Whether calls are held back after trouble", labels=one)
    due = GaugeMetricFamily("batchline_provider_files", "Files that wait to be deleted at the provider", labels=one)
    failed = GaugeMetricFamily("batchline_provider_file_failures", "Those that could not be deleted yet", labels=one)
    errors = CounterMetricFamily(
        "batchline_provider_errors", "Provider calls that failed", labels=("account", "call", "code")
    )
    for account in read.accounts:
        name = (account.name,)
        ambiguous.add_metric(name, account.ambiguous)
        duplicates.add_metric(name, account.duplicates)
        down.add_metric(name, int(account.down_until > now_ms))
        due.add_metric(name, account.files)
        failed.add_metric(name, account.files_failed)
        for each in sorted({f"{verb}:{code}" for verb in VERBS for code in CODES} | account.errors.keys()):
            errors.add_metric((account.name, *each.split(":", 1)), account.errors.get(each, 0))
    yield from (ambiguous, duplicates, down, due, failed, errors, _orphans(read, settings))


def _orphans(read: Figures, settings: Settings) -> Metric:
    meaning = "Provider batches that the store had not known when they were found, and that are not settled yet"
    family = GaugeMetricFamily("batchline_orphan_batches", meaning, labels=["account"])
    unknown = labels.UNKNOWN[0]
    found = Counter(
        batch.account if batch.account in settings.accounts else unknown for batch in read.batches if batch.orphan
    )
    for account in {**settings.accounts, **found}:
        family.add_metric([account], found[account])
    return family


def _storage(accounts: Iterable[AccountFacts], settings: Settings) -> Iterator[Metric]:
    names = ("account", "whose")
    files = GaugeMetricFamily("batchline_provider_storage_files", "Files at the provider", labels=names)
    size = GaugeMetricFamily("batchline_provider_storage_bytes", "Their bytes", labels=names)
    limit = GaugeMetricFamily(
        "batchline_provider_storage_limit_bytes", "The most that files may take there, where known", labels=["account"]
    )
    for account in accounts:
        facts = facts_of(settings.accounts[account.name])
        if not facts.has_files:
            continue
        found = account.storage or StorageFacts(0, 0, 0, 0, 0)
        for whose, count, taken in (
            ("ours", found.ours, found.our_bytes),
            ("others", found.files - found.ours, found.bytes - found.our_bytes),
        ):
            files.add_metric((account.name, whose), count)
            size.add_metric((account.name, whose), taken)
        if facts.storage_bytes is not None:
            limit.add_metric([account.name], facts.storage_bytes)
    yield from (files, size, limit)


def _budgets(accounts: Iterable[AccountFacts], settings: Settings, named: Collection[Labels]) -> Iterator[Metric]:
    names = ("account", "model", "unit")
    used = GaugeMetricFamily(
        "batchline_budget_used", "What an account's unsettled work takes of its room", labels=names
    )
    limit = GaugeMetricFamily("batchline_budget_limit", "An account's room, where it has a limit", labels=names)
    models = {label[2] for label in named} - {labels.UNKNOWN[2], labels.OTHER}
    for facts in accounts:
        sums: Counter[tuple[str, str, str]] = Counter()
        known = sorted(models & {model for account, _, model in named if account == facts.name})
        for use in pools.uses(facts, settings.accounts[facts.name], known, settings.lane_budgets):
            beyond = use.is_model and use.model not in models
            name = (facts.name, labels.OTHER if beyond else use.model, str(use.unit))
            sums[name] += use.used
            if use.limit is not None and not beyond:
                limit.add_metric(name, use.limit)
        for name, total in sums.items():
            used.add_metric(name, total)
    yield from (used, limit)


def _whole(read: Figures) -> Iterator[Metric]:
    ticks = GaugeMetricFamily(
        "batchline_last_tick_timestamp_seconds", "When a role last ticked, 0: never", labels=["role"]
    )
    for role in ROLES:
        ticks.add_metric([role], read.ticks.get(role, 0) / 1000)
    yield ticks
    server = read.server
    persistent = server.append_only and server.last_write_ok and server.last_rewrite_ok
    figures = (
        ("lanes", "Lanes that producers named", read.lanes),
        ("lanes_aside", "Lanes set aside, beyond limits.max_lanes", read.lanes_aside),
        ("undelivered_replies", "Replies kept because neither callback queue was a list", read.undelivered),
        (
            "store_memory_ratio",
            "Store memory in use, of maxmemory (0: no limit)",
            server.used / server.limit if server.limit else 0,
        ),
        (
            "store_persistence_ok",
            "Whether the append-only file is on and was last written and rewritten well",
            persistent,
        ),
        (
            "store_fsync_always",
            "Whether the store forces each write to disk before it answers",
            server.fsync == "always",
        ),
    )
    for name, meaning, value in figures:
        yield GaugeMetricFamily(f"batchline_{name}", meaning, value=float(value))


def _age_s(since_ms: int, now_ms: int) -> float:
    return max(0.0, (now_ms - since_ms) / 1000) if since_ms else 0.0
