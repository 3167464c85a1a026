"""How a step goes wrong: it dies, loses a reply, freezes, or sends everything twice, at the nth call that leaves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from batchline.errors import Ambiguous, Retryable, StoreUnreachable
from batchline.store import Store

PATIENCE_S = 60.0
"""After this a thread of ours is stuck, and the test with it."""

Action = Literal["die_before", "die_after", "lose_before", "lose_after", "freeze_before", "freeze_after", "twice"]


@dataclass(frozen=True)
class Fault:
    """What happens at the nth call of a step; ``twice`` happens at each."""

    action: Action
    nth: int


class Death(BaseException):
    """The process ends right here: no handler of the engine may catch it."""


class Frozen:
    """A step that stands still in a thread of its own until it is thawed."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.at = ""
        self.error: BaseException | None = None
        self._work = work
        self._still = threading.Event()
        self._go = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> bool:
        """Run until the step freezes; False when it ended instead."""
        self._thread.start()
        assert self._still.wait(PATIENCE_S), "a step neither froze nor ended"
        return bool(self.at)

    def freeze(self, at: str) -> None:
        """Stand still; called by the step itself."""
        self.at = at
        self._still.set()
        self._go.wait()

    def thaw(self) -> None:
        """Let the step run to its end."""
        self._go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"a step that was frozen at {self.at} does not end"

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever thaws
            self.error = error
        self._still.set()


class Faults:
    """Stands before the store's connection and the providers. One step runs at a time, so one fault is armed at a time."""

    def __init__(self, on_intent: Callable[[str], None]) -> None:
        self._armed: Fault | None = None
        self._count = 0
        self._on_intent = on_intent
        self.frozen: Frozen | None = None

    def arm(self, fault: Fault | None) -> None:
        """Arm a fault for the next step, or none."""
        self._armed, self._count = fault, 0

    def store(self, store: Store) -> Store:
        """Put the faults before all that leaves for the store; what only asks for its state is left alone."""
        connection: Any = store.connection
        for method in ("call", "call_many", "call_then", "run", "run_many"):
            setattr(connection, method, self._before_store(getattr(connection, method)))
        return store

    def _before_store(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: Any, *args: Any, **named: Any) -> Any:
            if name == "INFO":
                return real(name, *args, **named)

            def send() -> Any:
                answer = real(name, *args, **named)
                if name == "intent":
                    self._on_intent(args[0][0])
                return answer

            repeatable = real.__name__ in {"call", "call_many", "call_then"}
            lost = StoreUnreachable("the reply was lost")
            return self._come_by(f"script {name}", send, lost, repeatable=repeatable)

        return call

    def provider(self, real: Any) -> Any:
        """Put the faults before a provider's calls."""
        return _Provider(real, self)

    def provider_call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call of a provider with the faults before it."""

        def call(*args: Any, **named: Any) -> Any:
            kind = Ambiguous if name == "create" else Retryable
            lost = kind("the reply was lost", account="fake", call=name)
            return self._come_by(f"provider {name}", lambda: real(*args, **named), lost, repeatable=False)

        return call

    def _come_by(self, at: str, send: Callable[[], Any], lost: Exception, *, repeatable: bool) -> Any:
        self._count += 1
        fault = self._armed
        if fault and fault.action == "twice":
            if repeatable:
                send()
            return send()
        if fault is None or fault.nth != self._count:
            return send()
        self._armed = None
        self._act(fault.action, "before", at, lost)
        answer = send()
        self._act(fault.action, "after", at, lost)
        return answer

    def _act(self, action: str, side: str, at: str, lost: Exception) -> None:
        kind, _, when = action.partition("_")
        if when != side:
            return
        if kind == "die":
            raise Death(f"{side} {at}")
        if kind == "lose":
            raise lost
        assert self.frozen is not None
        self.frozen.freeze(f"{side} {at}")


class _Provider:
    def __init__(self, real: Any, faults: Faults) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._faults.provider_call(name, real) if callable(real) and name != "render" else real
