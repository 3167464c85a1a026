"""Message batches from disk to disk: the requests of the create call to one file of results."""

from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from batchline.emulator.answers import message
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
    results: Path | None = None


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
        outcome = Outcome()
        path = self.emulator.scratch / f"{job.id}.results.{'all' if upto is None else 'part'}"
        with LineWriter(path) as results:
            for number, line in numbered_lines(given.lines, stop):
                request = decode_object(line)
                if request is None:
                    continue
                if upto is not None and number > upto:
                    outcome.cancelled += 1
                    results.write({"custom_id": request["custom_id"], "result": {"type": "canceled"}})
                else:
                    self._run_request(job, request, outcome, results)
            outcome.output = results.path
        return outcome

    def publish(self, job: Job, outcome: Outcome) -> None:
        """Make the results downloadable, and bill them."""
        given: Given = job.given
        given.results = outcome.output
        given.lines.unlink(missing_ok=True)
        for model, tally in outcome.tallies.items() if not job.foreign else ():
            self.emulator.bill.add("anthropic", model, "batch", tally)

    def _run_request(self, job: Job, request: dict[str, Any], outcome: Outcome, results: LineWriter) -> None:
        params, custom_id = request["params"], request["custom_id"]
        tally = outcome.tallies.setdefault(str(params.get("model")), Tally())
        try:
            check_params(params, job.given.version, in_batch=True)
            prompt = read_prompt(MESSAGES, params)
        except ApiError as error:
            _fail(outcome, tally, results, custom_id, error)
            return
        fate = self.emulator.fates.of(prompt.model, prompt.text, prompt.digest, job.id)
        if fate is Fate.EXPIRE:
            outcome.expired += 1
            results.write({"custom_id": custom_id, "result": {"type": "expired"}})
        elif fate is Fate.REJECT or fate is Fate.ERROR:
            _fail(outcome, tally, results, custom_id, REFUSED if fate is Fate.REJECT else SERVER_ERROR)
        elif fate is Fate.MISSING:
            outcome.failed += 1
            tally.fail()
        else:
            result, usage = message(prompt, self.emulator.options.seed, service_tier="batch")
            outcome.succeeded += 1
            tally.succeed(prompt.model, prompt.digest, usage)
            for _ in range(2 if fate is Fate.DUPLICATE else 1):
                results.write({"custom_id": custom_id, "result": {"type": "succeeded", "message": result}})


def _fail(outcome: Outcome, tally: Tally, results: LineWriter, custom_id: str, error: ApiError) -> None:
    outcome.failed += 1
    tally.fail()
    result = {"type": "errored", "error": anthropic_error_body(error, None)}
    results.write({"custom_id": custom_id, "result": result})
