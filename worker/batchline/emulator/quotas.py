"""How much of its quotas was used at most, and what was refused because of them: part of the bill.

A worker that keeps within its budgets is never refused: a test asserts `refused == 0` and `peak <= limit`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

REQUESTS = "requests"  # Anthropic's queue: one for all models
CREATES = "creates_per_hour"


@dataclass(slots=True)
class Quota:
    """One quota: what it counts, its limit (None: none), the most that was used, and the number of refusals."""

    unit: str
    limit: int | None
    peak: int = 0
    refused: int = 0


@dataclass(slots=True)
class Quotas:
    """The quotas of all providers, by provider and name: a model, `requests` or `creates_per_hour`."""

    _quotas: dict[tuple[str, str], Quota] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def admit(self, provider: str, name: str, unit: str, used: int, limit: int | None) -> bool:
        """Note that `used` is wanted, what is in use included; return whether the quota allows that."""
        with self._lock:
            quota = self._quotas.setdefault((provider, name), Quota(unit, limit))
            if limit is not None and used > limit:
                quota.refused += 1
                return False
            quota.peak = max(quota.peak, used)
            return True

    def report(self) -> dict[str, dict[str, Any]]:
        """Return per provider and name: `unit`, `limit`, `peak` and `refused`."""
        report: dict[str, dict[str, Any]] = {}
        with self._lock:
            for (provider, name), quota in sorted(self._quotas.items()):
                numbers = {"unit": quota.unit, "limit": quota.limit, "peak": quota.peak, "refused": quota.refused}
                report.setdefault(provider, {})[name] = numbers
        return report


def limit_of(limits: Mapping[str, int], model: str) -> int | None:
    """Return the limit of `model`: its own, else that of the first pattern (shell wildcards) that matches, else None."""
    if model in limits:
        return limits[model]
    return next((limit for pattern, limit in limits.items() if fnmatchcase(model, pattern)), None)
