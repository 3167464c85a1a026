"""``batchline dev``: what it needs before anything is started."""

from __future__ import annotations

import pytest
from tests.cli.kit import Command


def test_live_without_any_key_names_the_variables_of_each_account(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
    for name in (*keys, "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    run = command("dev", "--live")
    assert run.code == 2
    assert all(name in run.err for name in keys)
