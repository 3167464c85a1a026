"""The Celery application: `celery -A batchline.app worker -Q batchline.accumulate,batchline.poll`, or `batchline worker`.

A task message is a doorbell that names a batch; what is true stands in the store. So messages are acknowledged early, are
never retried, and may be lost or come twice.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import structlog
from celery import Celery, Task, bootsteps, signals
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from batchline import killpoints, logs, probes
from batchline.consumer import Consumer
from batchline.endpoints import Endpoints
from batchline.engine import accumulator, auditor, files, poller, submitter
from batchline.engine.context import Context
from batchline.errors import LeaseLost, StoreError, UsageError
from batchline.runtime import context
from batchline.settings import Settings, load_settings
from batchline.spool import trouble
from batchline.store.connection import broker
from batchline.ticker import Ticker

log = structlog.get_logger("batchline.worker")

ACCUMULATE = "batchline.accumulate"
POLL = "batchline.poll"

GRACE_OVER = 1
"""Exit code of a worker whose steps did not end within the grace period."""
STEPS_PER_TICK = 4
"""How many steps one tick runs itself while doorbells cannot be sent."""

app = Celery("batchline", set_as_current=False)


def _settings() -> Settings:
    """Load the settings; wrong ones end a plain `celery worker` with one line each, as they do `batchline worker`."""
    try:
        return load_settings()
    except UsageError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging needs the settings first
        raise SystemExit(2) from None


def _configuration() -> dict[str, Any]:
    broker_url, tls = broker(_settings().broker_url)
    return {
        "broker_url": broker_url,
        "broker_use_ssl": tls,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "task_queues": [Queue(ACCUMULATE), Queue(POLL)],
        "task_default_queue": ACCUMULATE,
        "task_routes": {
            "batchline.submit": {"queue": ACCUMULATE},
            "batchline.poll": {"queue": POLL},
            "batchline.file": {"queue": POLL},
            "batchline.audit": {"queue": POLL},
        },
        "worker_consumer": Consumer,
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


@app.task(name="batchline.file")
def delete_file(name: str) -> None:
    """Delete a provider's file that nobody needs any more."""
    _step(files.delete, name)


@app.task(name="batchline.audit")
def audit(account: str) -> None:
    """Look for an account's batches that the store does not know."""
    _step(auditor.audit_in_turn, account)


def _step(step: Callable[[Context, str], None], batch_id: str) -> None:
    """Run one step. What fails here is still on the agenda: the doorbell rings again after a lease."""
    try:
        step(context(), batch_id)
    except LeaseLost as lost:
        log.info("lease.lost", batch=batch_id, reason=str(lost))
    except StoreError as error:
        log.warning("store.trouble", batch=batch_id, reason=str(error))
    except OSError as error:
        # The store's and the providers' errors are ours by now: what is left is the spool, on a disk that is full or broken.
        log.error("spool.trouble", batch=batch_id, reason=error.strerror or type(error).__name__)  # noqa: TRY400


class CeleryDoorbells:
    """Rings by task messages; each expires when the agenda would ring again anyway. One is made for each tick.

    When the broker takes no messages (it is full, or away), the tick runs the steps itself, a few at a time: a full store
    could never be drained otherwise. What is left over rings again after a lease.
    """

    def __init__(self, expires_s: float, beat: Callable[[], None]) -> None:
        self._expires_s = expires_s
        self._beat = beat
        self._broken = False
        self._left = STEPS_PER_TICK

    def submit(self, batch_id: str) -> None:
        """Ring for a batch in cut, submitting or reconciling."""
        self._ring(submit, batch_id)

    def poll(self, batch_id: str) -> None:
        """Ring for a batch in submitted or ended."""
        self._ring(poll, batch_id)

    def file(self, file: str) -> None:
        """Ring for a provider's file that is due to be deleted."""
        self._ring(delete_file, file)

    def audit(self, account: str) -> None:
        """Ring for an account that is due to be audited."""
        self._ring(audit, account)

    def _ring(self, task: Task, name: str) -> None:
        self._beat()
        if not self._broken:
            try:
                with killpoints.around(task.name.replace("batchline", "doorbell"), _lost):
                    task.apply_async((name,), expires=self._expires_s)
            except OperationalError as error:
                self._broken = True
                log.warning("doorbell.failed", task=task.name, reason=type(error.__cause__ or error).__name__)
        if self._broken and self._left:
            self._left -= 1
            self._beat()
            task(name)


