"""The rules of budgets: pools and their limits, the parts a lane takes, and what answers tell of tokens."""

from __future__ import annotations

import pytest

from batchline.budgets import (
    BYTES_PER_TOKEN,
    NOTHING_OBSERVED,
    PARTS,
    SAFE,
    SLIVER,
    Pool,
    estimate,
    lower_of,
    most_in_range,
    observed,
    pool_of,
)
from batchline.settings.rules import Budget


def test_a_pool_is_named_by_its_model() -> None:
    limits = [Budget(match="gpt-*", tokens=100, requests=10)]
    assert pool_of("gpt-5-mini", limits) == Pool(name="gpt-5-mini", tokens=100, requests=10)


def test_models_that_share_a_budget_are_one_pool() -> None:
    limits = [Budget(match="claude-*", requests=10, shared=True)]
    pools = {pool_of(model, limits).name for model in ("claude-haiku-4-5", "claude-sonnet-4-6")}
    assert pools == {"claude-*"}


def test_two_shared_budgets_are_two_pools() -> None:
    limits = [Budget(match="gpt-4*", tokens=5, shared=True), Budget(match="*", tokens=9, shared=True)]
    assert [pool_of(model, limits) for model in ("gpt-4o", "gpt-5")] == [
        Pool(name="gpt-4*", tokens=5),
        Pool(name="all", tokens=9),
    ]


def test_the_first_budget_that_matches_counts() -> None:
    limits = [Budget(match="gpt-5-mini", tokens=1), Budget(match="gpt-*", tokens=2), Budget(tokens=3)]
    assert [pool_of(model, limits).tokens for model in ("gpt-5-mini", "gpt-5", "o4")] == [1, 2, 3]


def test_a_model_without_a_budget_is_a_pool_without_limits() -> None:
    assert pool_of("gpt-5", [Budget(match="o*", tokens=3)]) == Pool(name="gpt-5")


@pytest.mark.parametrize(
    ("pool", "unit"),
    [
        (Pool(name="x"), "tokens"),
        (Pool(name="x", tokens=1), "tokens"),
        (Pool(name="x", requests=1), "requests"),
        (Pool(name="x", tokens=1, requests=1), "tokens"),
    ],
)
def test_a_pool_counts_requests_only_where_that_is_its_one_limit(pool: Pool, unit: str) -> None:
    assert pool.unit == unit


@pytest.mark.parametrize(
    ("one", "other", "lower"),
    [
        (Pool(name="x"), Pool(name="x"), Pool(name="x")),
        (Pool(name="x", tokens=5), Pool(name="x"), Pool(name="x", tokens=5)),
        (Pool(name="x"), Pool(name="x", requests=5), Pool(name="x", requests=5)),
        (
            Pool(name="x", tokens=5, requests=1),
            Pool(name="x", tokens=4, requests=2),
            Pool(name="x", tokens=4, requests=1),
        ),
    ],
)
def test_of_two_limits_each_the_lower_counts_and_none_is_no_limit(one: Pool, other: Pool, lower: Pool) -> None:
    assert lower_of(one, other) == lower_of(other, one) == lower


def test_a_lane_fills_its_budget_with_whole_batches_and_leaves_the_sliver() -> None:
    part = most_in_range(2_000_000)
    assert part == 475_000
    assert part * PARTS == 2_000_000 * (1 - SLIVER)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_range_may_always_have_one(limit: int) -> None:
    assert most_in_range(limit) == 1


def test_without_a_limit_a_range_has_none() -> None:
    assert most_in_range(None) is None


@pytest.mark.parametrize(
    ("size", "per_token", "tokens"), [(0, 4.0, 0), (1, 4.0, 1), (8, 4.0, 2), (9, 4.0, 3), (9, 0.5, 18)]
)
def test_an_estimate_is_rounded_up(size: int, per_token: float, tokens: int) -> None:
    assert estimate(size, per_token) == tokens


def test_an_estimate_without_figures_of_a_lane_takes_the_usual_ones() -> None:
    assert estimate(400, 0.0) == 400 / BYTES_PER_TOKEN


def test_what_answers_tell_is_on_the_safe_side() -> None:
    told = observed(rows=100, succeeded=100, body_bytes=40_000, input_tokens=8_000)
    assert told.per_token == pytest.approx(SAFE * 5.0)
    assert estimate(40_000, told.per_token) > 8_000


def test_rows_that_failed_used_nothing_and_so_their_bytes_do_not_count() -> None:
    told = observed(rows=100, succeeded=90, body_bytes=40_000, input_tokens=7_200)
    assert told.per_token == pytest.approx(SAFE * 5.0)


def test_a_batch_of_which_a_tenth_failed_tells_something_and_one_more_makes_it_nothing() -> None:
    assert observed(rows=100, succeeded=90, body_bytes=400, input_tokens=100) != NOTHING_OBSERVED
    assert observed(rows=100, succeeded=89, body_bytes=400, input_tokens=100) == NOTHING_OBSERVED


@pytest.mark.parametrize(("rows", "tokens"), [(0, 10), (10, 0)])
def test_without_rows_or_usage_a_batch_tells_nothing(rows: int, tokens: int) -> None:
    assert observed(rows=rows, succeeded=rows, body_bytes=400, input_tokens=tokens) == NOTHING_OBSERVED


def test_a_large_batch_weighs_more_than_a_small_one() -> None:
    weights = [
        observed(rows=rows, succeeded=rows, body_bytes=rows, input_tokens=rows).weight for rows in (1, 100, 10_000)
    ]
    assert weights == sorted(weights)
    assert weights[1] == 0.5
    assert 0 < weights[0] < 0.01
    assert 0.99 < weights[2] < 1
