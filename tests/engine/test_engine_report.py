"""The report of a run with every outcome adds up to its replies, to the ledger of all time, to the metrics and to the bill."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from batchline.engine import cancelling
from batchline.exporter import StoreCollector
from batchline.report import GROUPS, Group, Report, Sums, build
from batchline.requests import NANO
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
ACME = f"{CHAT}|tenant=acme"
HAIKU = "anthropic:messages:claude-haiku-4-5"
SECOND = "second:chat:gpt-5-mini|tenant=zeta"
DAY_MS = 86_400_000
MARKERS = ("[[reject]]", "[[fail]]", "[[expire-once]]", "[[fail-once]]", "[[duplicate]]", "[[cached]] and more text")

PARTS = {
    "succeeded": "settled:succeeded:",
    "failed": "settled:failed:",
    "cancelled": "settled:cancelled:",
    "input_uncached": "tokens:input_uncached",
    "cache_read": "tokens:cache_read",
    "cache_write": "tokens:cache_write",
    "output": "tokens:output",
    "list_nano": "list_nano:",
    "paid_nano": "paid_nano:",
    "saved_nano": "saved_nano:",
    "wasted_nano": "wasted_nano:",
    "cache_saved_nano": "cache_saved_nano:",
    "cache_extra_nano": "cache_extra_nano:",
    "unpriced": "unpriced",
    "deadlines_met": "deadlines_met:",
    "deadlines_missed": "deadlines_missed:",
    "batches": "batches",
}
"""Each figure and the counters of the ledger of all time that it is the sum of: by their whole name, or by how it begins."""

COUNTERS = {
    "succeeded": ("requests_settled_total", "status", "succeeded"),
    "failed": ("requests_settled_total", "status", "failed"),
    "cancelled": ("requests_settled_total", "status", "cancelled"),
    "input_uncached": ("tokens_total", "kind", "input_uncached"),
    "cache_read": ("tokens_total", "kind", "cache_read"),
    "cache_write": ("tokens_total", "kind", "cache_write"),
    "output": ("tokens_total", "kind", "output"),
    "list_nano": ("list_usd_total", "", ""),
    "paid_nano": ("paid_usd_total", "", ""),
    "saved_nano": ("saved_usd_total", "", ""),
    "wasted_nano": ("wasted_usd_total", "", ""),
    "cache_saved_nano": ("cache_saved_usd_total", "", ""),
    "cache_extra_nano": ("cache_extra_usd_total", "", ""),
    "unpriced": ("unpriced_requests_total", "", ""),
    "deadlines_met": ("deadlines_met_total", "", ""),
    "deadlines_missed": ("deadlines_missed_total", "", ""),
    "batches": ("batch_requests_count", "", ""),
}
"""Each figure and the metric that counts the same: name, and a label with its value where it counts more than that."""


def ask_all(bench: Any, lane: str) -> None:
    """Enqueue a request for every outcome."""
    bench.ask_many(5, lane)
    for marker in MARKERS:
        bench.ask(f"{marker} {len(bench.sent)}", lane)
    bench.ask(f"in time {len(bench.sent)}", lane, deadline=bench.now_ms + DAY_MS)
    bench.ask(f"too late {len(bench.sent)}", lane, deadline=bench.now_ms + 1)
    cancelling.cancel_request(bench.first.context, lane, bench.ask("of no use any more", lane))


def waste(bench: Any, lane: str) -> None:
    """Let the provider answer a request that nobody is owed an answer to any more."""
    bench.ask(f"beside it {len(bench.sent)}", lane)
    gone = bench.ask(f"lost on its way {len(bench.sent)}", lane)
    bench.tick()
    bench.run("XDEL", keys.requests(lane), bench.entry_of(gone))
    bench.sent.remove(gone)


@pytest.fixture
def ran(bench: Any) -> Any:
    """A house after two days with every outcome, two tenants, three accounts, and a model without a price."""
    second = bench.settings.accounts["openai"]
    bench.settings = bench.settings.model_copy(update={"accounts": {**bench.settings.accounts, "second": second}})
    for lanes in ((CHAT, ACME), (ACME, HAIKU, SECOND)):
        for lane in lanes:
            ask_all(bench, lane)
        waste(bench, lanes[0])
        bench.drain(rounds=200)
        bench.advance(DAY_MS / 1000)
    bench.ask("no price", "openai:chat:my-own|tenant=acme")
    bench.drain(rounds=200)
    return bench


def report(bench: Any, by: Group = "model", since: date | None = None) -> Report:
    today = datetime.fromtimestamp(bench.now_ms / 1000, UTC).date()
    return build(bench.store.days.since(since or date(1970, 1, 1)), by=by, since=since, today=today)


def scraped(bench: Any) -> Counter[str]:
    """Read the figures that the metrics have, in the report's units; the exporter's floats are exact to the nano-dollar here."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings))
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            for figure, (name, label, value) in COUNTERS.items():
                if sample.name == f"batchline_{name}" and (not label or sample.labels[label] == value):
                    found[figure] += round(sample.value * NANO) if figure.endswith("_nano") else int(sample.value)
    return found


