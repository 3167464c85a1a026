"""docs/providers.md: every test that it names exists, every row of a table of what works names one, its settings are valid."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from batchline.budgets import PARTS, SLIVER
from batchline.engine.budgets import AGAIN_MAX_S, AGAIN_S, GUESS_FOR_S, TOLD_FOR_S
from batchline.providers import PROVIDERS, facts
from batchline.providers.presets import PRESETS
from batchline.providers.protocol import Options
from batchline.settings import load_settings

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
PROVIDERS_MD = (DOCS / "providers.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
BLOCK = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))


def rows() -> list[str]:
    """Return the rows of the tables whose last column is of tests, without their heads."""
    found: list[str] = []
    inside = False
    for line in PROVIDERS_MD.splitlines():
        inside = line.startswith("|") and (inside or line.rstrip().endswith("| test |"))
        if inside and not line.rstrip().endswith("| test |") and not line.startswith("|---"):
            found.append(line)
    return found


def blocks() -> list[str]:
    return [dedent(block).strip("\n") for block in BLOCK.findall(PROVIDERS_MD)]


def setting(block: str) -> dict[str, object]:
    """Return an example as a settings file: a setting of an account stands in one."""
    found = yaml.safe_load(block)
    return found if "accounts" in found else {"accounts": {"openai": found}}


def test_tests_are_named() -> None:
    assert len(NAMED.findall(PROVIDERS_MD)) > 90


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PROVIDERS_MD))))
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert (TESTS / file).is_file()
    assert name in functions(file)


def test_every_row_of_what_works_names_a_test() -> None:
    assert len(rows()) > 60
    assert [row for row in rows() if not NAMED.search(row.rsplit("|", 2)[-2])] == []


def test_the_examples_of_settings_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [block for block in blocks() if re.match(r"(accounts|budgets|cache):", block)]
    assert len(examples) == 4
    for number, block in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(setting(block)), encoding="utf-8")
        monkeypatch.setenv("BATCHLINE_CONFIG", str(file))
        load_settings()


def test_the_first_table_has_every_endpoint_of_every_kind_and_preset() -> None:
    table = {
        (kind, preset): set(endpoints.split(", "))
        for kind, preset, endpoints in re.findall(r"^\| `(\w+)` \| (\S*) ?\| ([^|]+) \|", PROVIDERS_MD, re.MULTILINE)
        if kind in PROVIDERS
    }
    table[("openai", "`vllm`")] = table[("openai", "none")]
    expected = {(kind, ""): set(facts(kind).endpoints) for kind in PROVIDERS if kind != "openai"}
    expected[("openai", "none")] = set(facts("openai").endpoints)
    for name in PRESETS:
        if name != "openai":
            expected[("openai", f"`{name}`")] = set(facts("openai", Options(preset=name)).endpoints)
    assert table == expected


ACCOUNTS: Mapping[str, Sequence[str | None]] = {
    "OpenAI": [None],
    "OpenAI-compatible services": ["azure", "groq", "vllm"],
    "Anthropic": [None],
    "Gemini": [None],
}
SIZES = {"MB": 10**6, "GB": 10**9}


@pytest.mark.parametrize("heading", ACCOUNTS)
def test_the_limits_of_a_batch_are_those_that_are_kept(heading: str) -> None:
    section = PROVIDERS_MD.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    (row,) = re.findall(r"^\| limits of a batch \|(.+)\|.+\|$", section, re.MULTILINE)
    told = re.findall(r"(\d+,000)[^|\d]*?(\d+) (MB|GB)", row)
    kind = heading.lower() if heading.lower() in PROVIDERS else "openai"
    for preset, (requests, size, unit) in zip(ACCOUNTS[heading], told, strict=True):
        limits = facts(kind, Options(preset=preset)).limits
        assert limits.max_requests == int(requests.replace(",", ""))
        # Line feeds, commas and brackets are not of the rows.
        assert 0 <= int(size) * SIZES[unit] - limits.max_bytes <= limits.max_requests + 1000


def test_the_figures_of_budgets_are_those_that_are_kept() -> None:
    told = " ".join(PROVIDERS_MD.split())
    assert f"the last {SLIVER:.0%}".replace("%", " %") in told
    assert f"a quarter of {1 - SLIVER:.0%}".replace("%", " %") in told
    assert PARTS == 4
    assert (TOLD_FOR_S, GUESS_FOR_S, AGAIN_S, AGAIN_MAX_S) == (86_400, 600, 60, 900)
    assert (facts("anthropic").budgets[0].requests, facts("anthropic").budgets[0].shared) == (200_000, True)
    assert (facts("openai").budgets[0].requests, facts("openai").limits.max_inputs) == (1_000_000, 50_000)


def test_every_method_of_the_protocol_is_described() -> None:
    protocol = (TESTS.parent / "worker/batchline/providers/protocol.py").read_text(encoding="utf-8")
    described = next(
        each for each in ast.walk(ast.parse(protocol)) if isinstance(each, ast.ClassDef) and each.name == "Provider"
    )
    methods = {each.name for each in described.body if isinstance(each, ast.FunctionDef)}
    told = PROVIDERS_MD.split("## Adding a provider", 1)[1]
    assert {name for name in methods if not re.search(rf"`{name}[`(]", told)} == set()
