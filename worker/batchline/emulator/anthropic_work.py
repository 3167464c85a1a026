"""Message batches from disk to disk: the requests of the create call to one file of results."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from batchline.emulator.answers import message
from batchline.emulator.anthropic_cache import PromptCache
from batchline.emulator.anthropic_params import check_params
from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError, anthropic_error_body
from batchline.emulator.faults import Fate
from batchline.emulator.jobs import Checked, Job, Outcome
from batchline.emulator.lines import LineWriter
from batchline.emulator.prompts import MESSAGES, read_prompt
from batchline.emulator.wire import decode_object, numbered_lines
from batchline.emulator.world import Emulator

REFUSED = ApiError(400, "messages: this request was refused, its message carries the reject marker")
SERVER_ERROR = ApiError(500, "Internal server error", kind="api_error")


@dataclass(slots=True)
class Given:
    """What the create call said, and the results that came of it."""

    lines: Path
    version: str
    betas: frozenset[str] = frozenset()
    results: Path | None = None


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over a batch's requests: what it has produced so far."""

    job: Job
    results: LineWriter
    outcome: Outcome = field(default_factory=Outcome)
    cache: PromptCache = field(default_factory=PromptCache)

    def at(self, number: int) -> float:
        """Return when request `number` is run: they follow each other from the batch's start to its end."""
        job = self.job
        return job.starts_at + (number - 1) / job.total * (job.due_at - job.starts_at)

    def fail(self, tally: Tally, custom_id: str, error: ApiError) -> None:
        """Add an errored result."""
        self.outcome.failed += 1
        tally.fail()
        result = {"type": "errored", "error": anthropic_error_body(error, None)}
        self.results.write({"custom_id": custom_id, "result": result})


@dataclass(frozen=True, slots=True)
class AnthropicWork:
    """See `jobs.Work`. The envelope was checked by the create call; params are checked one by one as they are run."""

    emulator: Emulator

    def check(self, job: Job, stop: Event) -> Checked:  # noqa: ARG002 - nothing is left to check
        """Return what the create call found."""
        return job.checked or Checked()

    def run(self, job: Job, upto: int | None, stop: Event) -> Outcome:
        """Answer the requests; those behind `upto` are canceled."""
        given: Given = job.given
        path = self.emulator.scratch / f"{job.id}.results.{'all' if upto is None else 'part'}"
        with LineWriter(path) as results:
            running = _Pass(job, results)
            outcome = running.outcome
            for number, line in numbered_lines(given.lines, stop):
                request = decode_object(line)
                if request is None:
                    continue
                if upto is not None and number > upto:
                    outcome.cancelled += 1
                    results.write({"custom_id": request["custom_id"], "result": {"type": "canceled"}})
                else:
                    self._run_request(running, request, running.at(number))
            outcome.output = results.path
        return outcome

    def publish(self, job: Job, outcome: Outcome) -> None:
        """Make the results downloadable, and bill them."""
        given: Given = job.given
        given.results = outcome.output
        given.lines.unlink(missing_ok=True)
        for model, tally in outcome.tallies.items() if not job.foreign else ():
            self.emulator.bill.add("anthropic", model, "batch", tally)

    def _run_request(self, running: _Pass, request: dict[str, Any], at: float) -> None:
        params, custom_id = request["params"], request["custom_id"]
        outcome, results, given = running.outcome, running.results, running.job.given
        tally = outcome.tallies.setdefault(str(params.get("model")), Tally())
        try:
            prefixes = check_params(params, given.version, given.betas, in_batch=True)
            prompt = read_prompt(MESSAGES, params)
        except ApiError as error:
            running.fail(tally, custom_id, error)
            return
        fate = self.emulator.fates.of(prompt.model, prompt.text, prompt.digest, running.job.id)
        if fate is Fate.EXPIRE:
            outcome.expired += 1
            results.write({"custom_id": custom_id, "result": {"type": "expired"}})
        elif fate is Fate.REJECT or fate is Fate.ERROR:
            running.fail(tally, custom_id, REFUSED if fate is Fate.REJECT else SERVER_ERROR)
        elif fate is Fate.MISSING:
            outcome.failed += 1
            tally.fail()
        else:
            prompt = prompt._replace(cache=running.cache.use(prefixes, at))
            result, usage = message(prompt, self.emulator.options.seed, service_tier="batch")
            outcome.succeeded += 1
            tally.succeed(prompt.model, prompt.digest, usage)
            for _ in range(2 if fate is Fate.DUPLICATE else 1):
                results.write({"custom_id": custom_id, "result": {"type": "succeeded", "message": result}})