def test_the_run_has_something_of_everything(ran: Any) -> None:
    total = report(ran).total
    # The emulator's caches are never written.
    nothing = [name for name in PARTS if not getattr(total, name)]
    assert nothing == ["cache_write", "cache_extra_nano"]
    assert len(report(ran).days) == 3


def test_requests_and_tokens_equal_the_replies(ran: Any) -> None:
    total, replies = report(ran).total, ran.all_replies().values()
    assert Counter(reply.status for reply in replies) == {
        "succeeded": total.succeeded,
        "failed": total.failed,
        "cancelled": total.cancelled,
    }
    used = [reply.usage for reply in replies if reply.usage]
    assert total.output == sum(usage.output_tokens for usage in used)
    assert total.cache_read == sum(usage.cache_read_tokens for usage in used)
    assert total.input_uncached + total.cache_read == sum(usage.input_tokens for usage in used)


def test_money_equals_the_replies_to_the_nano_dollar(ran: Any) -> None:
    total, replies = report(ran).total, ran.all_replies().values()
    costs = [reply.cost for reply in replies if reply.cost]
    for kind in ("list", "paid", "saved"):
        nano = sum(int(Decimal(getattr(cost, f"{kind}_usd")) * NANO) for cost in costs)
        assert getattr(total, f"{kind}_nano") == nano
    assert total.unpriced == sum(reply.status == "succeeded" and reply.cost is None for reply in replies)


def test_paid_and_waste_together_are_what_the_provider_bills(ran: Any) -> None:
    total = report(ran).total
    assert total.paid_nano + total.wasted_nano == sum(row["paid_nano_usd"] for row in ran.bill()["models"])
    assert total.list_nano + 2 * total.wasted_nano == sum(row["list_nano_usd"] for row in ran.bill()["models"])


def test_every_figure_equals_the_ledger_of_all_time(ran: Any) -> None:
    total = report(ran).total
    for figure, begins in PARTS.items():
        counted = sum(
            n
            for ledger in ran.store.ledger.accounts()
            for field, n in ledger.fields.items()
            if field == begins or (begins.endswith(":") and field.startswith(begins))
        )
        assert (figure, getattr(total, figure)) == (figure, counted)
    assert set(PARTS) == set(Sums.__struct_fields__)


def test_every_figure_equals_the_metrics(ran: Any) -> None:
    total, metrics = report(ran).total, scraped(ran)
    for figure in COUNTERS:
        assert (figure, getattr(total, figure)) == (figure, metrics[figure])
    assert set(COUNTERS) == set(Sums.__struct_fields__)


@pytest.mark.parametrize("by", GROUPS)
def test_the_rows_add_up_to_the_same_total_whatever_they_stand_for(ran: Any, by: Group) -> None:
    found, summed = report(ran, by), Sums()
    for row in found.rows:
        summed.add_sums(row.sums)
    assert summed == found.total == report(ran).total


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", {"gpt-5-mini", "claude-haiku-4-5", "my-own"}),
        ("account", {"openai", "anthropic", "second"}),
        ("tenant", {"", "acme", "zeta"}),
        ("day", {"2026-11-18", "2026-11-19", "2026-11-20"}),
    ],
)
def test_there_is_a_row_for_each(ran: Any, by: Group, names: set[str]) -> None:
    assert {row.name for row in report(ran, by).rows} == names


def test_tenants_have_what_their_own_replies_add_up_to(ran: Any) -> None:
    rows = {row.name: row.sums for row in report(ran, "tenant").rows}
    zeta = [request for key in ran.run("KEYS", f"batchline:reply:{SECOND}:*") for request in ran.queue(key)]
    assert rows["zeta"].requests == len(zeta) == 14
    assert rows["zeta"].paid_nano == sum(int(Decimal(reply.cost.paid_usd) * NANO) for reply in zeta if reply.cost)


def test_a_report_since_the_second_day_leaves_the_first_one_out(ran: Any) -> None:
    whole, rest = report(ran, "day"), report(ran, "day", date(2026, 11, 19))
    assert [row.name for row in rest.rows] == ["2026-11-19", "2026-11-20"]
    assert whole.total.paid_nano == rest.total.paid_nano + whole.rows[0].sums.paid_nano
