"""Batch jobs that run by the clock.

A job is created, starts after the validation delay, and ends `latency_s` after its creation.  Its lines are answered
from disk to disk in one worker thread as soon as it starts; what that produced is published, and billed, only when
its time has come.  (A thread: decoding and hashing are short C calls, HTTP stays responsive, and nothing but the
results' paths and sums has to come back.)  A job's state changes only in `create`, `cancel` and `advance`.
"""

import secrets
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock
from typing import Any, Literal, Protocol

from batchline.emulator.bill import Provider, Tally, Usage
from batchline.emulator.options import Options
from batchline.emulator.wire import StoppedError

State = Literal["validating", "running", "cancelling", "ended", "failed", "cancelled"]
LIFE_S = 86_400


class Problem(dict[str, Any]):
    """One validation error: code, line (1-based, or None), message, param."""


@dataclass(slots=True)
class Outcome:
    """What one pass over a job's input produced; `output` and `rejected` are files on disk, or None when empty.

    `broken`: the pass broke off in its middle, the requests behind were not run.
    """

    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    output: Path | None = None
    rejected: Path | None = None
    broken: bool = False
    tallies: dict[str, Tally] = field(default_factory=dict)

    def usage(self) -> Usage:
        """Return the tokens of all succeeded requests."""
        tallies = self.tallies.values()
        return Usage(
            sum(tally.input_tokens for tally in tallies),
            sum(tally.cached_tokens for tally in tallies),
            sum(tally.output_tokens for tally in tallies),
        )


@dataclass(slots=True)
class Checked:
    """What validation found: the number of requests, or the problems for which nothing is run.

    The problems are told `told_after_s` after the job's creation, at the earliest.
    """

    total: int = 0
    model: str | None = None
    enqueued_tokens: int = 0
    problems: list[Problem] = field(default_factory=list)
    told_after_s: float = 0.0


@dataclass(slots=True)
class Job:
    """One batch. Times are seconds of the emulator's clock; `given` is what its provider's API keeps for itself.

    List answers show it from `listed_at` on.  A `foreign` one is another application's.
    """

    id: str
    provider: Provider
    given: Any
    created_at: float
    starts_at: float
    due_at: float
    listed_at: float = 0.0
    foreign: bool = False
    state: State = "validating"
    checked: Checked | None = None
    outcome: Outcome | None = None
    ready_at: float = 0.0
    cancel_at: float | None = None
    ended_at: float | None = None
    task: "Future[None] | None" = None

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ("ended", "failed", "cancelled")

    @property
    def total(self) -> int:
        """Number of its requests; 0 before it is known."""
        return self.checked.total if self.checked is not None else 0

    def share_done(self, now: float) -> float:
        """Return which share of its requests counts as done by the clock, 0 to 1."""
        if self.state == "validating":
            return 0.0
        if now >= self.due_at:
            return 1.0
        return max(0.0, (now - self.starts_at) / (self.due_at - self.starts_at))


class Work(Protocol):
    """How one provider's jobs are validated, answered and published.

    `check` and `run` are called in the worker thread and change no shared state; `publish` by `advance`.
    """

    def check(self, job: Job, stop: Event) -> Checked:
        """Validate the whole input."""

    def run(self, job: Job, upto: int | None, stop: Event) -> Outcome:
        """Answer the first `upto` requests (None: all); the others were cancelled."""

    def publish(self, job: Job, outcome: Outcome) -> None:
        """Make the results of a finished job visible."""


