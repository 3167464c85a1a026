"""A few cases of the kill matrix in the ordinary tests; ``make kill-matrix`` runs all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = [
    "provider.openai.create.after:kill:1 plain openai",
    "provider.anthropic.create.before:hang:1 plain anthropic",
    "script.settle.after:kill:1 plain openai",
]


@pytest.mark.e2e
def test_a_few_cases_of_the_kill_matrix_lose_nothing_and_pay_for_nothing_twice() -> None:
    only = [part for case in SMOKE for part in ("--only", case)]
    command = [sys.executable, "-m", "tests.crash.matrix", "--seed", "1", "--jobs", str(len(SMOKE)), *only]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(SMOKE)} cases, 0 failed" in ended.stdout
