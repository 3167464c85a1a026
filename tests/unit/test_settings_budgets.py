"""Budgets: an account's own before those that its provider documents, and those that lanes of a pattern share."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchline.budgets import Pool
from batchline.engine.context import target
from batchline.errors import UsageError
from batchline.providers import budgets_of, facts
from batchline.settings import Account, Settings, load_settings
from batchline.settings.rules import Budget

CHAT, EMBEDDINGS = "openai:chat:gpt-5-mini", "openai:embeddings:text-embedding-3-small"


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings({}, file)


def limits(settings: Settings, lane: str) -> tuple[int | None, int | None]:
    pool: Pool = target(settings, lane).pool
    return pool.tokens, pool.requests


def test_an_accounts_own_budget_takes_none_from_the_providers_other_models(tmp_path: Path) -> None:
    settings = load(tmp_path, "accounts: {openai: {budgets: [{match: 'gpt-5*', tokens: 9}]}}")
    assert limits(settings, CHAT) == (9, None)
    assert limits(settings, EMBEDDINGS) == limits(load(tmp_path, ""), EMBEDDINGS) == (None, 1_000_000)
    assert limits(settings, "openai:chat:o4-mini") == (None, None)


def test_an_accounts_own_budget_comes_before_the_providers(tmp_path: Path) -> None:
    settings = load(tmp_path, "accounts: {anthropic: {budgets: [{requests: 300000, shared: true}]}}")
    assert limits(settings, "anthropic:messages:claude-haiku-4-5") == (None, 300_000)
    settings = load(tmp_path, "accounts: {gemini: {budgets: [{match: '*pro*', tokens: 9}]}}")
    assert limits(settings, "gemini:generate:gemini-2.5-pro") == (9, None)
    assert limits(settings, "gemini:generate:gemini-2.5-flash") == (3_000_000, None)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_an_empty_list_is_no_budget_and_none_at_all_is_the_providers(provider: str) -> None:
    assert budgets_of(Account.model_validate({"provider": provider, "budgets": []})) == ()
    assert budgets_of(Account.model_validate({"provider": provider})) == facts(provider).budgets
    own = Budget(match="m", tokens=1)
    one = Account.model_validate({"provider": provider, "budgets": [own]})
    assert budgets_of(one) == (own, *facts(provider).budgets)


# --- of lanes ---


def test_lanes_of_a_pattern_have_its_budget_in_place_of_their_accounts(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "accounts: {openai: {budgets: [{tokens: 9}]}}\nlanes: [{match: '*|tenant=acme', budget: {tokens: 5, requests: 2}}]",
    )
    assert limits(settings, f"{CHAT}|tenant=acme") == limits(settings, f"{EMBEDDINGS}|tenant=acme") == (5, 2)
    assert limits(settings, CHAT) == limits(settings, f"{CHAT}|tenant=other") == (9, None)


def test_lanes_of_a_pattern_are_one_pool_of_a_name_that_no_model_has(tmp_path: Path) -> None:
    settings = load(tmp_path, "lanes: [{match: 'openai:*|tenant=acme', budget: {tokens: 5}}]")
    names = {target(settings, f"{lane}|tenant=acme").pool.name for lane in (CHAT, EMBEDDINGS)}
    assert len(names) == 1
    assert " " in (name := names.pop())
    assert "|" not in name


def test_of_several_patterns_the_later_one_with_a_budget_wins(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "lanes:\n- {match: 'openai:*', budget: {tokens: 5}}\n- {match: 'openai:chat:*', budget: {requests: 7}}\n- {match: '*', flush: {max_age: 1m}}",
    )
    assert limits(settings, CHAT) == (None, 7)
    assert limits(settings, EMBEDDINGS) == (5, None)


def test_a_budget_of_lanes_limits_something(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"s[.]yaml:1: lanes\[0\][.]budget: a budget limits tokens or requests"):
        load(tmp_path, "lanes: [{match: '*', budget: {}}]")