class Jobs:
    """All batches of one emulator, of both providers. Every method may be called from any thread."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._work: dict[Provider, Work] = {}
        self._jobs: dict[str, Job] = {}  # in order of creation
        self._active: dict[str, Job] = {}
        self._stop = Event()
        self._lock = RLock()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emulator-jobs")

    def register(self, provider: Provider, work: Work) -> None:
        """Say how jobs of `provider` are done."""
        self._work[provider] = work

    def create(self, provider: Provider, prefix: str, given: Any, *, validated: Checked | None = None) -> Job:
        """Add a job made now and return it; `validated` when nothing is left to check (it starts at once)."""
        now = self._clock()
        latency = self._options.latency_s
        delay = 0.0 if validated is not None else min(self._options.validation_delay_s, latency)
        job = Job(f"{prefix}_{secrets.token_hex(12)}", provider, given, now, now + delay, now + latency)
        job.listed_at = now + self._options.listing_lag_s
        return self._add(job, validated)

    def add_foreign(
        self,
        provider: Provider,
        prefix: str,
        given: Any,
        created_at: float,
        due_at: float,
        *,
        validated: Checked | None = None,
    ) -> Job:
        """Add a job that another application made at `created_at` and that ends at `due_at`; listed at once."""
        starts_at = min(created_at, due_at)
        job = Job(f"{prefix}_{secrets.token_hex(12)}", provider, given, created_at, starts_at, due_at, foreign=True)
        return self._add(job, validated)

    def _add(self, job: Job, validated: Checked | None) -> Job:
        job.checked = validated
        with self._lock:
            self._jobs[job.id] = self._active[job.id] = job
            if validated is not None:
                self._advance(job, self._clock())
        return job

    def get(self, provider: Provider, job_id: str) -> Job | None:
        """Return a job by its id, or None."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.provider == provider else None

    def listed(self, provider: Provider) -> list[Job]:
        """Return the jobs of a provider that its list call shows by now, in that call's order: newest first."""
        now = self._clock()
        with self._lock:
            jobs = [job for job in reversed(self._jobs.values()) if job.provider == provider and job.listed_at <= now]
        return sorted(jobs, key=lambda job: -job.created_at)  # foreign ones were added out of order

    def unfinished(self, provider: Provider) -> list[Job]:
        """Return the jobs of a provider that have not ended."""
        with self._lock:
            return [job for job in self._active.values() if job.provider == provider]

    def created_since(self, provider: Provider, since: float) -> int:
        """Return how many jobs of a provider were created after `since`, without foreign ones."""
        count = 0
        with self._lock:
            for job in reversed(self._jobs.values()):
                if job.foreign or job.provider != provider:
                    continue
                if job.created_at <= since:
                    break
                count += 1
        return count

    def forget(self, job: Job) -> None:
        """Drop a finished job."""
        with self._lock:
            self._jobs.pop(job.id, None)

    def cancel(self, job: Job) -> None:
        """Ask for an end: what is not done by the clock now will not be run. No effect on a job that is ending."""
        with self._lock:
            if job.finished or job.state == "cancelling":
                return
            now = self._clock()
            upto = int(job.share_done(now) * job.total)
            if job.task is not None:
                job.task.cancel()
            job.state, job.cancel_at, job.outcome = "cancelling", now, None
            job.task = self._worker.submit(self._guarded, job, lambda: self._finish_pass(job, upto))

    def advance(self) -> None:
        """Bring every job to where it belongs at the clock's time."""
        with self._lock:
            now = self._clock()
            for job in list(self._active.values()):
                self._advance(job, now)
                if job.finished:
                    del self._active[job.id]

    def idle(self) -> None:
        """Block until the worker thread has nothing left to do (for tests with a clock of their own)."""
        self._worker.submit(lambda: None).result()

    def close(self) -> None:
        """Stop the worker thread."""
        self._stop.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _advance(self, job: Job, now: float) -> None:
        if job.state == "validating" and job.task is None and now >= job.starts_at:
            job.task = self._worker.submit(self._guarded, job, lambda: self._first_pass(job))
        if job.state == "validating" and job.checked is not None:
            self._judge(job, job.checked, now)
        if job.outcome is None:
            return
        if job.state == "running" and now >= job.due_at:
            self._end(job, "ended", max(job.due_at, job.ready_at))
        elif job.state == "cancelling" and job.cancel_at is not None:
            due = job.cancel_at + self._options.cancel_delay_s
            if now >= due:
                self._end(job, "cancelled", max(due, job.ready_at))

    def _judge(self, job: Job, checked: Checked, now: float) -> None:
        told_at = job.created_at + checked.told_after_s
        if not checked.problems:
            job.state = "running"
        elif now >= told_at:
            job.state, job.ended_at = "failed", max(job.starts_at, job.ready_at, told_at)

    def _end(self, job: Job, state: State, ended_at: float) -> None:
        if job.outcome is not None:
            self._work[job.provider].publish(job, job.outcome)
        job.state, job.ended_at, job.task = state, ended_at, None

    def _guarded(self, job: Job, action: Callable[[], None]) -> None:
        try:
            action()
        except StoppedError:
            return
        except Exception:  # noqa: BLE001 - a mistake of the emulator must show as a failed batch, not as a hang
            traceback.print_exc(file=sys.stderr)
            broken = Problem(code="emulator_error", line=None, message="The emulator failed, see its log.", param=None)
            with self._lock:
                job.checked, job.state = Checked(problems=[broken]), "validating"

    def _first_pass(self, job: Job) -> None:
        checked = job.checked or self._work[job.provider].check(job, self._stop)
        job.ready_at = self._clock()
        job.checked = checked
        if not checked.problems:
            self._finish_pass(job, None)

    def _finish_pass(self, job: Job, upto: int | None) -> None:
        outcome = self._work[job.provider].run(job, upto, self._stop)
        with self._lock:
            if upto is None and job.cancel_at is not None:
                return  # cancelled meanwhile: the pass that follows counts
            job.ready_at = self._clock()
            job.outcome = outcome
