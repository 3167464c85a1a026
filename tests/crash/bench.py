"""One place where crash cases run, one after the other: a store of its own, and for each case an emulator and two workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.crash import audit, forked
from tests.crash.cases import Case
from tests.crash.scenarios import HAIKU, Scenario, body, scenario

from batchline import runtime
from batchline.engine import cancelling
from batchline.local.environment import at_emulator, without_providers, without_settings
from batchline.local.store_process import StoreProcess
from batchline.requests import Request
from batchline.settings import Settings
from batchline.store import Store, keys

LEASE_S = 1.0
CREATE_S = 2.0
LAG_S = 0.3
HANG_S = LEASE_S + CREATE_S + LAG_S + 1.7
"""Beyond the lease, beyond the call's lease, and beyond the moment at which a create counts as absent."""
FIRE_S = 40.0
DONE_S = 60.0
LOOK_S = 0.03
IDLE_S = 1.0

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
}


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
        self._process = StoreProcess(folder / "store", fsync="always").start()
        self._store = Store(self._process.url)

    def close(self) -> None:
        """Stop the store."""
        self._store.close()
        self._process.kill()

    def run(self, case: Case) -> Verdict:
        """Run one case from an empty store to its audit."""
        place = self._folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self._store.connection.run("FLUSHALL")
        began = time.monotonic()
        running = _Running(case, place, self._store, self._process.url)
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


class _Running:
    def __init__(self, case: Case, place: Path, store: Store, store_url: str) -> None:
        self._case = case
        self._plan = scenario(case.scenario, case.kind)
        self._place = place
        self._store = store
        self._url = ""
        self._store_url = store_url
        self._pids: list[int] = []
        self._context = runtime.build(Settings(redis_url=store_url))
        self._revoked = False

    def run(self) -> Verdict:
        verdict = Verdict(self._case)
        self._emulate()
        _enqueue(self._store, self._plan)
        first = self._worker("first", ",".join([*self._plan.with_charges, self._case.charge]))
        verdict.fired = _until(lambda: self._revoke() or self._fired() or self._done(), FIRE_S) and self._fired()
        self._worker("second", "")
        if verdict.fired and self._case.action == "kill":
            verdict.wrong += self._killed(first)
        if not _until(self._done, DONE_S):
            verdict.wrong.append("not done in time")
        verdict.fired = verdict.fired or self._fired()
        if verdict.fired and self._case.action == "hang" and not _until(lambda: self._said("over"), DONE_S):
            verdict.wrong.append("the sleeper never woke up")
        time.sleep(IDLE_S)  # whoever woke up, or still runs, must have its chance to do wrong
        if not _until(lambda: self._done() and not audit.unfinished(self._url), DONE_S):
            verdict.wrong.append("not done in time after a sleeper woke up")
        verdict.wrong += audit.problems(self._store, self._url, self._plan)
        return verdict

    def _revoke(self) -> bool:
        """Cancel, once, what a batch at its provider carries, where that is the plan."""
        if self._plan.revoke and not self._revoked:
            batches = self._context.store.batches.records(self._context.store.batches.open_ids())
            for batch in batches:
                if batch.state == "submitted":
                    self._revoked = True
                    cancelling.cancel_batch(self._context, batch.id)
        return False

    def _killed(self, pid: int) -> list[str]:
        found: list[int | None] = [None]

        def over() -> bool:
            found[0] = forked.exit_code(pid)
            return found[0] is not None

        ended = _until(over, 5)
        self._pids.remove(pid)
        return [] if ended and found[0] == -9 else [f"the first worker ended with {found[0]}"]

    def close(self) -> None:
        for pid in self._pids:
            forked.end(pid)
        self._context.store.close()

    def log(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._place.glob("*.log")))

    def _emulate(self) -> None:
        output = self._place / "emulator.out"
        self._pids.append(
            forked.fork(partial(forked.emulate, self._place / "emulator", self._plan.latency_s), output=output)
        )
        found: list[str] = []

        def listening() -> bool:
            found[:] = re.findall(r"listening on (http://\S+)", output.read_text() if output.exists() else "")
            return bool(found)

        if not _until(listening, 20):
            raise TimeoutError(f"the emulator did not start: {output.read_text()}")
        self._url = found[0]
        if self._plan.foreign:
            _foreign_batch(self._url, self._plan.foreign)

    def _worker(self, name: str, charges: str) -> int:
        kept = without_providers(without_settings(os.environ))
        ours = SETTINGS | {"BATCHLINE_REDIS_URL": self._store_url}
        armed = {"BATCHLINE_KILLPOINT": charges, "BATCHLINE_KILLPOINT_HANG": str(HANG_S)} if charges else {}
        environ = kept | ours | at_emulator(self._url) | armed
        body: Callable[[], None] = partial(forked.work, environ, self._plan)
        if self._case.celery:
            body = partial(forked.work_by_celery, environ)
        pid = forked.fork(body, output=self._place / f"{name}.log")
        self._pids.append(pid)
        return pid

    def _fired(self) -> bool:
        return self._said(self._case.action)

    def _said(self, what: str) -> bool:
        log = self._place / "first.log"
        return log.exists() and f"killpoint {self._case.point} {what}\n" in log.read_text()

    def _done(self) -> bool:
        run = self._store.connection.run
        if run("ZCARD", keys.AGENDA_ACCUMULATE) or run("ZCARD", keys.AGENDA_POLL):
            return False
        return not any(run("XLEN", keys.requests(lane.decode())) for lane in run("SMEMBERS", keys.LANES))


def _enqueue(store: Store, plan: Scenario) -> None:
    store.intake.enqueue([(Request(id=ask.id, lane=ask.lane, body=ask.body.encode()), 3_600_000) for ask in plan.asks])


def _foreign_batch(url: str, rows: int) -> None:
    params = [json.loads(body(HAIKU, f"foreign {n}")) for n in range(rows)]
    requests = [{"custom_id": f"foreign-{n}", "params": each} for n, each in enumerate(params)]
    audit.fetch(f"{url}/v1/messages/batches", {"requests": requests})


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
