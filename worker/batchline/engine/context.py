"""What every step of the engine is given: settings, store, providers, and the time and dice that tests inject."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from batchline.budgets import Pool, lane_pool, pool_of, rules_of
from batchline.engine.shutdown import Shutdown
from batchline.errors import InvalidRequest
from batchline.lanes import Lane, parse_lane
from batchline.providers import Facts, budgets_of, facts_of
from batchline.providers.protocol import Endpoint, Provider
from batchline.pulse import Pulse
from batchline.settings import Account, Settings
from batchline.store import Store

UNCONFIGURED = Lane(name="", account="unknown", endpoint="unknown", model="unknown")
"""Stands in the ledger for lanes that no account answers for, so that producers cannot invent names there."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The engine's surroundings. ``clock`` gives unix ms; ``provider`` the ready provider of a configured account."""

    settings: Settings
    store: Store
    provider: Callable[[str], Provider]
    clock: Callable[[], int]
    dice: random.Random
    worker: str
    """This worker's name, in leases and logs."""
    shutdown: Shutdown = field(default_factory=Shutdown)
    """Whether this worker was asked to end."""
    pulse: Pulse = field(default_factory=Pulse)
    """Whether this worker's loops still come round."""

    def holder(self) -> str:
        """Return a lease holder's name that is unique to one claim."""
        return f"{self.worker}:{self.dice.getrandbits(64):016x}"

    def batch_id(self) -> str:
        """Return a new batch id; ids sort by the time they were made."""
        return f"b{self.clock():011x}{self.dice.getrandbits(40):010x}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A lane as the settings see it: where its requests go, or why they cannot go anywhere."""

    lane: Lane
    account: Account | None = None
    facts: Facts | None = None
    endpoint: Endpoint | None = None
    pool: Pool = Pool(name="")  # noqa: RUF009 - frozen
    """The budget that its batches count against."""
    problem: InvalidRequest | None = None

    @property
    def ready(self) -> tuple[Account, Facts, Endpoint]:
        """Return account, facts and endpoint of a configured lane. Raises the lane's problem."""
        if self.account is None or self.facts is None or self.endpoint is None:
            raise self.problem or InvalidRequest(f"lane {self.lane.name} is not configured", code="not_configured")
        return self.account, self.facts, self.endpoint


def target(settings: Settings, name: str) -> Target:
    """Find where a lane's requests go; never raises: a lane that is not configured says why in ``problem``."""
    try:
        return _find(settings, name)
    except InvalidRequest as problem:
        return Target(lane=msgspec.structs.replace(UNCONFIGURED, name=name), problem=problem)


def _find(settings: Settings, name: str) -> Target:
    lane = parse_lane(name)
    account = settings.accounts.get(lane.account)
    if account is None:
        raise InvalidRequest(
            f"lane {name}: there is no account {lane.account!r} in the settings", code="not_configured"
        )
    known = facts_of(account)
    endpoint = known.endpoints.get(lane.endpoint)
    if endpoint is None:
        raise InvalidRequest(
            f"lane {name}: {account.provider} has no endpoint {lane.endpoint!r}; known are {', '.join(known.endpoints)}",
            code="not_configured",
        )
    return Target(lane=lane, account=account, facts=known, endpoint=endpoint, pool=_pool(settings, lane, account))


def _pool(settings: Settings, lane: Lane, account: Account) -> Pool:
    """Return the budget that a lane counts in: one that it shares with others of a pattern, else its account's."""
    budgets = budgets_of(account)
    rules = rules_of(tuple(budgets), tuple(match for match, _ in settings.lane_budgets))
    if (shared := settings.budget_for(lane.name)) is None:
        return msgspec.structs.replace(pool_of(lane.model, budgets), rules=rules)
    match, limits = shared
    return Pool(name=lane_pool(match), tokens=limits.tokens, requests=limits.requests, rules=rules)
