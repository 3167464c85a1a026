"""The tick inside every worker: a thread that looks at what is due, one worker at a time for each role."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from batchline.engine.context import Context
from batchline.errors import BatchlineError

log = structlog.get_logger("batchline.ticker")

JITTER = 0.2


class Ticker:
    """Runs each role's tick every interval while this worker is up, unless another worker has taken it.

    The tick needs no beat process; a worker that dies only skips its turn.
    """

    def __init__(self, context: Callable[[], Context], ticks: Mapping[str, Callable[[Context], None]]) -> None:
        self._context = context
        self._ticks = ticks
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    @property
    def roles(self) -> set[str]:
        """Return the roles that are ticked for."""
        return set(self._ticks)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop before the next tick; one that runs is finished, in its own time."""
        self._over.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the tick that runs, if any."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        context = self._context()
        context.pulse.begin()
        interval_s = context.settings.tick_interval
        while not self._over.wait(interval_s * (1 - JITTER * context.dice.random())):
            for role, tick in self._ticks.items():
                context.pulse.beat()
                self._tick(context, role, tick, interval_s * (1 - JITTER))

    def _tick(self, context: Context, role: str, tick: Callable[[Context], None], seconds: float) -> None:
        try:
            if not context.store.take_tick(role, holder=context.worker, seconds=seconds):
                return
            tick(context)
            context.store.note_tick(role, context.clock())
        except BatchlineError as error:
            log.warning("tick.failed", role=role, reason=str(error))
        except Exception:
            # The tick must outlive any fault of a single one: what is due is still due at the next.
            log.exception("tick.failed", role=role)
