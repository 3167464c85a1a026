"""One place where crash cases run, one after the other: a store of its own, and for each case an emulator and two workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.crash import audit, forked
from tests.crash.cases import KINDS, Case
from tests.crash.scenarios import HAIKU, ROLES, Scenario, body, scenario
from tests.crash.waiting import at_rest, until

from batchline import runtime
from batchline.engine import cancelling
from batchline.engine.context import Context
from batchline.errors import StoreError
from batchline.local.environment import at_emulator, without_providers, without_settings
from batchline.local.store_process import StoreProcess
from batchline.requests import Request
from batchline.settings import Settings
from batchline.store import Store

LEASE_S = 1.0
CREATE_S = 2.0
LAG_S = 0.3
FIRE_S = 40.0
DONE_S = 60.0
PORTS = 3
END_S = 40.0
"""Most seconds from SIGTERM to a worker's end; Celery's own is allowed 25."""

SETTINGS = {
    "BATCHLINE_LEASE_SECONDS": str(LEASE_S),
    "BATCHLINE_CREATE_TIMEOUT": str(CREATE_S),
    "BATCHLINE_TICK_INTERVAL": "0.1",
    "BATCHLINE_FLUSH__MAX_AGE": "0.1",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    "BATCHLINE_POLL__MAX_INTERVAL": "0.5",
    "BATCHLINE_RETRY__MAX_ATTEMPTS": "5",
    "BATCHLINE_RETRY__BACKOFF_MIN": "0.1",
    "BATCHLINE_RETRY__BACKOFF_MAX": "0.2",
    "BATCHLINE_RECONCILE__LISTING_LAG": str(LAG_S),
    "BATCHLINE_LOG_FORMAT": "json",
    # The emulator speaks plain HTTP: no client need read all the world's certificates, which takes longer than its calls.
    "SSL_CERT_FILE": "",
    "SSL_CERT_DIR": os.sep,
}
"""What every worker is given, besides its store and its providers."""


UNEXPECTED = re.compile(r'^.*"exception": ".*|^Traceback.*\n(?:\s.*\n)*.*|^Fatal Python error.*', re.MULTILINE)
"""What a worker's log has only when something went wrong that no code of ours names."""


@dataclass
class Verdict:
    """What came of a case: nothing wrong, or each thing that is; whether its point was ever reached; seconds."""

    case: Case
    wrong: list[str] = field(default_factory=list)
    fired: bool = False
    seconds: float = 0.0
    logs: str = ""

    @property
    def ok(self) -> bool:
        """Whether the point fired and everything is as promised."""
        return self.fired and not self.wrong


