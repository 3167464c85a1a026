"""docs/providers.md on adding a provider, followed to the letter with a toy in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchline.store import Store

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ADDING = (ROOT / "docs/providers.md").read_text(encoding="utf-8").split("\n## Adding a provider\n", 1)[1]
SETTINGS = "accounts: {toy: {provider: toy, api_key_env: TOY_KEY}}\nflush: {max_age: 0s}\n"


def line_after(file: Path, marker: str, line: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(marker) == 1
    file.write_text(text.replace(marker, marker + line), encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with the toy in it: its file, its line in the table and its name in the settings."""
    copy = tmp_path / "batchline"
    shutil.copytree(ROOT / "worker/batchline", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "toy.py", copy / "providers/toy.py")
    table = copy / "providers/__init__.py"
    line_after(table, "from batchline.settings import Account\n", "from batchline.providers.toy import ToyProvider\n")
    line_after(table, '    "gemini": GeminiProvider,\n', '    "toy": ToyProvider,\n')
    line_after(copy / "settings/account.py", 'ProviderKind = Literal["openai", "anthropic", "gemini"', ', "toy"')
    return copy


def test_a_provider_is_one_file_its_line_in_the_table_and_its_name_in_the_settings(
    package: Path, store: Store, tmp_path: Path
) -> None:
    config, room = tmp_path / "batchline.yaml", tmp_path / "room"
    config.write_text(SETTINGS, encoding="utf-8")
    room.mkdir()
    environ = os.environ | {
        "PYTHONPATH": str(package.parent),
        "BATCHLINE_REDIS_URL": store.connection.url,
        "BATCHLINE_CONFIG": str(config),
        "TOY_KEY": "k",
        "TOY_ROOM": str(room),
    }
    program = [sys.executable, str(HERE / "toy_worker.py")]
    ran = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert ran.stdout.endswith("\n('succeeded', {'said': 'hello'}, 1, None, None)\n"), ran.stderr[-2000:]
    assert len(list(room.iterdir())) == 1


def test_the_places_that_are_named_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py)` \(`(\w+)`\)", ADDING)
    assert len(named) > 10
    for path, name in named:
        assert name in (ROOT / "worker/batchline" / path).read_text(encoding="utf-8")
