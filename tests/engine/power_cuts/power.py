"""A store that can lose its power, and what tests of that share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchline.local.store_process import StoreProcess

TORN = 9
"""Bytes of the next command that are left at the end of the file: the store drops them when it starts."""


class Power:
    """A store process whose append-only file can be cut back."""

    def __init__(self, folder: Path) -> None:
        # Every command is in the file before it is answered, so its size says what happened before; what is cut off, and
        # not this setting, decides what is lost.
        self.process = StoreProcess(folder, binary=os.environ.get("TEST_STORE_SERVER"), fsync="always").start()

    @property
    def file(self) -> Path:
        """The append-only file that is written to now."""
        return max((self.process.folder / "appendonlydir").glob("*.incr.aof"))

    def now(self) -> int:
        """Return how much is on the disk now."""
        return self.file.stat().st_size

    def cut(self, kept: int) -> None:
        """Lose all that came after, and come back."""
        self.process.kill()
        size = self.now()
        assert size > kept, "nothing was written since"
        os.truncate(self.file, min(kept + TORN, size - 1))
        self.process.start()


def before(bench: Any, power: Power, method: str) -> list[int]:
    """Note how much is on the disk before each call of a method of the first worker's batches."""
    seen: list[int] = []

    def note(real: Any, *args: Any, **named: Any) -> Any:
        seen.append(power.now())
        return real(*args, **named)

    bench.first.batches.replace(method, note)
    return seen


def known_store(bench: Any, power: Power) -> list[int]:
    """Let a first request be answered, so that a store that comes back is known to be another; as ``before`` its cut."""
    kept = before(bench, power, "cut")
    bench.ask("the first")
    bench.drain()
    return kept


def go_on(bench: Any) -> None:
    """Let time pass, and another worker go on by itself until nothing is owed and nothing runs."""
    bench.set("reconcile", audit_every=0.001)
    bench.lapse()
    bench.advance(5)
    bench.drain(bench.worker("second"))
