"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.kit import Command, Workers, answer

from batchline.requests import Reply
from batchline.store import Store


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command line, in an empty folder and with a store that cannot be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHLINE_REDIS_URL", "redis://127.0.0.1:1/0")
    return Command(capsys)


@pytest.fixture
def batchline(command: Command, store: Store, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line with an empty store."""
    monkeypatch.setenv("BATCHLINE_REDIS_URL", store.connection.url)
    return command


@pytest.fixture
def workers(store: Store) -> Iterator[Callable[..., Workers]]:
    """Start stand-ins for workers; by default every request is answered."""
    started: list[Workers] = []

    def start(respond: Callable[[str, str], Reply | None] = lambda _, request_id: answer(request_id)) -> Workers:
        started.append(Workers(store, respond))
        return started[-1]

    yield start
    for each in started:
        each.stop()
