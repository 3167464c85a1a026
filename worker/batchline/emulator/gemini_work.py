"""Gemini batches from disk to disk: a file of requests, or those of the create call, to one file of answers.

What a request is refused for, Google tells as google.rpc.Status; that its codes are gRPC's (13, 1) and not HTTP's was
seen in googleapis/python-genai issue 1341 and in others' results.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError
from batchline.emulator.faults import Fate
from batchline.emulator.gemini_answers import content, embedding
from batchline.emulator.gemini_requests import line_problem, read_request
from batchline.emulator.jobs import Checked, Job, Outcome
from batchline.emulator.lines import LineWriter
from batchline.emulator.wire import decode_object, numbered_lines
from batchline.emulator.world import Emulator

LIFE_S = 48 * 3_600
REFUSED = ApiError(400, "This request was refused: its message carries the reject marker.")
ERROR_TEXTS = {
    1: "The operation was cancelled.",
    13: "An internal error has occurred. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting",
}
_CODES = {400: 3, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}  # HTTP status to gRPC code


@dataclass(slots=True)
class Given:
    """What the create call said, and the results that came of it.

    `lines` are the requests on disk, `inline` says that they came with the call, `lost` that the job expires.
    """

    model: str
    embeds: bool
    lines: Path
    display_name: str = ""
    file_name: str | None = None
    lost: bool = False
    answers: Path | None = None
    answers_file: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the answers stand in the operation itself."""
        return self.file_name is None


@dataclass(frozen=True, slots=True)
class GeminiWork:
    """See `jobs.Work`. The create call has looked at every line; meaning is checked as they are run."""

    emulator: Emulator

    def check(self, job: Job, stop: Event) -> Checked:  # noqa: ARG002 - nothing is left to check
        """Return what the create call found."""
        return job.checked or Checked()

    def run(self, job: Job, upto: int | None, stop: Event) -> Outcome:
        """Answer the requests; those behind `upto` were cancelled.

        A job that expires has no results at all, and one request with an expiry marker makes it one.
        """
        given: Given = job.given
        if given.lost:
            return Outcome(expired=job.total)
        outcome = Outcome(cancelled=0 if upto is None else job.total - upto)
        path = self.emulator.scratch / f"{job.id}.answers.{'all' if upto is None else 'part'}"
        with LineWriter(path) as answers:
            done = 0
            for _, line in numbered_lines(given.lines, stop):
                if not line.strip():
                    continue
                if done == upto:
                    break
                done += 1
                if not self._run_line(job, line, outcome, answers):
                    return Outcome(expired=job.total)
            outcome.output = answers.path
        return outcome

    def publish(self, job: Job, outcome: Outcome) -> None:
        """Make the results visible, and bill them. A cancelled job has none, unless the options say so."""
        given: Given = job.given
        given.lines.unlink(missing_ok=True)
        if job.cancel_at is not None and not self.emulator.options.gemini_cancelled_results:
            job.outcome = Outcome(cancelled=job.total)
            return
        if outcome.output is not None and given.inline:
            given.answers = outcome.output
        elif outcome.output is not None:
            name = f"batch-{job.id}"
            self.emulator.gemini_files.adopt(outcome.output, name, source="GENERATED", foreign=job.foreign)
            given.answers_file = f"files/{name}"
        for model, tally in outcome.tallies.items() if not job.foreign else ():
            self.emulator.bill.add("gemini", model, "batch", tally)

    def inlined(self, given: Given) -> list[Any]:
        """Return the answers of an inline job, in the order and with the metadata that the options ask for."""
        if given.answers is None:
            return []
        lines = given.answers.read_bytes().rstrip(b"\n").split(b"\n")
        if self.emulator.options.gemini_shuffle_inline:
            lines.sort(key=lambda line: hashlib.blake2b(line, digest_size=8).digest())
        rows: list[dict[str, Any]] = [msgspec.json.decode(line) for line in lines]
        if not self.emulator.options.gemini_echo_metadata:
            for row in rows:
                row.pop("metadata", None)
        return rows

    def _run_line(self, job: Job, line: bytes, outcome: Outcome, answers: LineWriter) -> bool:
        """Answer one line; False when the whole job expires."""
        given: Given = job.given
        tally = outcome.tallies.setdefault(given.model, Tally())
        row = decode_object(line) or {}
        label: dict[str, Any] = {name: row[name] for name in ("key", "metadata") if name in row}
        request = row.get("request")
        try:
            if (problem := line_problem(row, line, embeds=given.embeds)) is not None or not isinstance(request, dict):
                raise ApiError(400, problem or "no request")  # noqa: TRY301 - told like every other refusal
            prompt = read_request(given.model, request, embeds=given.embeds)
        except ApiError as error:
            self._fail(outcome, tally, answers, label, _status(error))
            return True
        fate = self.emulator.fates.of(prompt.model, prompt.text, prompt.digest, job.id)
        if fate is Fate.EXPIRE and "[[expire" in prompt.text:
            return False
        if fate is Fate.REJECT:
            self._fail(outcome, tally, answers, label, _status(REFUSED))
        elif fate is Fate.ERROR:
            code = self.emulator.options.gemini_error_code
            status = {"code": code, "message": ERROR_TEXTS.get(code, "The service is currently unavailable.")}
            self._fail(outcome, tally, answers, label, status)
        elif fate is Fate.MISSING:
            outcome.failed += 1
            tally.fail()
        else:
            answer, usage = (
                embedding(request, prompt) if given.embeds else content(request, prompt, self.emulator.options.seed)
            )
            outcome.succeeded += 1
            tally.succeed(prompt.model, prompt.digest, usage)
            for _ in range(2 if fate is Fate.DUPLICATE else 1):
                answers.write({"response": answer, **label})
        return True

    def _fail(
        self, outcome: Outcome, tally: Tally, answers: LineWriter, label: dict[str, Any], status: dict[str, Any]
    ) -> None:
        outcome.failed += 1
        tally.fail()
        answers.write({**label, "error": status})


def _status(error: ApiError) -> dict[str, Any]:
    return {"code": _CODES.get(error.status, 13), "message": error.message}
