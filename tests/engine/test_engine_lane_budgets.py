"""Budgets that lanes of a pattern share: one for all of them on each account, in place of the account's own."""

from __future__ import annotations

from typing import Any

import pytest

from batchline import pools
from batchline.settings import LaneBudget, LanePattern
from batchline.settings.rules import Budget

MINI, LARGE = "openai:chat:gpt-5-mini|tenant=acme", "openai:chat:gpt-5|tenant=acme"
OTHER = "openai:chat:gpt-5-mini|tenant=other"
HAIKU = "anthropic:messages:claude-haiku-4-5|tenant=acme"
PATTERN = "*|tenant=acme"
LIMIT = 20
LONG_S = 600.0


@pytest.fixture
def house(bench: Any) -> Any:
    """A house in which the lanes of one tenant may have 20 requests at each provider, and the accounts have no budget."""
    bench.start(latency_s=LONG_S)
    bench.set("account", budgets=())
    share(bench, requests=LIMIT)
    return bench


def share(bench: Any, **limits: int) -> None:
    pattern = LanePattern(match=PATTERN, budget=LaneBudget(**limits))
    bench.settings = bench.settings.model_copy(update={"lanes": (pattern,)})


def sent(bench: Any, *lanes: str) -> int:
    """Return how many requests of these lanes are at their provider."""
    return sum(batch.rows for batch in bench.batches() if batch.state == "submitted" and batch.lane in lanes)


def test_lanes_of_a_pattern_share_one_budget(house: Any) -> None:
    house.ask_many(50, MINI)
    house.ask_many(50, LARGE)
    house.tick()
    assert 0 < sent(house, MINI, LARGE) <= LIMIT
    assert sent(house, MINI) * sent(house, LARGE) > 0
    house.drain(step_s=LONG_S / 2, rounds=100)
    assert {reply.status for reply in house.all_replies().values()} == {"succeeded"}


def test_other_lanes_of_the_same_model_are_not_held_up(house: Any) -> None:
    house.ask_many(50, MINI)
    house.ask_many(50, OTHER)
    house.tick()
    assert sent(house, OTHER) == 50
    assert sent(house, MINI) <= LIMIT


def test_each_account_has_a_budget_of_its_own_for_them(house: Any) -> None:
    house.ask_many(50, MINI)
    house.ask_many(50, HAIKU)
    house.tick()
    assert sent(house, MINI) == sent(house, HAIKU) == 16  # four times four: a quarter of 95 % each


def test_what_was_cut_before_the_pattern_had_a_budget_counts_in_it(house: Any) -> None:
    patterns = house.settings.lanes
    house.settings = house.settings.model_copy(update={"lanes": ()})
    house.ask_many(LIMIT, MINI)
    house.tick()
    house.settings = house.settings.model_copy(update={"lanes": patterns})
    house.ask_many(LIMIT, LARGE)
    house.advance(60)
    house.tick()
    assert (sent(house, MINI), sent(house, LARGE)) == (LIMIT, 0)


def test_it_takes_the_place_of_the_accounts_budget(house: Any) -> None:
    house.set("account", budgets=(Budget(match="*", requests=1),))
    house.ask_many(50, MINI)
    house.tick()
    assert sent(house, MINI) == 16


def test_it_is_shown_under_its_pattern_while_it_is_in_use(house: Any) -> None:
    house.ask_many(50, MINI)
    house.tick()
    (facts,) = house.store.accounts.facts(["openai"], now_ms=house.now_ms)
    account = house.settings.accounts["openai"]
    found = {
        (use.model, use.unit): (use.used, use.limit, use.is_model)
        for use in pools.uses(facts, account, [], house.settings.lane_budgets)
    }
    assert found[f"lanes {PATTERN}", "requests"] == (16, LIMIT, False)
    assert found["all", "requests"] == (16, None, False)