def _lost() -> Exception:
    return OperationalError("the broker's connection broke off (kill point)")


def _tick_accumulate(context: Context) -> None:
    accumulator.tick_accumulate(context, CeleryDoorbells(context.settings.lease_seconds, context.pulse.beat))


def _tick_poll(context: Context) -> None:
    accumulator.tick_poll(context, CeleryDoorbells(context.settings.lease_seconds, context.pulse.beat))


TICKS = {ACCUMULATE: ("accumulate", _tick_accumulate), POLL: ("poll", _tick_poll)}
_running: list[tuple[Context, Ticker, Endpoints | None]] = []


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    settings = _settings()
    logs.configure(settings.log_format, settings.log_level)


class Ticking(bootsteps.StartStopStep):  # type: ignore[misc]
    """Ticks as soon as the worker's pool runs. Celery's consumer may come much later: a full broker lets none begin."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Start the tick of each role that this worker serves."""
        queues = parent.app.amqp.queues.consume_from
        ticker = Ticker(context, {role: tick for queue, (role, tick) in TICKS.items() if queue in queues})
        own = context()
        if "accumulate" in ticker.roles and (problem := trouble(own.settings.spool_dir)):
            _end_wrong("spool.trouble", f"{problem}; set spool_dir to a folder that can be written")
        port = own.settings.worker_port
        endpoints = None if port is None else _serve(own, port)
        if endpoints:
            log.info("worker.listening", port=endpoints.port)
        _running.append((own, ticker, endpoints))
        ticker.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Let the tick that runs end, with the step that it may be running itself."""
        for own, ticker, endpoints in _running:
            own.shutdown.ask()
            ticker.stop()
            ticker.join(own.settings.shutdown_grace)
            if endpoints:
                endpoints.stop()
        _running.clear()


def _serve(own: Context, port: int) -> Endpoints:
    """Serve the probes; a port that is taken ends the worker with one line and code 2, as wrong settings do."""
    try:
        return probes.serve(own, port)
    except UsageError as error:
        _end_wrong("worker.not_listening", str(error))


def _end_wrong(event: str, reason: str) -> NoReturn:
    """End a worker that cannot do its work as it is set up."""
    log.error(event, reason=reason)
    raise SystemExit(2) from None


app.steps["worker"].add(Ticking)


@signals.worker_ready.connect
def _say_ready(sender: Any, **_: Any) -> None:
    queues = sender.app.amqp.queues.consume_from
    roles = sorted(role for queue, (role, _) in TICKS.items() if queue in queues)
    log.info("worker.ready", roles=roles, worker=context().worker)


@signals.worker_shutting_down.connect
def _ask_to_end(**_: Any) -> None:
    # In a signal handler, which may have interrupted anybody who holds a lock: a thread of its own does the rest.
    for own, ticker, _endpoints in _running:
        threading.Thread(target=_end, args=(own, ticker), name="shutdown", daemon=True).start()


def _end(context: Context, ticker: Ticker) -> None:
    """Let the steps hand back their work; end this process when they did not within the grace period.

    Only a create call that may be under way is waited for longer: what it made would have to be looked for.
    """
    context.shutdown.ask()
    ticker.stop()
    grace_s = context.settings.shutdown_grace
    log.info("worker.stopping", grace_s=grace_s)
    threading.Event().wait(grace_s)
    log.error("worker.grace_over", reason="a step did not end in time; its batch goes on when its lease is over")
    context.shutdown.wait_finished(context.settings.create_timeout)
    os._exit(GRACE_OVER)
