"""Processes forked from one that has loaded everything: an SDK's import costs seconds, a fork milliseconds.

Fork only while this process has a single thread. A forked worker runs the engine's own steps behind the real ticker, with
threads in place of Celery's; a smaller set of cases runs under Celery itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec
import structlog
from tests.crash.scenarios import GUILTY, Scenario
from tests.crash.waiting import until

from batchline import killpoints, logs, providers, runtime
from batchline.cli.processes import worker
from batchline.emulator import Options, serve
from batchline.engine import accumulator, auditor, budgets, files, poller, reconciler, settler, submitter, transitions
from batchline.engine import context as engine_context
from batchline.engine.context import Context
from batchline.errors import BatchlineError, LeaseLost, Permanent, StoreError
from batchline.local.leash import leash
from batchline.providers.openai import OpenAIProvider
from batchline.providers.protocol import Created, Job, Progress, Provider, Result, accept
from batchline.settings import load_settings
from batchline.ticker import Ticker

log = structlog.get_logger("crash.worker")

LISTENING_S = 20.0
TICK_S = 30.0
"""Most seconds for a tick that runs when its worker is asked to end."""

BRIEF: dict[str, tuple[Any, float]] = {
    "FIRST_LOOK_S": (transitions, 0.2),
    "OUTAGE_MIN_S": (transitions, 0.3),
    "AGAIN_S": (budgets, 0.5),
    "NO_ROOM_MS": (submitter, 200),
    "LOOK_AGAIN_MS": (reconciler, 300),
    "CHUNK_RESULTS": (settler, 3),
}
"""Waits of the engine that are no settings, made brief; and chunks of results small enough to die between two."""


def fork(body: Callable[[], None], *, output: Path) -> int:
    """Run ``body`` in a child whose stdout and stderr go to a file, and which dies with this process; returns its pid."""
    tie = leash()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(body, output, tie)
    return pid


def _child(body: Callable[[], None], output: Path, tie: Callable[[], None] | None) -> NoReturn:
    code = 1
    try:
        if tie:
            tie()
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.chdir(output.parent)  # a config/batchline.yaml under the folder of whoever runs this must not count
        body()
        code = 0
    except SystemExit as end:  # how Celery's worker ends
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may climb into the parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(pid: int) -> int | None:
    """Return how a child ended (minus the signal that ended it), None while it runs; it is gone once this told."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def end(pid: int) -> None:
    """Kill a child that may be stopped, and wait for it; does nothing when it has been waited for."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def emulate(state: Path, latency_s: float, max_enqueued: int = 0) -> None:
    """Be an emulator, which takes so many tokens (of two bytes each) of a model at a time; it says on stdout where it listens."""
    full = Options(enqueued_token_limits={"*": max_enqueued}, bytes_per_token=2.0) if max_enqueued else Options()
    options = replace(full, latency_s=latency_s, validation_delay_s=0.05, state_dir=state)
    serve("127.0.0.1", 0, options)


def address(output: Path) -> str:
    """Wait until an emulator has said where it listens, and return its URL. Raises TimeoutError."""
    found: list[str] = []

    def listening() -> bool:
        found[:] = re.findall(r"listening on (http://\S+)", output.read_text() if output.exists() else "")
        return bool(found)

    if not until(listening, LISTENING_S):
        raise TimeoutError(f"the emulator did not start: {output.read_text()}")
    return found[0]


def work(environ: Mapping[str, str], plan: Scenario, roles: Sequence[str]) -> None:
    """Be a worker for these roles until SIGTERM comes; then end every step that was begun, and only then this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before there are threads: none of them may take it
    _become(environ)
    logs.configure("json", "INFO")
    if plan.max_inputs:
        OpenAIProvider.limits = msgspec.structs.replace(OpenAIProvider.limits, max_inputs=plan.max_inputs)
    if plan.unchecked:
        vars(engine_context)["facts_of"] = lambda account: msgspec.structs.replace(
            providers.facts_of(account), check=accept
        )
    real = providers.make_provider
    vars(runtime)["make_provider"] = lambda kind, access: Unruly(real(kind, access), plan)
    context = runtime.build(load_settings())
    with ThreadPoolExecutor(4) as pool:
        bells = Threads(context, pool)
        ticks = {
            "accumulate": lambda context: accumulator.tick_accumulate(context, bells),
            "poll": lambda context: accumulator.tick_poll(context, bells),
        }
        ticker = Ticker(lambda: context, {role: ticks[role] for role in roles})
        ticker.start()
        signal.sigwait({signal.SIGTERM})
        ticker.stop()
        ticker.join(TICK_S)


def work_by_celery(environ: Mapping[str, str]) -> None:
    """Be a real worker, by the function behind ``batchline worker``; it ends as one does, on SIGTERM."""
    _become(environ)
    worker()


def _become(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    killpoints.arm(environ)
    for name, (module, value) in BRIEF.items():
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} any more: bring BRIEF up to date")
        setattr(module, name, value)


class Threads:
    """Doorbells that run the step in a thread of this process."""

    def __init__(self, context: Context, pool: ThreadPoolExecutor) -> None:
        self._context = context
        self._pool = pool

    def submit(self, batch_id: str) -> None:
        """Ring for a batch on its way to the provider."""
        self._ring("submit", submitter.submit, batch_id)

    def poll(self, batch_id: str) -> None:
        """Ring for a batch at its provider."""
        self._ring("poll", poller.poll, batch_id)

    def file(self, file: str) -> None:
        """Ring for a provider's file that is due to be deleted."""
        self._ring("file", files.delete, file)

    def audit(self, account: str) -> None:
        """Ring for an account that is due to be audited."""
        self._ring("audit", auditor.audit_in_turn, account)

    def _ring(self, name: str, step: Callable[[Context, str], None], batch_id: str) -> None:
        with killpoints.around(f"doorbell.{name}", lambda: StoreError("the broker does not answer (kill point)")):
            self._pool.submit(self._step, step, batch_id)

    def _step(self, step: Callable[[Context, str], None], batch_id: str) -> None:
        try:
            step(self._context, batch_id)
        except (LeaseLost, StoreError) as error:
            log.info("step.dropped", batch=batch_id, reason=str(error))
        except BatchlineError as error:
            log.warning("step.failed", batch=batch_id, reason=str(error))
        except Exception:
            log.exception("step.failed", batch=batch_id)


class Unruly:
    """A provider that does what a scenario wants of it."""

    def __init__(self, real: Provider, plan: Scenario) -> None:
        self._real = real
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        """Create the batch, unless a guilty row is in it."""
        rows.seek(0)
        if self._plan.guilty and GUILTY.encode() in rows.read():
            raise Permanent("create: refused with 400", account=self._real.kind, call="create", code="bad_request")
        rows.seek(0)
        return self._real.create(rows, job, timeout_s=timeout_s)

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        """Stream the results, slowly if so planned."""
        for result in self._real.results(progress, sent):
            # A slow provider is nothing but time: the lease must be renewed again and again while its results come.
            time.sleep(self._plan.slow_s)
            yield result
