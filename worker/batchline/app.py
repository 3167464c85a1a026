"""The Celery application: `celery -A batchline.app worker -Q batchline.accumulate,batchline.poll`, or `batchline worker`.

A task message is a doorbell that names a batch; what is true stands in the store. So messages are acknowledged early, are
never retried, and may be lost or come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, signals
from kombu.entity import Queue

from batchline import logs
from batchline.engine import accumulator, poller, submitter
from batchline.engine.context import Context
from batchline.errors import LeaseLost, StoreError
from batchline.runtime import context
from batchline.settings import load_settings
from batchline.ticker import Ticker

log = structlog.get_logger("batchline.worker")

ACCUMULATE = "batchline.accumulate"
POLL = "batchline.poll"

app = Celery("batchline", set_as_current=False)


def _configuration() -> dict[str, Any]:
    settings = load_settings()
    return {
        "broker_url": settings.broker_url,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "task_queues": [Queue(ACCUMULATE), Queue(POLL)],
        "task_default_queue": ACCUMULATE,
        "task_routes": {"batchline.submit": {"queue": ACCUMULATE}, "batchline.poll": {"queue": POLL}},
        "worker_pool": "threads",
        "worker_concurrency": 4,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_acquire_timeout": 10,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "batchline:celery:",
            "client_name": "batchline-worker",
        },
    }


app.add_defaults(_configuration)


@app.task(name="batchline.submit")
def submit(batch_id: str) -> None:
    """Bring a batch on towards its provider."""
    _step(submitter.submit, batch_id)


@app.task(name="batchline.poll")
def poll(batch_id: str) -> None:
    """Poll a batch, and settle it when it has ended."""
    _step(poller.poll, batch_id)


def _step(step: Callable[[Context, str], None], batch_id: str) -> None:
    """Run one step. What fails here is still on the agenda: the doorbell rings again after a lease."""
    try:
        step(context(), batch_id)
    except LeaseLost as lost:
        log.info("lease.lost", batch=batch_id, reason=str(lost))
    except StoreError as error:
        log.warning("store.trouble", batch=batch_id, reason=str(error))


class CeleryDoorbells:
    """Rings by task messages; each expires when the agenda would ring again anyway."""

    def __init__(self, expires_s: float) -> None:
        self._expires_s = expires_s

    def submit(self, batch_id: str) -> None:
        """Ring for a batch in cut, submitting or reconciling."""
        submit.apply_async((batch_id,), expires=self._expires_s)

    def poll(self, batch_id: str) -> None:
        """Ring for a batch in submitted or ended."""
        poll.apply_async((batch_id,), expires=self._expires_s)


def _tick_accumulate(context: Context) -> None:
    accumulator.tick_accumulate(context, CeleryDoorbells(context.settings.lease_seconds))


def _tick_poll(context: Context) -> None:
    accumulator.tick_poll(context, CeleryDoorbells(context.settings.lease_seconds))


TICKS = {ACCUMULATE: ("accumulate", _tick_accumulate), POLL: ("poll", _tick_poll)}
_tickers: list[Ticker] = []


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    settings = load_settings()
    logs.configure(settings.log_format, settings.log_level)


@signals.worker_ready.connect
def _start_ticking(sender: Any, **_: Any) -> None:
    queues = sender.app.amqp.queues.consume_from
    ticks = dict(TICKS[name] for name in queues if name in TICKS)
    ticker = Ticker(context, ticks)
    _tickers.append(ticker)
    ticker.start()
    log.info("worker.ready", roles=sorted(ticks), worker=context().worker)


@signals.worker_shutting_down.connect
def _stop_ticking(**_: Any) -> None:
    while _tickers:
        _tickers.pop().stop()
    log.info("worker.stopping")
