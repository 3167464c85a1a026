"""A broker that goes away, or brings messages that are not ours: the worker lives on, and logs no body."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import InvalidTaskError
from kombu.exceptions import DecodeError
from structlog.testing import capture_logs

from batchline import app
from batchline.consumer import Consumer


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
    consumer = object.__new__(Consumer)
    consumer.app, consumer.connection = app.app, broken(how)
    with capture_logs() as logs:
        consumer.on_connection_error_after_connected(ConnectionError("closed by server"))
    assert consumer.connection is None
    assert [event["event"] for event in logs if event["log_level"] == "warning"] == ["broker.not_closed"]


def test_workers_have_this_consumer() -> None:
    assert app.app.conf.worker_consumer is Consumer


BODY = b"\x80canary-of-a-body"
REFUSALS: dict[str, Callable[[Any, Any], None]] = {
    "no task": lambda consumer, message: consumer.on_unknown_message(BODY, message),
    "unknown": lambda consumer, message: consumer.on_unknown_task(BODY, message, KeyError("sum")),
    "invalid": lambda consumer, message: consumer.on_invalid_task(BODY, message, InvalidTaskError(str(BODY))),
    "unreadable": lambda consumer, message: consumer.on_decode_error(message, DecodeError(str(BODY))),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_message_that_is_not_ours_is_refused_without_its_body_in_the_log(refusal: str) -> None:
    consumer = object.__new__(Consumer)
    consumer.connection_errors = ()
    refused: list[bool] = []
    message = SimpleNamespace(
        content_type="application/data", body=BODY, reject_log_error=lambda *_: refused.append(True)
    )
    with capture_logs() as logs:
        REFUSALS[refusal](consumer, message)
    assert [event["event"] for event in logs] == ["message.refused"]
    assert "canary" not in repr(logs)
    assert refused == [True]
