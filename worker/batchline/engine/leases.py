"""Keep the lease on a batch while a long step runs: a small thread renews it until the step is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from batchline.engine.context import Context
from batchline.errors import LeaseLost, StoreError
from batchline.store import Store
from batchline.store.records import Batch


def kept(context: Context, batch: Batch, *, stoppable: bool = False) -> LeaseKeeper:
    """Keep the lease on a batch for as long as a ``with`` block runs. ``stoppable``: ``check`` also tells of the worker's end."""
    return LeaseKeeper(
        context.store,
        batch,
        lease_s=context.settings.lease_seconds,
        stopping=context.shutdown.check if stoppable else _nothing,
        beat=context.pulse.of_this_thread(),
    )


def _nothing() -> None:
    pass


class LeaseKeeper:
    """Renews a batch's lease every third of its length. ``check`` raises LeaseLost once it is gone, and what ``stopping`` raises.

    A store that does not answer is no loss by itself: the next renewal tells. Whether a write still counts is decided by
    its fence in the store, never here; this only saves work. Each turn beats the pulse where the loop itself runs the step: it takes long and is alive.
    """

    def __init__(
        self,
        store: Store,
        batch: Batch,
        *,
        lease_s: float,
        stopping: Callable[[], None] = _nothing,
        beat: Callable[[], None] = _nothing,
    ) -> None:
        self._store = store
        self._batch = batch
        self._interval_s = lease_s / 3
        self._stopping = stopping
        self._beat = beat
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{batch.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop renewing; the lease then runs out by itself, or is given back."""
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost when somebody else has taken the batch over, Stopping when this worker was asked to end."""
        if self._lost.is_set():
            raise LeaseLost(f"batch {self._batch.id}: the lease was lost while working on it")
        self._stopping()

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            self._beat()
            try:
                self._store.batches.renew(self._batch)
            except LeaseLost:
                self._lost.set()
                return
            except StoreError:
                continue
