"""docs/design.md has one line for every module and every script, and none for what is gone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "worker" / "batchline"
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    section = DESIGN.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_every_module_has_one_line() -> None:
    modules = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))
    assert sorted(rows("9. Modules")) == modules


def test_every_script_has_one_line() -> None:
    folder = PACKAGE / "store" / "scripts"
    scripts = sorted(str(file.relative_to(folder)).removesuffix(".lua") for file in folder.rglob("*.lua"))
    assert sorted(rows("8. Scripts")) == scripts


def test_no_module_is_much_over_400_lines() -> None:
    lines = {file.name: file.read_text(encoding="utf-8").count("\n") for file in PACKAGE.rglob("*.py")}
    assert {name: n for name, n in lines.items() if n > 420} == {}
