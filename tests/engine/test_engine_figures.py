"""The exporter's figures after a run equal the ledger's and the replies' sums, and those while it runs add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from batchline import runtime
from batchline.emulator.transport_faults import Fault
from batchline.errors import ProviderError
from batchline.exporter import StoreCollector
from batchline.providers import make_provider
from batchline.providers.protocol import AccountAccess
from batchline.providers.watched import Watched, code_of
from batchline.runtime import _count
from batchline.settings import Account
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"


def page(bench: Any) -> str:
    """Return the exporter's page at the bench's time."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings, clock=lambda: bench.now_ms))
    return generate_latest(registry).decode()


def scrape(bench: Any) -> dict[str, float]:
    """Read the metrics as Prometheus would: sample name and labels to value."""
    families = text_string_to_metric_families(page(bench))
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


def names(bench: Any) -> dict[str, float]:
    """Return how many requests were enqueued by each model that has a name."""
    lane = "batchline_requests_enqueued_total openai chat "
    return {key.removeprefix(lane): value for key, value in scrape(bench).items() if key.startswith(lane)}


def test_a_lane_that_is_set_aside_takes_no_count_with_it(bench: Any) -> None:
    bench.ask_many(50)
    bench.drain()
    bench.set("limits", max_lanes=1)
    bench.ask("x", CHAT + "|tenant=late")
    before = scrape(bench)
    bench.tick()
    after = scrape(bench)
    assert total(before, "batchline_requests_pending") == 1
    assert total(after, "batchline_lanes_aside") == 1
    enqueued = [total(each, "batchline_requests_enqueued_total") for each in (before, after)]
    assert enqueued == [50, 50]


def test_a_model_keeps_its_name_when_another_is_cut_first(bench: Any) -> None:
    bench.set("metrics", max_models=1)
    bench.set("flush", max_age=3600.0)
    for model in ("gpt-b", "gpt-a"):
        bench.ask("q", f"openai:chat:{model}")
        bench.tick()
    assert names(bench) == {"gpt-b": 1, "other": 1}
    bench.ask_many(3, "openai:chat:gpt-a")
    bench.set("flush", max_age=3600.0, max_requests=3)
    bench.tick()
    assert total(scrape(bench), "batchline_batches_cut_total", "other") == 1
    assert names(bench) == {"gpt-b": 1, "other": 4}


def test_a_model_keeps_its_name_when_another_is_first_used_by_a_clock_that_is_behind(bench: Any) -> None:
    bench.set("metrics", max_models=1)
    bench.ask("q", "openai:chat:gpt-b")
    bench.tick()
    bench.now_ms -= 120_000
    bench.ask("q", "openai:chat:gpt-a")
    bench.tick()
    assert names(bench) == {"gpt-b": 1, "other": 1}


def test_requests_of_a_model_that_no_worker_has_walked_yet_are_pending_and_not_counted(bench: Any) -> None:
    bench.ask_many(2)
    assert total(scrape(bench), "batchline_requests_pending", "gpt-5-mini") == 2
    assert names(bench) == {"gpt-5-mini": 0}
    bench.set("flush", max_age=3600.0)
    bench.tick()
    assert names(bench) == {"gpt-5-mini": 2}


# --- batches: what went wrong in them, and what may ---


def buckets(samples: dict[str, float], name: str, lane: str = CHAT) -> dict[str, float]:
    """Return how many observations of a lane lie under each bound."""
    account, endpoint, model = lane.split(":", 2)
    prefix, suffix = f"{name}_bucket {account} {endpoint} ", f" {model}"
    return {
        key.removeprefix(prefix).removesuffix(suffix): value
        for key, value in samples.items()
        if key.startswith(prefix) and key.endswith(suffix)
    }


@pytest.mark.parametrize(
    ("texts", "under", "over"),
    [
        (["a", "b"], "0.0", None),
        (["a", "[[reject]]"], "0.5", "0.25"),
        (["[[reject]]", "[[reject]] too"], "1.0", "0.5"),
        (["a", "b", "c", "[[fail-once]]"], "0.25", "0.1"),
    ],
    ids=["none", "half", "all", "one goes again"],
)
def test_the_error_ratio_is_of_the_batch_that_finished(
    bench: Any, texts: list[str], under: str, over: str | None
) -> None:
    for text in texts:
        bench.ask(text)
    bench.tick()
    bench.advance(10)
    bench.tick()
    found = buckets(scrape(bench), "batchline_batch_error_ratio")
    assert (found[under], found[over] if over else 0) == (1, 0)


