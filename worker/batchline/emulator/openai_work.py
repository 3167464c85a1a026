"""OpenAI batches from disk to disk: input file to output file and error file."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from batchline.emulator.answers import answer
from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError, openai_error_body
from batchline.emulator.faults import Fate
from batchline.emulator.files import DEFAULT_LIFE_S
from batchline.emulator.jobs import LIFE_S, Checked, Job, Outcome
from batchline.emulator.lines import LineWriter
from batchline.emulator.openai_cache import NeighbourCache
from batchline.emulator.openai_dialects import Dialect, dialect_of
from batchline.emulator.openai_lines import LineCheck, problem
from batchline.emulator.prompts import Prompt, digest_of, model_of, read_prompt
from batchline.emulator.quotas import limit_of
from batchline.emulator.wire import decode_object, numbered_lines
from batchline.emulator.world import Emulator

REFUSED = ApiError(400, "This request was refused: its message carries the reject marker.", code="invalid_prompt")
SERVER_ERROR = ApiError(500, "The server had an error while processing your request.", kind="server_error")
EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
# Lines of requests that were not run: llm-d's own codes, in its dialect only.
BREAK_ONCE = "[[batch-fail-once]]"
CANCELLED = {"code": "batch_cancelled", "message": "This request was not executed because the batch was cancelled."}
FAILED = {"code": "batch_failed", "message": "This request was not executed because the batch failed."}


@dataclass(slots=True)
class Given:
    """What the create call said, and the files that came of it."""

    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None
    output_life_s: int = DEFAULT_LIFE_S
    output_file_id: str | None = None
    error_file_id: str | None = None
    window: str = "24h"
    window_s: int = LIFE_S


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over a batch's lines: what it has produced so far."""

    job: Job
    dialect: Dialect
    answers: LineWriter
    errors: LineWriter
    outcome: Outcome = field(default_factory=Outcome)
    cache: NeighbourCache = field(default_factory=NeighbourCache)

    def fail(self, tally: Tally, custom_id: str, error: ApiError) -> None:
        """Add the line of a request that was run and refused, or ended in an error."""
        self.outcome.failed += 1
        tally.fail()
        self.errors.write(_line(digest_of(custom_id), custom_id, error.status, openai_error_body(error)))

    def leave(self, custom_id: str, error: dict[str, str]) -> None:
        """Add the line of a request that was not run."""
        line_id = _line_id(digest_of(custom_id))
        self.errors.write({"id": line_id, "custom_id": custom_id, "response": None, "error": error})

    def skip(self, custom_id: str) -> None:
        """Pass over a request behind the one where the batch was cancelled or broke off."""
        if self.dialect.tells_unrun:
            self.outcome.failed += 1
            self.leave(custom_id, FAILED if self.outcome.broken else CANCELLED)


