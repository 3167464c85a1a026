"""A small provider in memory: every way in which one may end a create call and a batch, by order of the test.

Two kinds, with the facts of the real ones: ``openai`` has files and tags, ``anthropic`` neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import msgspec

from batchline import custom_ids
from batchline.errors import Ambiguous, NotFound, Permanent, Retryable
from batchline.lanes import Lane
from batchline.providers import facts
from batchline.providers.protocol import (
    Created,
    Found,
    Job,
    Listed,
    Progress,
    Refusal,
    Result,
    RowRefusal,
    Storage,
    Upload,
)
from batchline.requests import Usage

LAG_MS = 60_000
"""How long a new batch may be missing in the list."""
DEAD_AFTER_MS = 120_000
"""How long a batch without its input file seems to run before it is failed."""
MARGIN_MS = 120_000
USAGE = {
    "openai": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    "anthropic": {"input_tokens": 10, "output_tokens": 5},
}
UNTOUCHED: tuple[str, ...] = ("error", "expired", "rejected")
"""Verdicts on rows that were never run."""

Mood = Literal["unheard", "lost", "late", "limited", "refused"]
Ending = Literal["completed", "expired", "cancelled", "no_file", "refused", "busy"]
Verdict = Literal["ok", "twice", "missing", "error", "expired", "rejected", "stranger"]


@dataclass(kw_only=True)
class Made:
    """A batch at the provider."""

    id: str
    rows: list[str]
    created_ms: int
    listed_ms: int
    job: Job | None = None
    """None for a batch of another application."""
    dead_ms: int | None = None
    """When it fails for want of its input file."""
    progress: Progress | None = None
    lines: list[Result] = field(default_factory=list)
    cancel_asked: bool = False


@dataclass(kw_only=True)
class Fake:
    """One account. ``moods`` are for the next create calls, ``cut_at`` for the next reading of results."""

    kind: str
    clock: Callable[[], int]
    lag_ms: int = LAG_MS
    moods: list[tuple[Mood, int]] = field(default_factory=list)
    cut_at: int | None = None
    made: dict[str, Made] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    late: list[tuple[int, Job, list[str]]] = field(default_factory=list)
    creates: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    """How often an entry was run without its answer ever being told."""
    serial: int = 0

    def __post_init__(self) -> None:
        known = facts(self.kind)
        self.limits, self.endpoints = known.limits, known.endpoints
        self.has_files, self.tagged = known.has_files, known.tagged
        self.results_kept_s = known.results_kept_s

    # --- the engine's side ---

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:  # noqa: ARG002
        return custom_id.encode()

    def upload(self, rows: BinaryIO, job: Job) -> str:  # noqa: ARG002
        self.serial += 1
        name = f"file-{self.serial}"
        self.files[name] = rows.read().decode().split()
        return name

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:  # noqa: ARG002
        self.creates[job.nonce] += 1
        sent = rows.read().decode().split()
        mood, delay_ms = self.moods.pop(0) if self.moods else (None, 0)
        if mood == "limited":
            raise Retryable("slow down", account=self.kind, call="create", code="429", retry_after_s=7.0)
        if mood == "refused":
            raise Permanent("no", account=self.kind, call="create", code="invalid_request_error")
        if mood == "late":
            self.late.append((self.clock() + delay_ms, job, sent))
        made = self.make(job, sent) if mood in {None, "unheard"} else None
        if made is None or mood:
            raise Ambiguous("the reply was lost", account=self.kind, call="create")
        return Created(provider_id=made.id, created_ms=made.created_ms)

    def find(self, job: Job) -> Found:
        seen = [each for each in self._listed() if each.created_ms >= job.intent_ms - MARGIN_MS]
        if self.tagged:
            return Found(proven=tuple(_created(e) for e in seen if e.job and e.job.nonce == job.nonce))
        return Found(candidates=tuple(_created(each) for each in seen if len(each.rows) == job.rows))

    def recent(self, since_ms: int) -> Iterator[Listed]:  # noqa: ARG002
        for each in self._listed():
            progress = self.poll(each.id)
            tag = each.job if self.tagged else None
            yield Listed(
                provider_id=each.id,
                created_ms=each.created_ms,
                total=len(each.rows),
                running=progress.outcome is None and not progress.refusal,
                dead=progress.refusal is not None,
                batch_id=tag.batch_id if tag else "",
                nonce=tag.nonce if tag else "",
                lane=tag.lane if tag else "",
            )

    def sent(self, provider_id: str) -> Iterator[str]:
        yield from self.made[provider_id].rows if self.has_files else ()

    def uploads(self, since_ms: int) -> Iterator[Upload]:  # noqa: ARG002
        """Show none: a file costs nothing here, and tests/engine/test_engine_files.py is about them."""
        return iter(())

    def poll(self, provider_id: str) -> Progress:
        made = self.made.get(provider_id)
        if made is None:
            raise NotFound("no such batch", account=self.kind, call="poll")
        if made.progress:
            return made.progress
        if made.dead_ms is not None and self.clock() >= made.dead_ms:
            made.progress = _refused(made, Refusal(scope="busy", code="", message="cannot find file"))
            return made.progress
        status = "cancelling" if made.cancel_asked else "in_progress"
        return Progress(provider_id=made.id, status=status, total=len(made.rows), created_ms=made.created_ms)

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:  # noqa: ARG002 - always files
        cut, self.cut_at = self.cut_at, None
        for number, line in enumerate(self.made[progress.provider_id].lines):
            if number == cut:
                raise Retryable("the stream was cut", account=self.kind, call="results")
            yield line

    def cancel(self, provider_id: str) -> None:
        made = self.made[provider_id]
        assert made.job, f"the batch of another application was cancelled: {provider_id}"
        made.cancel_asked = True

    def delete_file(self, ref: str) -> None:
        self.files.pop(ref, None)

    def storage(self) -> Storage | None:
        return None

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        raise NotImplementedError

    # --- the test's side ---

    def make(self, job: Job | None, rows: Sequence[str], *, at_ms: int | None = None) -> Made:
        """Create a batch, now or some time ago; without its input file it is dead from the start."""
        now_ms = self.clock() if at_ms is None else at_ms
        self.serial += 1
        made = Made(
            id=f"batch-{self.serial:04}",
            rows=list(rows),
            created_ms=now_ms,
            listed_ms=now_ms + self.lag_ms,
            job=job,
            dead_ms=now_ms + DEAD_AFTER_MS if job and job.input_ref and job.input_ref not in self.files else None,
        )
        self.made[made.id] = made
        return made

    def pass_time(self) -> None:
        """Let the create calls arrive whose time has come."""
        due = [each for each in self.late if each[0] <= self.clock()]
        self.late = [each for each in self.late if each[0] > self.clock()]
        for at_ms, job, rows in due:
            self.make(job, rows, at_ms=at_ms)

    def running(self) -> list[Made]:
        """Return the batches that have not ended and can."""
        return [each for each in self.made.values() if each.progress is None and each.dead_ms is None]

    def end(self, made: Made, ending: Ending, verdicts: Sequence[Verdict]) -> None:
        """End a batch: a verdict for each row, from the beginning again where there are more rows."""
        ruled = [(row, verdicts[number % len(verdicts)]) for number, row in enumerate(made.rows)]
        if made.job is None or (ending == "cancelled" and not made.cancel_asked):
            ending = "completed"
        if ending in {"refused", "busy"} and self.has_files:
            made.progress = _refused(made, _refusal(ending, ruled))
            return
        if ending == "no_file" and self.has_files:
            ruled = [(row, "missing") for row in made.rows]
        made.lines = [line for row, verdict in ruled for line in self._lines(row, verdict, ending)]
        if not made.lines and not self.tagged:
            # A batch without a tag and without a line is held for a person to decide; that is no business of this test.
            self._run(made.rows[0], told=True, again=True)
            made.lines = [self._answer(made.rows[0])]
        outcome = ending if ending in {"expired", "cancelled"} else "completed"
        made.progress = Progress(
            provider_id=made.id,
            status="ended",
            outcome=outcome,
            total=len(made.rows),
            created_ms=made.created_ms,
            ended_ms=self.clock(),
            results=(made.id,),
        )

    def _lines(self, row: str, verdict: Verdict, ending: Ending) -> list[Result]:
        if verdict == "missing":
            self._run(row, told=False)
            return []
        if verdict == "expired" and ending not in {"expired", "cancelled"}:
            verdict = "error"
        if verdict in UNTOUCHED:
            kind: Any = {"error": "retryable", "rejected": "rejected"}.get(verdict, ending)
            return [Result(custom_id=row, kind=kind, code="500", message="no", size=10)]
        self._run(row, told=True)
        line = self._answer(row)
        extra = {"twice": [line], "stranger": [msgspec.structs.replace(line, custom_id="somebody-else")]}
        return [line, *extra.get(verdict, [])]

    def _answer(self, row: str) -> Result:
        body = msgspec.json.encode({"answers": row, "model": "m", "usage": USAGE[self.kind]})
        usage = Usage(input_tokens=10, output_tokens=5)
        return Result(custom_id=row, kind="succeeded", body=msgspec.Raw(body), usage=usage, size=len(body))

    def _run(self, row: str, *, told: bool, again: bool = False) -> None:
        parsed = custom_ids.parse(row)
        if parsed is None:
            return
        if again:
            self.excused[parsed.entry_id] -= 1
            return
        self.executed[parsed.entry_id] += 1
        if not told:
            self.excused[parsed.entry_id] += 1

    def _listed(self) -> list[Made]:
        return [each for each in reversed(self.made.values()) if each.listed_ms <= self.clock()]


def _created(made: Made) -> Created:
    return Created(provider_id=made.id, created_ms=made.created_ms)


def _refused(made: Made, refusal: Refusal) -> Progress:
    return Progress(provider_id=made.id, status="failed", outcome="failed", refusal=refusal, total=len(made.rows))


def _refusal(ending: Ending, ruled: Sequence[tuple[str, Verdict]]) -> Refusal:
    if ending == "busy":
        return Refusal(scope="busy", code="token_limit_exceeded", message="later")
    guilty = tuple(
        RowRefusal(custom_id=row, code="bad", message="no") for row, verdict in ruled if verdict == "rejected"
    )
    return Refusal(scope="rows" if guilty else "unknown", code="bad", message="no", rows=guilty)
