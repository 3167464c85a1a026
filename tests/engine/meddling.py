"""Calls that are broken off before or after they took effect, and processes that end in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any


class Death(BaseException):
    """The process ends right here: no handler of the engine may catch it."""


class Meddler:
    """Stands before an object and breaks off calls of its methods, before or after they took effect."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._before: dict[str, list[BaseException]] = {}
        self._after: dict[str, list[BaseException]] = {}
        self._instead: dict[str, Callable[..., Any]] = {}
        self.calls: Counter[str] = Counter()

    def break_before(self, method: str, *errors: BaseException) -> None:
        """Let the next calls of a method raise these, one after the other, without effect."""
        self._before.setdefault(method, []).extend(errors)

    def break_after(self, method: str, *errors: BaseException) -> None:
        """Let the next calls of a method raise these after they took effect."""
        self._after.setdefault(method, []).extend(errors)

    def replace(self, method: str, instead: Callable[..., Any]) -> None:
        """Call ``instead(real method, ...)`` from now on."""
        self._instead[method] = instead

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not callable(real):
            return real

        def call(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            _raise_next(self._before, name)
            instead = self._instead.get(name)
            answer = instead(real, *args, **named) if instead else real(*args, **named)
            _raise_next(self._after, name)
            return answer

        return call


def _raise_next(faults: dict[str, list[BaseException]], name: str) -> None:
    if faults.get(name):
        raise faults[name].pop(0)