@dataclass(frozen=True, slots=True)
class OpenAIWork:
    """See `jobs.Work`."""

    emulator: Emulator

    def check(self, job: Job, stop: Event) -> Checked:
        """Validate the input file; from here on the job has a link of its own to it."""
        given: Given = job.given
        if not self._link_input(job):
            missing = problem(
                "invalid_request", f"Cannot find file {given.input_file_id}, or the project has no access"
            )
            return Checked(problems=[missing], told_after_s=self.emulator.options.missing_file_delay_s)
        options = self.emulator.options
        limits, most = options.enqueued_token_limits, dialect_of(options).max_requests
        check = LineCheck(given.endpoint, most, bool(limits), options.bytes_per_token)
        checked = check.run(numbered_lines(self._input(job), stop))
        if limits and not checked.problems:
            self._admit(checked)
        if checked.problems:
            self._input(job).unlink()
        return checked

    def run(self, job: Job, upto: int | None, stop: Event) -> Outcome:
        """Answer the lines; those behind `upto` leave no trace in either file, unless the dialect has one for them."""
        dialect = dialect_of(self.emulator.options)
        suffix = "all" if upto is None else "part"
        output, rejected = (self.emulator.scratch / f"{job.id}.{kind}.{suffix}" for kind in ("output", "error"))
        with LineWriter(output) as answers, LineWriter(rejected) as errors:
            running = _Pass(job, dialect, answers, errors)
            outcome = running.outcome
            lines = numbered_lines(self._input(job), stop) if self._input(job).exists() else iter(())
            for number, line in lines:
                unrun = outcome.broken or (upto is not None and number > upto)
                if unrun and not dialect.tells_unrun:
                    break
                request = decode_object(line)
                if request is not None and unrun:
                    running.skip(request["custom_id"])
                elif request is not None:
                    self._run_line(running, request)
            if dialect.empty_error_file:
                errors.open()
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

    def _run_line(self, running: _Pass, request: dict[str, Any]) -> None:
        job, outcome = running.job, running.outcome
        given: Given = job.given
        body, custom_id = request["body"], request["custom_id"]
        tally = outcome.tallies.setdefault(str(model_of(given.endpoint, body)), Tally())
        try:
            running.dialect.check_body(body)
            prompt = read_prompt(given.endpoint, body, self.emulator.options.bytes_per_token)
        except ApiError as error:
            running.fail(tally, custom_id, error)
            return
        if running.dialect.tells_unrun and self._breaks(job, prompt):
            outcome.broken = True
            running.skip(custom_id)
            return
        fate = self.emulator.fates.of(prompt.model, prompt.text, prompt.digest, job.id)
        if fate is Fate.EXPIRE and running.dialect.expires:
            outcome.expired += 1
            running.leave(custom_id, EXPIRED)
        elif fate is Fate.REJECT or fate is Fate.ERROR:
            running.fail(tally, custom_id, REFUSED if fate is Fate.REJECT else SERVER_ERROR)
        elif fate is Fate.MISSING:
            outcome.failed += 1
            tally.fail()
        else:
            now, options = self.emulator.now(), self.emulator.options
            if options.prompt_cache:
                prompt = prompt._replace(cache=running.cache.use(given.endpoint, body, prompt))
            result, usage = answer(given.endpoint, body, prompt, now, options.seed)
            outcome.succeeded += 1
            tally.succeed(prompt.model, prompt.digest, usage)
            for _ in range(2 if fate is Fate.DUPLICATE else 1):
                running.answers.write(_line(prompt.digest, custom_id, 200, result))

    def _breaks(self, job: Job, prompt: Prompt) -> bool:
        """Return whether the batch breaks off at this request: at the marker, in the first batch that has it."""
        sightings = self.emulator.fates.sightings
        return BREAK_ONCE in prompt.text and not sightings.earlier(prompt.model, prompt.digest, job.id)

    def _admit(self, checked: Checked) -> None:
        """Give the batch its problem when its model's enqueued tokens, all unfinished batches', are over the limit."""
        model = str(checked.model)
        limit = limit_of(self.emulator.options.enqueued_token_limits, model)
        others = [job.checked for job in self.emulator.jobs.unfinished("openai") if job.checked]
        admitted = [other for other in others if other.model == checked.model and not other.problems]
        tokens = sum(other.enqueued_tokens for other in [*admitted, checked])
        if not self.emulator.bill.quotas.admit("openai", model, "tokens", tokens, limit) and limit is not None:
            checked.problems = [problem("token_limit_exceeded", _limit_text(model, limit))]

    def _adopt(self, job: Job, path: Path, kind: str) -> str:
        given: Given = job.given
        name = f"{job.id}_{kind}.jsonl"
        return self.emulator.files.adopt(path, name, "batch_output", given.output_life_s, foreign=job.foreign).id

    def _link_input(self, job: Job) -> bool:
        """Return whether the input file is there, neither deleted nor expired."""
        files, file_id = self.emulator.files, job.given.input_file_id
        if files.get(file_id) is None:
            return False
        try:
            os.link(files.path(file_id), self._input(job))
        except FileNotFoundError:
            return False
        return True

    def _input(self, job: Job) -> Path:
        return self.emulator.scratch / f"{job.id}.input"


def _line_id(digest: str) -> str:
    return f"batch_req_{digest[:24]}"


def _line(digest: str, custom_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": digest[32:], "body": body}
    return {"id": _line_id(digest), "custom_id": custom_id, "response": response, "error": None}


def _limit_text(model: str, limit: int) -> str:
    return (
        f"Enqueued token limit reached for {model} in organization org-emulator. Limit: {limit:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