def test_cache_savings_equal_the_replies_at_the_lanes_prices(bench: Any) -> None:
    for n in range(5):
        bench.ask("[[cached]] " + "a long prompt " * (100 + n))
    bench.drain()
    samples = scrape(bench)
    cached = sum(reply.usage.cache_read_tokens for reply in bench.all_replies().values())
    # gpt-5-mini in a batch: 0.125 a million tokens of input, 0.0125 of cached input.
    assert total(samples, "batchline_cache_saved_usd_total") == pytest.approx(cached * 0.1125e-6, abs=5e-9)
    assert total(samples, "batchline_cache_extra_usd_total") == 0


def test_results_that_may_vanish_are_told_until_they_are_settled(bench: Any) -> None:
    bench.ask_many(2, HAIKU)
    bench.tick()
    kept_s = bench.providers["anthropic"].results_kept_s
    assert (
        total(scrape(bench), "batchline_results_expire_timestamp_seconds", "anthropic") == bench.now_ms / 1000 + kept_s
    )
    bench.drain()
    assert total(scrape(bench), "batchline_results_expire_timestamp_seconds") == 0


def test_a_batch_without_progress_is_stuck_until_it_is_settled(bench: Any) -> None:
    bench.start(latency_s=80_000.0)
    bench.set("stuck", after=3600.0)
    bench.ask_many(2)
    bench.tick()
    for seconds in (10, 3500):
        bench.advance(seconds)
        bench.tick()
        assert total(scrape(bench), "batchline_batches_stuck") == 0
    bench.advance(1000)
    bench.tick()
    assert total(scrape(bench), "batchline_batches_stuck", "gpt-5-mini") == 1
    bench.drain(step_s=10_000)
    assert total(scrape(bench), "batchline_batches_stuck") == 0


@pytest.mark.parametrize(
    ("lane", "hours"), [(CHAT, 24), (HAIKU, 24), ("gemini:generate:gemini-2.5-flash", 48)], ids=str
)
def test_a_batch_is_overdue_after_its_own_providers_window_until_it_is_settled(
    bench: Any, lane: str, hours: int
) -> None:
    bench.ask_many(2, lane)
    bench.tick()
    bench.advance(hours * 3600 - 1)
    assert total(scrape(bench), "batchline_batches_overdue_seconds") == 0
    # No worker looks meanwhile: the provider has long ended it.
    bench.advance(3 * 3600 + 1)
    assert total(scrape(bench), "batchline_batches_overdue_seconds", *lane.split(":")) == pytest.approx(3 * 3600, abs=2)
    bench.drain()
    assert total(scrape(bench), "batchline_batches_overdue_seconds") == 0


def test_an_accounts_room_is_taken_by_what_is_away(bench: Any) -> None:
    bench.set("account", max_open_batches=5)
    bench.ask_many(3)
    bench.tick()
    samples = scrape(bench)
    used = {
        unit: total(samples, "batchline_budget_used", "openai", "all", unit)
        for unit in ("requests", "batches", "creates")
    }
    assert used == {"requests": 3, "batches": 1, "creates": 1}
    assert total(samples, "batchline_budget_used", "openai", "tokens") > 0
    assert total(samples, "batchline_budget_limit", "openai", "batches") == 5
    bench.drain()
    assert total(scrape(bench), "batchline_budget_used", "batches") == 0


def test_files_wait_for_their_deletion(bench: Any) -> None:
    bench.ask_many(2)
    bench.drain()
    waiting = total(scrape(bench), "batchline_provider_files", "openai")
    assert waiting == bench.run("ZCARD", keys.FILES) >= 2
    bench.advance(2 * 3600)
    bench.tick()
    assert total(scrape(bench), "batchline_provider_files") == 0


def test_deadlines_are_met_or_missed_when_the_reply_is_there(bench: Any) -> None:
    bench.ask("in time", deadline=bench.now_ms + 3_600_000)
    bench.ask("too late", deadline=bench.now_ms + 1)
    bench.ask("whenever")
    bench.drain()
    samples = scrape(bench)
    met, missed = (total(samples, f"batchline_deadlines_{end}_total") for end in ("met", "missed"))
    assert (met, missed) == (1, 1)


def test_callbacks_tell_what_became_of_each_reply(bench: Any) -> None:
    bench.run("SET", keys.reply_list("taken"), "no list")
    bench.run("SET", keys.reply_default(CHAT, "homeless"), "no list")
    bench.ask("to its default", reply_to="taken")
    bench.ask("to nobody", id="homeless", reply_to="taken")
    bench.ask("to a stream", reply_to="stream:out")
    bench.ask_many(3)
    bench.drain()
    samples = scrape(bench)
    told = {
        (kind, outcome): total(samples, "batchline_callbacks_total", kind, outcome)
        for kind, outcome in (
            ("list", "delivered"),
            ("list", "default"),
            ("list", "undelivered"),
            ("stream", "delivered"),
        )
    }
    assert list(told.values()) == [3, 1, 1, 1]
    assert total(samples, "batchline_undelivered_replies") == 1


