"""Doorbells that the broker does not take: the tick runs a few steps itself."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import OperationalError
from structlog.testing import capture_logs

from batchline import app
from batchline.errors import StoreUnreachable


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the tick ran itself."""
    ran: list[str] = []
    monkeypatch.setattr(app, "_step", lambda step, name: ran.append(f"{step.__name__} {name}"))
    return ran


def send(monkeypatch: pytest.MonkeyPatch, sent: Any) -> None:
    """Let every task's message go to ``sent``."""
    for task in (app.submit, app.poll, app.delete_file):
        monkeypatch.setattr(task, "apply_async", sent)


def refuse(*_: Any, **__: Any) -> None:
    raise OperationalError("OOM command not allowed")


def test_a_message_that_was_sent_is_all(monkeypatch: pytest.MonkeyPatch, ran: list[str]) -> None:
    sent: list[tuple[Any, ...]] = []
    send(monkeypatch, lambda names, expires: sent.append((*names, expires)))
    app.CeleryDoorbells(30, lambda: None).submit("b1")
    assert (sent, ran) == ([("b1", 30)], [])


def test_steps_whose_doorbell_cannot_be_sent_are_run_here_a_few_a_tick(
    monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    send(monkeypatch, refuse)
    doorbells = app.CeleryDoorbells(30, lambda: None)
    with capture_logs() as logs:
        doorbells.submit("b1")
        doorbells.file("openai|file-1")
        for n in range(10):
            doorbells.poll(f"b{n}")
    assert ran == ["submit b1", "delete openai|file-1", "poll b0", "poll b1"]
    assert [(entry["event"], entry["task"]) for entry in logs] == [("doorbell.failed", "batchline.submit")]


def test_a_step_whose_store_fails_ends_without_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object, __: str) -> None:
        raise StoreUnreachable("the store is restarting")

    monkeypatch.setattr(app, "context", lambda: None)
    with capture_logs() as logs:
        app._step(fails, "b1")
    assert [(entry["event"], entry["batch"]) for entry in logs] == [("store.trouble", "b1")]
