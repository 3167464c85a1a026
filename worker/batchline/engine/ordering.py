"""Put the rows of a rendered batch in order in their file: those whose prompts begin alike stand together, marked if asked for.

Bodies stay in the file. What is kept in memory of a row is its length and two hashes, and its custom_id where the caller asks.
"""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from batchline import caching
from batchline.caching import Mark
from batchline.prefixes import Prefix, Prefixes

COPY_BYTES = 2**20
CHECK_EVERY = 1_000
"""So many rows are copied between two looks at the lease."""


class Ordering:
    """What is known of the rows that were written, in the order of their entries. ``mark``: how those that share are marked."""

    def __init__(self, *, mark: Mark | None, keep_ids: bool) -> None:
        self._mark = mark
        self._keep_ids = keep_ids
        self._lengths = array("Q")
        self._prefixes = Prefixes()
        self.custom_ids: list[str] = []
        """The rows' custom_ids as the rows stand in the file, where they are kept."""

    @property
    def growth(self) -> int:
        """Return the most bytes by which all rows together and one more may still grow."""
        return caching.MOST_BYTES * (len(self._lengths) + 1) if self._mark else 0

    def add(self, length: int, prefix: Prefix, custom_id: str) -> None:
        """Take the next row, as it was written."""
        self._lengths.append(length)
        self._prefixes.add(prefix)
        if self._keep_ids:
            self.custom_ids.append(custom_id)

    def arrange(self, rows: BinaryIO, *, folder: Path | None, check: Callable[[], None]) -> int:
        """Bring the file into its final order, through another one in ``folder``; return the bytes of all rows.

        Raises what ``check`` raises; the file is of no use then.
        """
        order = self._prefixes.order()
        shared = self._prefixes.shared() if self._mark else frozenset()
        if order is None and not shared:
            return sum(self._lengths)
        final = range(len(self._lengths)) if order is None else order
        with tempfile.TemporaryFile(dir=folder) as ordered:
            total = 0
            for row in self._read(rows, final, shared, check):
                total += ordered.write(row)
            _copy(ordered, rows, check)
        if self._keep_ids:
            self.custom_ids = [self.custom_ids[row] for row in final]
        return total

    def _read(
        self, rows: BinaryIO, order: Iterable[int], shared: frozenset[int], check: Callable[[], None]
    ) -> Iterator[bytes]:
        starts = array("Q", accumulate(self._lengths, initial=0))
        for done, row in enumerate(order):
            if done % CHECK_EVERY == 0:
                check()
            rows.seek(starts[row])
            content = rows.read(self._lengths[row])
            instructions = self._prefixes.instructions(row)
            yield self._marked(content, instructions) if instructions in shared else content

    def _marked(self, row: bytes, instructions: int) -> bytes:
        return self._mark(row.removesuffix(b"\n"), instructions) + b"\n" if self._mark else row


def _copy(source: BinaryIO, target: BinaryIO, check: Callable[[], None]) -> None:
    source.seek(0)
    target.seek(0)
    target.truncate()
    shutil.copyfileobj(source, target, COPY_BYTES)
    check()
