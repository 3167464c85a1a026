"""The tools that deploy checks run: found on the PATH or beside this Python, and what happens where one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])


def tool(name: str, *, package: str) -> str:
    """Return the path of a program of ``package``; without it the test is skipped, or fails where tools are required."""
    found = shutil.which(name, path=_PLACES)
    if found:
        return found
    reason = f"{name} is not here: install {package}"
    if os.environ.get("DEPLOY_TOOLS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def run(*command: str, timeout_s: float = 120, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed and its exit code."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
