"""Celery's consumer of messages, hardened: no message and no broken connection ends a worker, and no body gets into a log."""

from __future__ import annotations

import logging
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer

log = structlog.get_logger("batchline.consumer")


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Lives on however its connection to the broker ends, and refuses what is no doorbell of ours."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of the broken connection, so that a new one is made.

        With a message unacknowledged, kombu 5.7 closes such a connection with an AttributeError, which Celery takes for
        the end of the worker. The message is a doorbell that rings again.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001 - a connection that is broken already can do no more harm
            log.warning("broker.not_closed", reason=repr(error))

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Refuse a message that names no task."""
        self._refuse(message, "it names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Refuse a message for a task that is not ours."""
        self._refuse(message, "there is no such task")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Refuse a message whose arguments, or whose content type, no task of ours has."""
        self._refuse(message, type(exc).__name__)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuse a message that cannot be read."""
        self._refuse(message, type(exc).__name__)

    def _refuse(self, message: Any, reason: str) -> None:
        # Celery's own handlers quote the body; and Celery 5.7 ends with a TypeError where that is no text.
        log.error("message.refused", reason=reason, content_type=str(message.content_type)[:100])
        message.reject_log_error(logging.getLogger(__name__), self.connection_errors)
