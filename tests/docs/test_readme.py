"""README.md: the quote that it shows is what the command prints, its accounts are valid settings, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from tests.cli.kit import Command, written

from batchline.settings import load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUEST = {"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_quote_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = re.search(r"^    batchline (quote .+)\n\n((?:    .+\n)+)", README, re.MULTILINE)
    assert shown is not None
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "sample.jsonl", json.dumps({"id": "a"} | REQUEST))
    done = Command(capsys)(*shlex.split(shown[1]))
    assert done.code == 0
    printed = [line.rstrip() for line in done.out.splitlines()]
    assert [line for line in dedent(shown[2]).splitlines() if line.rstrip() not in printed] == []


def test_the_accounts_are_valid_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = re.search(r"^    accounts:\n(?:      .+\n)+", README, re.MULTILINE)
    assert shown is not None
    file = tmp_path / "batchline.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(dedent(shown[0]))), encoding="utf-8")
    monkeypatch.setenv("BATCHLINE_CONFIG", str(file))
    assert load_settings().accounts["my-groq"].preset == "groq"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_to_a_page_of_ours_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    for target, anchor in links:
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"
