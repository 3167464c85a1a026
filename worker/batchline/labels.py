"""Which lanes and ledgers stand under which metric labels: producers choose lane names, the configuration bounds the labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from batchline.engine.context import UNCONFIGURED
from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers import facts
from batchline.settings import Settings

Labels = tuple[str, str, str]
"""Values of the labels account, endpoint and model."""

UNKNOWN: Labels = (UNCONFIGURED.account, UNCONFIGURED.endpoint, UNCONFIGURED.model)
"""Lanes without a proper name, of an account that is not configured, or of an endpoint that its provider does not have."""
OTHER = "other"
"""Stands for all models beyond ``metrics.max_models``."""


def assign(settings: Settings, bases: Iterable[str]) -> dict[str, Labels]:
    """Return the labels of each ``account:endpoint:model``, in this order.

    The first ``metrics.max_models`` models keep their names. So that a counter never moves from one series to another, the
    bases must come in an order in which new ones are added at the end.
    """
    assigned: dict[str, Labels] = {}
    models: set[str] = set()
    for base in bases:
        account, endpoint, model = _configured(settings, base)
        if (account, endpoint, model) != UNKNOWN and model not in models:
            if len(models) < settings.metrics.max_models:
                models.add(model)
            else:
                model = OTHER
        assigned[base] = (account, endpoint, model)
    return assigned


def _configured(settings: Settings, base: str) -> Labels:
    try:
        lane = parse_lane(base)
    except InvalidRequest:
        return UNKNOWN
    account = settings.accounts.get(lane.account)
    if account is None or lane.endpoint not in facts(account.provider).endpoints:
        return UNKNOWN
    return lane.account, lane.endpoint, lane.model