def test_days_add_up_to_the_metrics(ran: Any) -> None:
    samples = scrape(ran)
    found = list(ran.store.days.since(date(2026, 1, 1)))
    settled = sum(day.get(f"settled:{status}:batch") for day in found for status in ("succeeded", "failed"))
    assert settled == total(samples, "batchline_requests_settled_total")
    paid = sum(day.get("paid_nano:batch") for day in found)
    assert paid == round(total(samples, "batchline_paid_usd_total") * 1e9) > 0
    assert sum(day.get("batches") for day in found) == total(samples, "batchline_batch_requests_count")


# --- provider errors ---


def errors(bench: Any) -> dict[tuple[str, ...], float]:
    """Return account, call and code of each kind of failed call that was counted."""
    found = {}
    for family in text_string_to_metric_families(page(bench)):
        for sample in family.samples:
            if sample.name == "batchline_provider_errors_total" and sample.value:
                found[tuple(sample.labels[name] for name in ("account", "call", "code"))] = sample.value
    return found


@pytest.fixture
def watched(bench: Any, providers: dict[str, Any]) -> Iterator[Any]:
    """A bench whose worker's OpenAI provider is watched, as in every real worker."""
    count = partial(_count, bench.store, "openai")
    bench.first.openai._real = Watched(providers["openai"], "openai", count)
    yield bench
    bench.first.openai._real = providers["openai"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"action": "rate_limit"}, "429"),
        ({"action": "error_before", "status": 500}, "500"),
        ({"action": "error_before", "status": 503}, "503"),
        ({"action": "drop_before"}, "connection"),
    ],
    ids=["rate limit", "500", "503", "broken off"],
)
def test_a_failed_poll_is_counted_by_what_the_provider_said(watched: Any, fault: dict[str, Any], code: str) -> None:
    watched.ask("a question")
    watched.tick()
    watched.emulator.transport_faults.arm(Fault(route="openai.batches.retrieve", **fault))
    watched.advance(10)
    watched.tick()
    assert errors(watched) == {("openai", "poll", code): 1}


@pytest.mark.parametrize("action", ["drop_after", "error_after"])
def test_a_create_of_unknown_end_is_an_error_and_an_ambiguous_submission(watched: Any, action: Any) -> None:
    watched.emulator.transport_faults.arm(Fault(route="openai.batches.create", action=action))
    watched.ask("a question")
    watched.tick()
    code = "connection" if action == "drop_after" else "500"
    assert errors(watched) == {("openai", "create", code): 1}
    assert total(scrape(watched), "batchline_ambiguous_submissions_total", "openai") == 1
    assert total(scrape(watched), "batchline_batches", "reconciling") == 1


def test_a_key_that_is_refused_is_counted_and_the_account_is_down(watched: Any) -> None:
    watched.start(api_key="another")
    watched.ask("a question")
    watched.tick()
    assert set(errors(watched).values()) == {1}
    assert {code for _, _, code in errors(watched)} == {"401"}
    assert total(scrape(watched), "batchline_account_down", "openai") == 1
    assert total(scrape(watched), "batchline_account_down", "anthropic") == 0


def test_a_provider_that_is_not_there_is_a_connection_that_failed(bench: Any) -> None:
    access = AccountAccess(name="openai", key=lambda: "sk-test", base_url="http://127.0.0.1:1/v1")
    provider = Watched(make_provider("openai", access), "openai", partial(_count, bench.store, "openai"))
    with pytest.raises(ProviderError):
        provider.poll("batch_1")
    assert errors(bench) == {("openai", "poll", "connection"): 1}


def test_an_account_without_a_key_is_counted_as_no_key(bench: Any) -> None:
    settings = bench.settings.model_copy(update={"accounts": {"openai": Account(provider="openai")}})
    look_up = runtime.providers(settings, count=partial(_count, bench.store))
    with pytest.raises(ProviderError):
        look_up("openai").poll("batch_1")
    assert errors(bench) == {("openai", "poll", "no_key"): 1}


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("APITimeoutError", 0, "timeout"),
        ("ReadTimeout", 0, "timeout"),
        ("ConnectTimeout", 0, "timeout"),
        ("APIConnectionError", 0, "connection"),
        ("RemoteProtocolError", 0, "connection"),
        ("unreadable_answer", 0, "unreadable_answer"),
        ("bad_line", 0, "bad_line"),
        ("something_new", 0, "other"),
        ("rate_limit_exceeded", 429, "429"),
        ("overloaded_error", 529, "529"),
    ],
)
def test_codes_are_few_whatever_a_provider_makes_up(code: str, status: int, told: str) -> None:
    assert code_of(ProviderError("what", account="openai", call="poll", code=code, status=status)) == told
