"""The budgets of an account as people see them: what is used of each, its limit, and how long a lower one is believed. Pure.

A shared budget that holds for all of an account's models stands under ``all``, as the account's own limits do; one that
holds for some of them under its pattern. Any other stands under its model; one that lanes share under their pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from batchline.budgets import ALL, Limit, Pool, lane_pool, pool_of, shared_name
from batchline.providers import budgets_of
from batchline.settings import Account, LaneBudget
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


def uses(
    facts: AccountFacts, account: Account, models: Iterable[str], lanes: Iterable[tuple[str, LaneBudget]] = ()
) -> list[Use]:
    """Return what an account uses: as a whole, and of the budgets of these models and of what it has open.

    ``lanes`` are the budgets that lanes of a pattern share, which stand under ``lanes`` and the pattern while they are in use.
    """
    budgets = budgets_of(account)
    shared = {name: limit for limit in reversed(budgets) if (name := shared_name(limit))}
    whole = bool(budgets) and shared_name(budgets[0]) == ALL
    names = dict.fromkeys([*(pool_of(model, budgets).name for model in models), *sorted(facts.pools)])
    found = _whole(facts, account, _limits(ALL, shared[ALL]) if whole else Pool(name=ALL))
    of_lanes = {lane_pool(match): (f"lanes {match}", budget) for match, budget in lanes}
    for name in names:
        if name in of_lanes:
            label, own = of_lanes[name]
            limits = Pool(name=name, tokens=own.tokens, requests=own.requests)
            found += _of_pool(facts, name, label, limits, is_model=False)
        elif name in shared and not (whole and name == ALL):
            found += _of_pool(facts, name, shared[name].match, _limits(name, shared[name]), is_model=False)
        elif name != ALL:
            found += _of_pool(facts, name, name, pool_of(name, budgets), is_model=True)
    return found


def _limits(name: str, limit: Limit) -> Pool:
    return Pool(name=name, tokens=limit.tokens, requests=limit.requests)


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
