"""A file of rows is brought into order with little of it in memory at a time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from batchline.caching import MOST_BYTES
from batchline.engine.ordering import Ordering
from batchline.prefixes import Prefix


class Pieces(io.BytesIO):
    """A file that remembers how large a piece was read at most, and whether anything was written over."""

    largest = 0
    truncated = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.largest = max(self.largest, len(piece))
        return piece

    def truncate(self, size: int | None = None, /) -> int:
        self.truncated += 1
        return super().truncate(size)


def file_of(ordering: Ordering, *rows: tuple[int, bytes]) -> Pieces:
    """Write rows of these instructions, each with a start of its own."""
    file = Pieces()
    for number, (instructions, content) in enumerate(rows):
        file.write(content)
        ordering.add(len(content), Prefix(instructions, 1_000 + number), f"id{number}")
    return file


def nothing() -> None:
    pass


def test_no_more_than_a_row_is_read_at_a_time(tmp_path: Path) -> None:
    ordering = Ordering(mark=None, keep_ids=True)
    rows = [(n % 3, b"%05d" % n + b"x" * (n % 90) + b"\n") for n in range(5_000)]
    file = file_of(ordering, *((group + 1, row) for group, row in rows))
    assert ordering.arrange(file, folder=tmp_path, check=nothing) == len(file.getvalue())
    assert file.getvalue() == b"".join(row for group in range(3) for each, row in rows if each == group)
    assert file.largest <= 100
    assert ordering.custom_ids == [f"id{n}" for group in range(3) for n in range(5_000) if n % 3 == group]


def test_a_file_that_is_in_order_is_not_written_again(tmp_path: Path) -> None:
    ordering = Ordering(mark=None, keep_ids=True)
    file = file_of(ordering, (1, b"one\n"), (1, b"two\n"), (0, b"three\n"))
    assert ordering.arrange(file, folder=tmp_path, check=nothing) == 14
    assert (file.largest, file.truncated, ordering.custom_ids) == (0, 0, ["id0", "id1", "id2"])


def test_only_rows_that_share_are_marked_even_where_none_has_to_move(tmp_path: Path) -> None:
    ordering = Ordering(mark=lambda row, instructions: b"%d<%s>" % (instructions, row), keep_ids=False)
    file = file_of(ordering, (1, b"one\n"), (1, b"two\n"), (2, b"three\n"), (0, b"four\n"), (0, b"five\n"))
    assert ordering.arrange(file, folder=tmp_path, check=nothing) == len(file.getvalue())
    assert file.getvalue() == b"1<one>\n1<two>\nthree\nfour\nfive\n"


@pytest.mark.parametrize("marked", [True, False])
def test_growth_is_reckoned_with_for_all_rows_and_one_more(marked: bool) -> None:
    ordering = Ordering(mark=(lambda row, _: row) if marked else None, keep_ids=False)
    file_of(ordering, (1, b"one\n"), (1, b"two\n"))
    assert ordering.growth == (3 * MOST_BYTES if marked else 0)


def test_the_other_file_leaves_nothing_in_its_folder(tmp_path: Path) -> None:
    ordering = Ordering(mark=None, keep_ids=False)
    file = file_of(ordering, (1, b"one\n"), (2, b"two\n"), (1, b"three\n"))
    ordering.arrange(file, folder=tmp_path, check=nothing)
    assert file.getvalue() == b"one\nthree\ntwo\n"
    assert list(tmp_path.iterdir()) == []
