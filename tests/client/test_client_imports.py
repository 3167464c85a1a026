"""Importing batchline is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("celery", "openai", "anthropic", "genai_prices", "httpx", "typer", "rich")


@pytest.mark.parametrize("statement", ["import batchline", "from batchline import Client, Reply, Ticket"])
def test_importing_the_client_loads_no_slow_library(statement: str) -> None:
    program = f"import sys; {statement}; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_not_even_the_client() -> None:
    program = "import sys, batchline; print('redis' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
