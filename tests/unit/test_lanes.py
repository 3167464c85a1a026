"""The pure rules: lane names, when a range is due, when to poll next, how long to back off."""

from __future__ import annotations

import random

import pytest

from batchline.errors import InvalidRequest
from batchline.lanes import OpenRange, Trigger, backoff_s, due, entry_ms, lane_name, next_poll_s, parse_lane
from batchline.settings.rules import Poll

BASE = "openai:chat:gpt-5-mini"


@pytest.mark.parametrize(
    ("name", "account", "endpoint", "model"),
    [
        (BASE, "openai", "chat", "gpt-5-mini"),
        ("openai:chat:ft:gpt-5-mini:acme::abc", "openai", "chat", "ft:gpt-5-mini:acme::abc"),
        ("local:chat:meta-llama/Llama-3.1-8B@v2", "local", "chat", "meta-llama/Llama-3.1-8B@v2"),
    ],
)
def test_a_lane_is_account_endpoint_and_model(name: str, account: str, endpoint: str, model: str) -> None:
    lane = parse_lane(name)
    assert (lane.account, lane.endpoint, lane.model, lane.tenant, lane.beta) == (account, endpoint, model, None, None)
    assert lane.base == lane.name == name


def test_parts_after_a_bar_are_not_in_the_base() -> None:
    lane = parse_lane(f"{BASE}|beta=output-300k|tenant=acme")
    assert (lane.base, lane.beta, lane.tenant) == (BASE, "output-300k", "acme")


def test_parts_come_in_any_order_and_may_hold_an_equals_sign() -> None:
    lane = parse_lane(f"{BASE}|tenant=a=b|beta=x")
    assert (lane.tenant, lane.beta) == ("a=b", "x")


@pytest.mark.parametrize(
    "name",
    [
        "", "openai", "openai:chat", "openai:chat:", ":chat:m", "openai::m", f"{BASE}|", f"{BASE}|tenant", f"{BASE}|tenant=",
        f"{BASE}|color=red", f"{BASE}|tenant=a|tenant=b", f"{BASE} ", f"{BASE}\n", "openai:chat:{m}", "openai:chat:*",
        "openai:chat:ü", "openai:chat:\udcff", "openai:chat:" + "m" * 189,
    ],
)  # fmt: skip
def test_what_is_no_lane_is_refused_as_not_configured(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_lane(name)
    assert refused.value.code == "not_configured"


def test_a_lanes_name_has_at_most_200_characters() -> None:
    assert len(parse_lane("openai:chat:" + "m" * 188).name) == 200


def test_a_name_is_built_as_it_is_read() -> None:
    name = lane_name(account="openai", endpoint="chat", model="gpt-5-mini", tenant="acme", beta="x")
    assert name == f"{BASE}|beta=x|tenant=acme"
    assert parse_lane(name).tenant == "acme"


def test_a_name_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        lane_name(account="openai", endpoint="chat", model="gpt 5")


def test_an_entrys_time_is_in_its_id() -> None:
    assert entry_ms("1795000000000-12") == 1_795_000_000_000


@pytest.mark.parametrize("full", ["requests", "bytes", "tokens"])
def test_a_full_range_is_due_by_what_filled_it(full: Trigger) -> None:
    assert due(OpenRange(lane=BASE, requests=1, full=full, since_ms=1_000), max_age_s=60, now_ms=1_000) == full


@pytest.mark.parametrize(("now_ms", "trigger"), [(60_999, None), (61_000, "age"), (90_000, "age")])
def test_a_range_is_due_at_the_age_of_its_first_entry(now_ms: int, trigger: Trigger | None) -> None:
    assert due(OpenRange(lane=BASE, requests=1, since_ms=1_000), max_age_s=60, now_ms=now_ms) == trigger


def test_an_empty_range_is_never_due() -> None:
    assert due(OpenRange(lane=BASE), max_age_s=0, now_ms=10**13) is None


@pytest.mark.parametrize(("now_ms", "trigger"), [(999, None), (1_000, "age")])
def test_a_lane_is_due_when_a_retrys_time_has_come(now_ms: int, trigger: Trigger | None) -> None:
    assert due(OpenRange(lane=BASE, retry_ms=1_000), max_age_s=60, now_ms=now_ms) == trigger


def wait_s(age_s: float) -> float:
    poll = Poll()
    return next_poll_s(age_s, min_interval_s=poll.min_interval, max_interval_s=poll.max_interval)


@pytest.mark.parametrize("late_s", [0.0, 0.3, 1.0])
def test_a_batch_of_six_hours_costs_at_most_120_polls(late_s: float) -> None:
    age_s, polls = 0.0, 0
    while age_s < 6 * 3600:
        age_s += wait_s(age_s) + late_s
        polls += 1
    assert polls <= 120


@pytest.mark.parametrize("end_s", [1, 9, 60, 199, 201, 600, 3_600, 10_000, 21_600])
def test_a_batchs_end_is_seen_within_the_minimum_interval_or_5_percent_of_its_age(end_s: float) -> None:
    age_s = 0.0
    while age_s < end_s:
        age_s += wait_s(age_s)
    assert age_s - end_s <= max(Poll().min_interval, 0.05 * end_s)


def test_the_wait_is_never_longer_than_the_maximum() -> None:
    assert next_poll_s(10**6, min_interval_s=10, max_interval_s=300) == 300


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 30), (2, 60), (3, 120), (8, 3600), (10_000, 3600)])
def test_a_backoff_doubles_up_to_its_maximum_and_is_jittered_downwards_by_half(failures: int, ceiling: float) -> None:
    dice = random.Random(1)
    waits = [backoff_s(failures, min_s=30, max_s=3600, dice=dice) for _ in range(500)]
    assert ceiling / 2 <= min(waits) < ceiling * 0.52
    assert ceiling * 0.98 < max(waits) <= ceiling
