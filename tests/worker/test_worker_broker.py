"""A broker that goes away: whatever its connection does at its end, the worker lives on and makes another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline import app


def broken(how: Exception) -> Any:
    """Return a connection that cannot be closed; kombu's cannot with a message unacknowledged."""

    def fail() -> None:
        raise how

    return SimpleNamespace(
        collect=lambda **_: fail(), close=fail, connection_errors=(OSError,), channel_errors=(), transport=None
    )


@pytest.mark.filterwarnings("ignore:.*worker_cancel_long_running_tasks_on_connection_loss")
@pytest.mark.parametrize("how", [AttributeError("'NoneType' object has no attribute 'hostname'"), RuntimeError("odd")])
def test_a_connection_that_cannot_be_closed_does_not_end_the_worker(how: Exception) -> None:
    consumer = object.__new__(app.Consumer)
    consumer.app, consumer.connection = app.app, broken(how)
    with capture_logs() as logs:
        consumer.on_connection_error_after_connected(ConnectionError("closed by server"))
    assert consumer.connection is None
    assert [event["event"] for event in logs if event["log_level"] == "warning"] == ["broker.not_closed"]


def test_workers_have_this_consumer() -> None:
    assert app.app.conf.worker_consumer is app.Consumer
