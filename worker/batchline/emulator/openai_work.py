"""OpenAI batches from disk to disk: input file to output file and error file."""

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from batchline.emulator.answers import answer
from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError, openai_error_body
from batchline.emulator.faults import Fate
from batchline.emulator.files import DEFAULT_LIFE_S
from batchline.emulator.jobs import Checked, Job, Outcome
from batchline.emulator.lines import LineWriter
from batchline.emulator.openai_lines import LineCheck, problem
from batchline.emulator.prompts import digest_of, model_of, read_prompt
from batchline.emulator.wire import decode_object, numbered_lines
from batchline.emulator.world import Emulator

REFUSED = ApiError(400, "This request was refused: its message carries the reject marker.", code="invalid_prompt")
SERVER_ERROR = ApiError(500, "The server had an error while processing your request.", kind="server_error")
EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


@dataclass(slots=True)
class Given:
    """What the create call said, and the files that came of it."""

    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None
    output_life_s: int = DEFAULT_LIFE_S
    output_file_id: str | None = None
    error_file_id: str | None = None


@dataclass(frozen=True, slots=True)
class OpenAIWork:
    """See `jobs.Work`."""

    emulator: Emulator

    def check(self, job: Job, stop: Event) -> Checked:
        """Validate the input file; from here on the job has a link of its own to it."""
        given: Given = job.given
        try:
            os.link(self.emulator.files.path(given.input_file_id), self._input(job))
        except FileNotFoundError:
            missing = problem(
                "invalid_request", f"Cannot find file {given.input_file_id}, or the project has no access"
            )
            return Checked(problems=[missing], told_after_s=self.emulator.options.missing_file_delay_s)
        limits = self.emulator.options.enqueued_token_limits
        checked = LineCheck(given.endpoint, bool(limits)).run(numbered_lines(self._input(job), stop))
        limit = limits.get(checked.model or "")
        if limit is not None and not checked.problems and self._enqueued(checked) > limit:
            checked.problems = [problem("token_limit_exceeded", _limit_text(checked.model, limit))]
        if checked.problems:
            self._input(job).unlink()
        return checked

    def run(self, job: Job, upto: int | None, stop: Event) -> Outcome:
        """Answer the lines; those behind `upto` leave no trace in either file."""
        outcome = Outcome()
        suffix = "all" if upto is None else "part"
        output, rejected = (self.emulator.scratch / f"{job.id}.{kind}.{suffix}" for kind in ("output", "error"))
        with LineWriter(output) as answers, LineWriter(rejected) as errors:
            lines = numbered_lines(self._input(job), stop) if upto is None or upto > 0 else iter(())
            for number, line in lines:
                if upto is not None and number > upto:
                    break
                request = decode_object(line)
                if request is not None:
                    self._run_line(job, request, outcome, answers, errors)
            outcome.output, outcome.rejected = answers.path, errors.path
        return outcome

    def publish(self, job: Job, outcome: Outcome) -> None:
        """Turn the results into files, and bill them."""
        given: Given = job.given
        if outcome.output is not None:
            given.output_file_id = self._adopt(job, outcome.output, "output")
        if outcome.rejected is not None:
            given.error_file_id = self._adopt(job, outcome.rejected, "error")
        for model, tally in outcome.tallies.items() if not job.foreign else ():
            self.emulator.bill.add("openai", model, "batch", tally)
        self._input(job).unlink(missing_ok=True)

    def _run_line(
        self, job: Job, request: dict[str, Any], outcome: Outcome, answers: LineWriter, errors: LineWriter
    ) -> None:
        given: Given = job.given
        body, custom_id = request["body"], request["custom_id"]
        tally = outcome.tallies.setdefault(str(model_of(given.endpoint, body)), Tally())
        try:
            prompt = read_prompt(given.endpoint, body)
        except ApiError as error:
            self._fail(outcome, tally, errors, custom_id, error)
            return
        fate = self.emulator.fates.of(prompt.model, prompt.text, prompt.digest, job.id)
        if fate is Fate.EXPIRE:
            outcome.expired += 1
            errors.write({"id": _line_id(prompt.digest), "custom_id": custom_id, "response": None, "error": EXPIRED})
        elif fate is Fate.REJECT or fate is Fate.ERROR:
            self._fail(outcome, tally, errors, custom_id, REFUSED if fate is Fate.REJECT else SERVER_ERROR)
        elif fate is Fate.MISSING:
            outcome.failed += 1
            tally.fail()
        else:
            now, seed = self.emulator.now(), self.emulator.options.seed
            result, usage = answer(given.endpoint, body, prompt, now, seed)
            outcome.succeeded += 1
            tally.succeed(prompt.model, prompt.digest, usage)
            for _ in range(2 if fate is Fate.DUPLICATE else 1):
                answers.write(_line(prompt.digest, custom_id, 200, result))

    def _fail(self, outcome: Outcome, tally: Tally, errors: LineWriter, custom_id: str, error: ApiError) -> None:
        outcome.failed += 1
        tally.fail()
        errors.write(_line(digest_of(custom_id), custom_id, error.status, openai_error_body(error)))

    def _enqueued(self, checked: Checked) -> int:
        others = [
            job.checked for job in self.emulator.jobs.unfinished("openai") if job.checked and not job.checked.problems
        ]
        return sum(other.enqueued_tokens for other in [*others, checked] if other.model == checked.model)

    def _adopt(self, job: Job, path: Path, kind: str) -> str:
        given: Given = job.given
        name = f"{job.id}_{kind}.jsonl"
        return self.emulator.files.adopt(path, name, "batch_output", given.output_life_s, foreign=job.foreign).id

    def _input(self, job: Job) -> Path:
        return self.emulator.scratch / f"{job.id}.input"


def _line_id(digest: str) -> str:
    return f"batch_req_{digest[:24]}"


def _line(digest: str, custom_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": digest[32:], "body": body}
    return {"id": _line_id(digest), "custom_id": custom_id, "response": response, "error": None}


def _limit_text(model: str | None, limit: int) -> str:
    return (
        f"Enqueued token limit reached for {model} in organization org-emulator. Limit: {limit:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