class Bench:
    """Runs cases. This process must have a single thread: its workers are forked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = _store(folder)
        self._context = runtime.build(Settings(redis_url=self._process.url))

    def close(self) -> None:
        """Stop the store."""
        self._context.store.close()
        self._process.kill()

    def run(self, case: Case) -> Verdict:
        """Run one case from an empty store to its audit."""
        place = self._folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self._context.store.connection.run("FLUSHALL")
        began = time.monotonic()
        running = _Running(case, place, self._context, self._process)
        try:
            verdict = running.run()
        except Exception:  # noqa: BLE001 - the other cases go on
            verdict = Verdict(case, wrong=[traceback.format_exc()])
        finally:
            running.close()
        verdict.seconds = time.monotonic() - began
        if not verdict.ok:
            verdict.logs = running.log()
        return verdict


@dataclass
class _Worker:
    """A worker of this case: the name of its log, its process, and how that ended, once it was seen to have."""

    name: str
    pid: int
    ended: int | None = None

    def over(self) -> bool:
        """Tell whether its process has ended."""
        if self.ended is None:
            self.ended = forked.exit_code(self.pid)
        return self.ended is not None


class _Running:
    def __init__(self, case: Case, place: Path, context: Context, process: StoreProcess) -> None:
        self._case = case
        self._plan = scenario(case.scenario, case.kind)
        self._lanes = sorted({ask.lane for ask in self._plan.asks})
        self._place = place
        self._context = context
        self._store = context.store
        self._process = process
        self._url = ""
        self._emulator = 0
        self._workers: list[_Worker] = []
        self._revoked = False

    def run(self) -> Verdict:
        verdict = Verdict(self._case)
        self._emulate()
        _enqueue(self._store, self._plan)
        if self._plan.forgotten:
            verdict.wrong += self._forget()
        charges = ",".join([*self._plan.with_charges, self._case.charge])
        first = self._worker("first", self._plan.roles, charges)
        until(lambda: self._revoke() or self._fired() or self._done() or first.over(), FIRE_S)
        second = self._worker("second", ROLES)
        if self._case.wake == "early" and self._fired():
            verdict.wrong += self._wake_after_its_lease(first)
        verdict.wrong += self._come_to_rest(first, second)
        verdict.fired = self._fired()
        verdict.wrong += audit.problems(self._store, self._url, self._plan)
        return verdict

    def _come_to_rest(self, first: _Worker, second: _Worker) -> list[str]:
        """Wait for the end of it all and of both workers; return what was not as it must be.

        A worker that is asked to end ends its steps first: whoever woke up had its chance to do wrong.
        """
        wrong = []
        dies = self._case.action == "kill" and self._fired()
        if dies:
            wrong += self._gone(first, -signal.SIGKILL)
        if not until(self._done, DONE_S):
            wrong.append("not done in time")
        if self._case.action == "hang" and self._fired():
            wrong += self._wake(first)
        if not dies:
            wrong += self._asked_to_end(first)
        if not until(lambda: self._done() and not audit.unfinished(self._url), DONE_S):
            wrong.append("not done in time after a sleeper woke up")
        wrong += self._asked_to_end(second)
        return [*wrong, *self._unexpected(first), *self._unexpected(second)]

    def _wake_after_its_lease(self, sleeper: _Worker) -> list[str]:
        """Let a sleeper go on as soon as whatever it held a lease on may be another's, by the clock that decides it."""
        clock_ms = self._store.server.clock_ms
        over_ms = clock_ms() + int(LEASE_S * 1000)
        until(lambda: clock_ms() > over_ms, DONE_S)
        return self._wake(sleeper)

    def _wake(self, sleeper: _Worker) -> list[str]:
        def awake() -> bool:
            os.kill(sleeper.pid, signal.SIGCONT)
            return self._said("over")

        return [] if until(awake, DONE_S) else ["the sleeper never woke up"]

    def _forget(self) -> list[str]:
        """Have everything submitted and ended, then lose all that the store wrote since the requests were accepted."""
        self._note_who_it_is()
        log = _appended(self._process)
        kept = log.stat().st_size
        worker = self._worker("forgotten", self._plan.roles)
        if not until(self._all_submitted, DONE_S):
            return ["nothing was submitted that could be forgotten"]
        os.kill(worker.pid, signal.SIGKILL)
        wrong = self._gone(worker, -signal.SIGKILL)
        if not until(lambda: not audit.unfinished(self._url), DONE_S):
            wrong.append("what is to be forgotten did not end")
        self._process.kill()
        if _appended(self._process) != log or log.stat().st_size <= kept:
            wrong.append("the append-only file is not the one that was to be cut back")
        os.truncate(log, kept)
        self._process.start()
        return wrong

    def _note_who_it_is(self) -> None:
        """Leave the traces of an earlier create: only a store that was in use can be seen to have been replaced."""
        orphans, identity = self._store.orphans, str(self._store.durability.identity())
        orphans.replaced_ms(identity, now_ms=self._context.clock())
        for account in KINDS:
            orphans.note_audited(account, identity)

    def _all_submitted(self) -> bool:
        batches = self._store.batches.records(self._store.batches.open_ids())
        return bool(batches) and all(batch.state == "submitted" for batch in batches)

    def _asked_to_end(self, worker: _Worker) -> list[str]:
        if not worker.over():
            os.kill(worker.pid, signal.SIGTERM)
        return self._gone(worker, 0)

    def _gone(self, worker: _Worker, code: int) -> list[str]:
        if not until(worker.over, END_S):
            return [f"the {worker.name} worker did not end"]
        return [] if worker.ended == code else [f"the {worker.name} worker ended with {worker.ended} instead of {code}"]

    def _unexpected(self, worker: _Worker) -> list[str]:
        """Return the errors that a worker met and nobody expected, but for the one that a kill point raises."""
        found = UNEXPECTED.findall(self._log(worker.name))
        return [f"the {worker.name} worker: {each}" for each in found if "killpoints.Killed" not in each]

    def _revoke(self) -> bool:
        """Cancel, once, what a batch at its provider carries, where that is the plan."""
        if self._plan.revoke and not self._revoked:
            batches = self._store.batches.records(self._store.batches.open_ids())
            for batch in batches:
                if batch.state == "submitted":
                    self._revoked = True
                    cancelling.cancel_batch(self._context, batch.id)
        return False

    def close(self) -> None:
        for worker in self._workers:
            if not worker.over():
                forked.end(worker.pid)
        if self._emulator:
            forked.end(self._emulator)

    def log(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._place.glob("*.log")))

    def _emulate(self) -> None:
        output = self._place / "emulator.log"
        body = partial(forked.emulate, self._place / "emulator", self._plan.latency_s, self._plan.max_enqueued)
        self._emulator = forked.fork(body, output=output)
        self._url = forked.address(output)
        if self._plan.foreign:
            _foreign_batch(self._url, self._plan.foreign)

    def _worker(self, name: str, roles: Sequence[str], charges: str = "") -> _Worker:
        kept = without_providers(without_settings(os.environ))
        ours = SETTINGS | {"BATCHLINE_REDIS_URL": self._store.connection.url}
        armed = {"BATCHLINE_KILLPOINT": charges, "BATCHLINE_KILLPOINT_HANG": "0"} if charges else {}
        environ = kept | ours | at_emulator(self._url) | armed
        body = partial(forked.work, environ, self._plan, roles)
        if self._case.celery:
            body = partial(forked.work_by_celery, environ)
        worker = _Worker(name, forked.fork(body, output=self._place / f"{name}.log"))
        self._workers.append(worker)
        return worker

    def _fired(self) -> bool:
        return self._said(self._case.action)

    def _said(self, what: str) -> bool:
        return f"killpoint {self._case.point} {what}\n" in self._log("first")

    def _log(self, name: str) -> str:
        log = self._place / f"{name}.log"
        return log.read_text() if log.exists() else ""

    def _done(self) -> bool:
        return at_rest(self._store, self._lanes)


def _store(folder: Path) -> StoreProcess:
    """Start a store. Its port was free a moment ago; on a busy machine somebody else may have taken it meanwhile."""
    for attempt in range(PORTS - 1):
        with contextlib.suppress(StoreError):
            return StoreProcess(folder / f"store-{attempt}", fsync="always").start()
    return StoreProcess(folder / "store", fsync="always").start()


def _appended(process: StoreProcess) -> Path:
    """Return the file to which a store appends now."""
    return max((process.folder / "appendonlydir").glob("*.incr.aof"))


def _enqueue(store: Store, plan: Scenario) -> None:
    store.intake.enqueue([(Request(id=ask.id, lane=ask.lane, body=ask.body.encode()), 3_600_000) for ask in plan.asks])


def _foreign_batch(url: str, rows: int) -> None:
    params = [json.loads(body(HAIKU, f"foreign {n}")) for n in range(rows)]
    requests = [{"custom_id": f"foreign-{n}", "params": each} for n, each in enumerate(params)]
    audit.fetch(f"{url}/v1/messages/batches", {"requests": requests})
