"""Which lanes and ledgers stand under which metric labels: producers choose lane names, the configuration bounds the labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from batchline.engine.context import UNCONFIGURED
from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers import facts_of
from batchline.settings import Settings

Labels = tuple[str, str, str]
"""Values of the labels account, endpoint and model."""

UNKNOWN: Labels = (UNCONFIGURED.account, UNCONFIGURED.endpoint, UNCONFIGURED.model)
"""Lanes without a proper name, of an account that is not configured, or of an endpoint that its provider does not have."""
OTHER = "other"
"""Stands for all models beyond ``metrics.max_models``."""


def assign(settings: Settings, listed: Iterable[str], waiting: Iterable[str] = ()) -> dict[str, Labels]:
    """Return the labels of each ``account:endpoint:model``, in this order.

    The first ``metrics.max_models`` models keep their names. So that a counter never moves from one series to another, the
    ``listed`` bases must come in an order in which new ones are added at the end. Those ``waiting`` to be listed have counted
    nothing yet: their models have names only while there is room for all of them.
    """
    most = settings.metrics.max_models
    found = {base: _configured(settings, base) for base in listed}
    named = set(list(_models(found.values()))[:most])
    late = {base: _configured(settings, base) for base in waiting if base not in found}
    together = named | _models(late.values()).keys()
    if len(together) <= most:
        named = together
    return {base: _within(named, each) for base, each in (found | late).items()}


def _models(found: Iterable[Labels]) -> dict[str, None]:
    return dict.fromkeys(each[2] for each in found if each != UNKNOWN)


def _within(named: set[str], found: Labels) -> Labels:
    account, endpoint, model = found
    return found if found == UNKNOWN or model in named else (account, endpoint, OTHER)


def _configured(settings: Settings, base: str) -> Labels:
    try:
        lane = parse_lane(base)
    except InvalidRequest:
        return UNKNOWN
    account = settings.accounts.get(lane.account)
    if account is None or lane.endpoint not in facts_of(account).endpoints:
        return UNKNOWN
    return lane.account, lane.endpoint, lane.model
