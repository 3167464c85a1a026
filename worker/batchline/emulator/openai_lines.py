"""OpenAI's asynchronous validation of a batch's input file: one bad line and nothing is run.

Codes and texts: developers.openai.com/api/docs/guides/batch and observed failures; those of Azure's list
(learn.microsoft.com, "global batch") where OpenAI's own spelling is not documented.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from batchline.emulator.errors import ApiError
from batchline.emulator.jobs import Checked, Problem
from batchline.emulator.prompts import BYTES_PER_TOKEN, EMBEDDINGS, MODERATIONS, REQUIRED, model_of, read_prompt
from batchline.emulator.wire import decode_object

MAX_EMBEDDING_INPUTS = 50_000
MAX_PROBLEMS = 1_000  # ours: how many problems are listed is not documented


def problem(code: str, message: str, line: int | None = None, param: str | None = None) -> Problem:
    """Return one entry of a failed batch's `errors.data`."""
    return Problem(code=code, line=line, message=message, param=param)


@dataclass(slots=True)
class LineCheck:
    """Validates the lines of one file, one after the other.

    `max_requests` is the most that the service takes.  `count_tokens` adds up the prompts as well, which only an enqueued-token limit needs.
    """

    endpoint: str
    max_requests: int = 50_000
    count_tokens: bool = False
    bytes_per_token: float = BYTES_PER_TOKEN
    checked: Checked = field(default_factory=Checked)
    _ids: set[str] = field(default_factory=set)
    _inputs: int = 0

    def run(self, lines: Iterable[tuple[int, bytes]]) -> Checked:
        """Return what is wrong with `lines`, or how many there are."""
        checked = self.checked
        for number, line in lines:
            if checked.total >= self.max_requests:
                message = f"The batch has more than {self.max_requests} requests."
                checked.problems = [problem("too_many_tasks", message)]
                return checked
            checked.total += 1
            found = self._check_line(line)
            if found is not None:
                found["line"] = number
                checked.problems.append(found)
                if len(checked.problems) >= MAX_PROBLEMS:
                    return checked
        if checked.total == 0:
            checked.problems.append(problem("empty_file", "The input file is empty."))
        if self._inputs > MAX_EMBEDDING_INPUTS:
            message = f"The batch has more than {MAX_EMBEDDING_INPUTS} embedding inputs."
            checked.problems.append(problem("too_many_tasks", message))
        return checked

    def _check_line(self, line: bytes) -> Problem | None:
        request = decode_object(line)
        if request is None:
            return problem("invalid_json_line", "This line is not parseable as valid JSON.")
        for name in ("custom_id", "method", "url", "body"):
            if name not in request:
                return _missing(name, name)
        return self._check_envelope(request) or self._check_body(request["body"])

    def _check_envelope(self, request: dict[str, Any]) -> Problem | None:
        custom_id = request["custom_id"]
        if not isinstance(custom_id, str):
            return problem("invalid_request", "Invalid type for 'custom_id': expected a string.", param="custom_id")
        if custom_id in self._ids:
            return problem("duplicate_custom_id", "The custom_id of this request is not unique.", param="custom_id")
        self._ids.add(custom_id)
        if request["method"] != "POST":
            return problem("invalid_request", "Invalid 'method': only POST is supported.", param="method")
        if request["url"] != self.endpoint:
            message = f"The URL of this request does not match the batch endpoint {self.endpoint}."
            return problem("url_mismatch", message, param="url")
        if not isinstance(request["body"], dict):
            return problem("invalid_request", "Invalid type for 'body': expected an object.", param="body")
        return None

    def _check_body(self, body: dict[str, Any]) -> Problem | None:
        for name in REQUIRED[self.endpoint]:
            if name not in body:
                return _missing(name, f"body.{name}")
        if body.get("stream"):
            return problem("invalid_request", "Streaming is not supported in the Batch API.", param="body.stream")
        model = model_of(self.endpoint, body)
        if self.checked.model is None:
            self.checked.model = model
        if model != self.checked.model:
            message = "The model of this request is not the one of the batch's first request."
            return problem("model_mismatch", message, param="body.model")
        self._count(body)
        return None

    def _count(self, body: dict[str, Any]) -> None:
        given = body.get("input")
        if self.endpoint == EMBEDDINGS:
            many = isinstance(given, list) and not all(isinstance(item, int) for item in given)
            self._inputs += len(given) if many and given is not None else 1
        if self.count_tokens and self.endpoint != MODERATIONS:
            try:
                self.checked.enqueued_tokens += read_prompt(self.endpoint, body, self.bytes_per_token).input_tokens
            except ApiError:
                return  # refused when it is run


def _missing(name: str, param: str) -> Problem:
    return problem("missing_required_parameter", f"Missing required parameter: '{name}'.", param=param)
