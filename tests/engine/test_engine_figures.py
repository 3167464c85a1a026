"""The exporter's figures after a run equal the ledger's and the replies' sums, and those while it runs add up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from batchline.exporter import StoreCollector

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"


def scrape(bench: Any) -> dict[str, float]:
    """Read the metrics as Prometheus would: sample name and labels to value."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        sample.name + "".join(f" {sample.labels[name]}" for name in sorted(sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def total(samples: dict[str, float], name: str, *words: str) -> float:
    """Sum the samples of a name whose labels hold all these words."""
    return sum(
        value for key, value in samples.items() if key.split(" ")[0] == name and set(words) <= set(key.split(" "))
    )


@pytest.fixture
def ran(bench: Any) -> Any:
    """A house after a run with every outcome."""
    for lane in (CHAT, HAIKU):
        bench.ask_many(7, lane)
        for marker in ("[[reject]]", "[[fail]]", "[[expire-once]]", "[[cached]] and more text"):
            bench.ask(marker, lane)
    bench.ask("no price", "openai:chat:my-own")
    bench.drain(rounds=200)
    return bench


def test_settled_requests_equal_the_replies(ran: Any) -> None:
    samples = scrape(ran)
    counted = Counter(reply.status for reply in ran.all_replies().values())
    for status in ("succeeded", "failed", "cancelled"):
        assert total(samples, "batchline_requests_settled_total", status) == counted[status]


def test_money_equals_the_replies_to_the_nano_dollar(ran: Any) -> None:
    samples = scrape(ran)
    costs = [reply.cost for reply in ran.all_replies().values() if reply.cost]
    for kind in ("list", "paid", "saved"):
        nano = sum(round(float(getattr(cost, f"{kind}_usd")) * 1e9) for cost in costs)
        assert round(total(samples, f"batchline_{kind}_usd_total") * 1e9) == nano > 0


def test_tokens_equal_the_replies(ran: Any) -> None:
    samples = scrape(ran)
    used = [reply.usage for reply in ran.all_replies().values() if reply.usage]
    assert total(samples, "batchline_tokens_total", "output") == sum(usage.output_tokens for usage in used)
    assert total(samples, "batchline_tokens_total", "cache_read") == sum(usage.cache_read_tokens for usage in used) > 0
    inputs = sum(
        total(samples, "batchline_tokens_total", kind) for kind in ("input_uncached", "cache_read", "cache_write")
    )
    assert inputs == sum(usage.input_tokens for usage in used)


def test_latency_counts_every_reply_once(ran: Any) -> None:
    samples = scrape(ran)
    replies = ran.all_replies().values()
    assert total(samples, "batchline_request_latency_seconds_count") == len(replies)
    seconds = sum(reply.timing.settled - reply.timing.enqueued for reply in replies) / 1000
    assert total(samples, "batchline_request_latency_seconds_sum") == pytest.approx(seconds)


def test_retries_and_unpriced_are_counted(ran: Any) -> None:
    samples = scrape(ran)
    assert total(samples, "batchline_request_retries_total", "expired") == 2
    assert total(samples, "batchline_request_retries_total", "provider_error") == 4
    assert total(samples, "batchline_unpriced_requests_total") == 1


def test_batches_are_counted_by_trigger_and_size(ran: Any) -> None:
    samples = scrape(ran)
    ended = [batch for batch in ran.batches() if batch.rows]
    assert total(samples, "batchline_batches_cut_total", "age") == len(ran.batches())
    assert total(samples, "batchline_batch_requests_count") == len(ended)
    assert total(samples, "batchline_batch_requests_sum") == sum(batch.rows for batch in ended)
    assert total(samples, "batchline_batch_turnaround_seconds_count") == len(ended)


def test_when_all_is_done_nothing_is_pending_or_in_flight(ran: Any) -> None:
    samples = scrape(ran)
    assert total(samples, "batchline_requests_enqueued_total") == len(ran.sent)
    assert total(samples, "batchline_requests_pending") == 0
    assert total(samples, "batchline_requests_in_flight") == 0
    assert total(samples, "batchline_batches") == 0


def test_pending_and_in_flight_tell_where_requests_are(bench: Any) -> None:
    bench.ask_many(3)
    bench.tick()
    bench.set("flush", max_age=3600.0)
    bench.ask_many(4)
    bench.tick()
    samples = scrape(bench)
    assert total(samples, "batchline_requests_in_flight") == 3
    assert total(samples, "batchline_requests_pending") == 4
    assert total(samples, "batchline_batches", "submitted") == 1


def test_a_retried_request_is_pending_again(bench: Any) -> None:
    bench.ask("[[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    samples = scrape(bench)
    assert (total(samples, "batchline_requests_pending"), total(samples, "batchline_requests_in_flight")) == (1, 0)


def test_a_duplicate_row_is_no_waste_that_the_provider_bills(bench: Any) -> None:
    bench.ask("[[duplicate]]")
    bench.drain()
    assert total(scrape(bench), "batchline_wasted_usd_total") == 0
