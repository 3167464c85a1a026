"""Budgets as people see them: under which name each stands, what of it is used, and which limit holds now."""

from __future__ import annotations

from typing import Any

import pytest

from batchline import pools
from batchline.budgets import ALL, Pool
from batchline.settings import Account
from batchline.settings.rules import Budget
from batchline.store.accounts import AccountFacts, PoolUse

MINI, SMALL = "gpt-5-mini", "text-embedding-3-small"


def facts(**pools_used: Any) -> AccountFacts:
    return AccountFacts(
        name="main",
        batches=2,
        requests=sum(use.requests for use in pools_used.values()),
        tokens=sum(use.tokens for use in pools_used.values()),
        creates=5,
        pools={name.replace("_", "-").replace("any", "*"): use for name, use in pools_used.items()},
    )


def account(*budgets: Budget, provider: str = "openai") -> Account:
    return Account.model_validate({"provider": provider, "budgets": budgets or None})


def told(found: list[pools.Use]) -> dict[tuple[str, str], tuple[int, int | None]]:
    return {(use.model, use.unit): (use.used, use.limit) for use in found}


def test_a_model_of_its_own_stands_under_its_name_with_what_is_configured() -> None:
    found = told(
        pools.uses(facts(gpt_5_mini=PoolUse(tokens=7, requests=2)), account(Budget(match="gpt-*", tokens=9)), [])
    )
    assert (found[MINI, "tokens"], found[MINI, "requests"]) == ((7, 9), (2, None))


def test_a_model_with_nothing_open_stands_at_zero_with_its_limit() -> None:
    found = told(pools.uses(facts(), account(Budget(match="*", tokens=9)), [MINI]))
    assert found[MINI, "tokens"] == (0, 9)


def test_the_account_as_a_whole_has_its_own_limits() -> None:
    found = told(pools.uses(facts(gpt_5_mini=PoolUse(tokens=7, requests=2)), account(), []))
    assert found[ALL, "batches"] == (2, 100)
    assert found[ALL, "creates"] == (5, 2000)
    assert (found[ALL, "tokens"], found[ALL, "requests"]) == ((7, None), (2, None))


def test_a_budget_that_all_models_share_is_the_accounts() -> None:
    shared = account(Budget(match="*", requests=10, shared=True), provider="anthropic")
    found = told(pools.uses(facts(all=PoolUse(requests=4)), shared, ["claude-haiku-4-5"]))
    assert found[ALL, "requests"] == (4, 10)
    assert len(found) == 4


def test_a_budget_that_some_models_share_stands_under_its_pattern() -> None:
    used = facts(text_embedding_any=PoolUse(requests=4), gpt_5_mini=PoolUse(requests=3))
    found = told(pools.uses(used, account(), [MINI, SMALL]))
    assert found["text-embedding-*", "requests"] == (4, 1_000_000)
    assert found[MINI, "requests"] == (3, None)
    assert found[ALL, "requests"] == (7, None)


@pytest.mark.parametrize(
    ("believed", "configured", "limit", "until"),
    [(5, 9, 5, 77), (9, 5, 5, 0), (5, None, 5, 77), (None, 9, 9, 0)],
    ids=["lower", "higher", "none is configured", "of another unit"],
)
def test_the_lower_limit_holds_and_says_until_when_it_is_believed(
    believed: int | None, configured: int | None, limit: int, until: int
) -> None:
    use = PoolUse(tokens=1, believed=Pool(name=MINI, tokens=believed, requests=None), believed_until=77)
    budgets = Budget(match="*", tokens=configured) if configured else Budget(match="*", requests=8)
    (found,) = (
        each
        for each in pools.uses(facts(gpt_5_mini=use), account(budgets), [])
        if (each.model, each.unit) == (MINI, "tokens")
    )
    assert (found.limit, found.believed_until) == (limit, until)


def test_two_shared_budgets_stand_under_their_patterns_with_their_own_limits() -> None:
    two = account(Budget(match="a-*", tokens=9, shared=True), Budget(match="b-*", tokens=5, shared=True))
    found = told(pools.uses(facts(a_any=PoolUse(tokens=4)), two, ["b-1"]))
    assert (found["a-*", "tokens"], found["b-*", "tokens"]) == ((4, 9), (0, 5))


def test_a_budget_that_the_rest_of_the_models_share_is_not_the_account_as_a_whole() -> None:
    rest = account(Budget(match="a-*", tokens=9), Budget(match="*", tokens=5, shared=True))
    found = told(pools.uses(facts(all=PoolUse(tokens=4), a_1=PoolUse(tokens=3)), rest, []))
    assert (found["*", "tokens"], found["a-1", "tokens"]) == ((4, 5), (3, 9))
    assert found[ALL, "tokens"] == (7, None)


def test_what_is_open_of_a_shared_budget_that_was_taken_away_has_no_name() -> None:
    found = pools.uses(facts(all=PoolUse(tokens=4)), account(Budget(match="*", tokens=9)), [])
    assert {use.model for use in found} == {ALL}
    assert told(found)[ALL, "tokens"] == (4, None)
