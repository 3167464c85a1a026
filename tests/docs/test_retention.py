"""docs/retention.md says of everything in the store how long it is kept."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from batchline.cli import build

DOCS = Path(__file__).parents[2] / "docs"
RETENTION = (DOCS / "retention.md").read_text(encoding="utf-8")


def cells(text: str, column: int) -> list[str]:
    """Return the names in code of one column of all tables; a bar in a name is escaped."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [name for row in rows if len(row) > column for name in re.findall(r"`([^`]+)`", row[column])]


def designed() -> set[str]:
    section = (DOCS / "design.md").read_text(encoding="utf-8").split("## 3. ", 1)[1].split("\n## ", 1)[0]
    return set(cells(section, 0))


def test_every_key_has_a_row() -> None:
    assert designed()
    assert designed() - set(cells(RETENTION, 1)) == set()


def test_no_row_is_about_a_key_that_is_gone() -> None:
    in_store = RETENTION.split("Outside the store:", 1)[0]
    assert set(cells(in_store, 1)) - designed() == set()


def test_every_option_of_prune_that_is_shown_exists() -> None:
    options = {name for each in get_command(build()).commands["prune"].params for name in each.opts}  # type: ignore[attr-defined]
    shown = {
        name for line in re.findall(r"batchline prune[^`\n]*", RETENTION) for name in re.findall(r"--[a-z-]+", line)
    }
    assert shown
    assert shown <= options
