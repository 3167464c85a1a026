"""The budgets of an account as people see them: what is used of each, its limit, and how long a lower one is believed. Pure.

A shared budget that holds for all of an account's models stands under ``all``, as the account's own limits do; one that
holds for some of them under its pattern. Any other stands under its model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from batchline.budgets import ALL, Limit, Pool, lower_of, pool_of
from batchline.providers import facts_of
from batchline.settings import Account
from batchline.store.accounts import AccountFacts, PoolUse

Unit = Literal["tokens", "requests", "batches", "creates"]
NOTHING = PoolUse()


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of one limit of an account; ``limit`` None: there is none. ``believed_until`` (unix ms): then a higher one holds again."""

    account: str
    model: str
    unit: Unit
    used: int
    limit: int | None = None
    believed_until: int = 0
    is_model: bool = False
    """Whether ``model`` is the name of one model, and not a pattern or ``all``."""


def uses(facts: AccountFacts, account: Account, models: Iterable[str]) -> list[Use]:
    """Return what an account uses: as a whole, and of the budgets of these models and of what it has open."""
    budgets = budgets_of(account)
    shared = shared_name(budgets)
    names = dict.fromkeys([*(pool_of(model, budgets).name for model in models), *sorted(facts.pools)])
    found = _whole(facts, account, _limits(ALL, budgets) if shared == ALL else Pool(name=ALL))
    for name in names:
        if name != ALL:
            found += _of_pool(facts, name, name, _limits(name, budgets), is_model=True)
        elif shared not in {"", ALL}:
            found += _of_pool(facts, name, shared, _limits(name, budgets), is_model=False)
    return found


def budgets_of(account: Account) -> Sequence[Limit]:
    """Return an account's budgets: its own, or those that its provider documents."""
    return facts_of(account).budgets if account.budgets is None else account.budgets


def shared_name(budgets: Sequence[Limit]) -> str:
    """Return under which name the shared budget of an account is shown: ``all``, or the patterns that it holds for; '' without one."""
    shared = [limit.match for limit in budgets if limit.shared]
    return ALL if shared and budgets[0].shared and budgets[0].match == "*" else ",".join(shared)


def _limits(name: str, budgets: Sequence[Limit]) -> Pool:
    """Return the configured limits of a pool; of the shared one the lowest."""
    if name != ALL:
        return pool_of(name, budgets)
    limits = Pool(name=ALL)
    for limit in budgets:
        if limit.shared:
            limits = lower_of(limits, Pool(name=ALL, tokens=limit.tokens, requests=limit.requests))
    return limits


def _whole(facts: AccountFacts, account: Account, limits: Pool) -> list[Use]:
    use = facts.pools.get(ALL, NOTHING)
    tokens, requests = (_use(facts, ALL, unit, getattr(facts, unit), limits, use) for unit in ("tokens", "requests"))
    batches = Use(account=facts.name, model=ALL, unit="batches", used=facts.batches, limit=account.max_open_batches)
    creates = Use(account=facts.name, model=ALL, unit="creates", used=facts.creates, limit=account.creates_per_hour)
    return [tokens, requests, batches, creates]


def _of_pool(facts: AccountFacts, name: str, label: str, limits: Pool, *, is_model: bool) -> list[Use]:
    use = facts.pools.get(name, NOTHING)
    return [
        _use(facts, label, "tokens", use.tokens, limits, use, is_model=is_model),
        _use(facts, label, "requests", use.requests, limits, use, is_model=is_model),
    ]


def _use(
    facts: AccountFacts, label: str, unit: Unit, used: int, limits: Pool, use: PoolUse, *, is_model: bool = False
) -> Use:
    configured: int | None = getattr(limits, unit)
    believed: int | None = getattr(use.believed, unit) if use.believed else None
    lowered = believed is not None and (configured is None or believed < configured)
    return Use(
        account=facts.name,
        model=label,
        unit=unit,
        used=used,
        limit=believed if lowered else configured,
        believed_until=use.believed_until if lowered else 0,
        is_model=is_model,
    )
