"""Gemini's batches: create of both kinds, get, list, cancel, delete.

Source: ai.google.dev/api/batch-api and .../gemini-api/docs/batch-api; recorded operations for what they leave open
(the output stands in `response` and in `metadata.output`, counts are strings, zeros and `done: false` are left out).
"""

import hashlib
import os
import secrets
from pathlib import Path
from threading import Event
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.errors import ApiError
from batchline.emulator.gemini_files import google_page, not_active, not_there, without_empty
from batchline.emulator.gemini_requests import Scan, scan, unknown_field
from batchline.emulator.gemini_store import stamp
from batchline.emulator.gemini_work import LIFE_S, GeminiWork, Given
from batchline.emulator.jobs import Checked, Job, Outcome, Problem
from batchline.emulator.lines import LineWriter
from batchline.emulator.quotas import limit_of
from batchline.emulator.routing import google_route, is_google
from batchline.emulator.wire import decode_object, json_response, numbered_lines, read_body
from batchline.emulator.world import Emulator

MAX_INLINE_BYTES = 20 * 1024 * 1024
CONCURRENT = "batches"
_TYPES = "type.googleapis.com/google.ai.generativelanguage.v1main"
_QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
_QUOTA_HELP = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}


def batch_routes() -> list[BaseRoute]:
    """Return the routes of the Batch API."""
    base, model = "/{version:google}/batches", "/{version:google}/models/{model}"
    one = base + "/{batch_id}"
    return [
        google_route("gemini.batches.create", "POST", model + ":batchGenerateContent", create),
        google_route("gemini.batches.create", "POST", model + ":asyncBatchEmbedContent", create),
        google_route("gemini.batches.cancel", "POST", one + ":cancel", cancel),
        google_route("gemini.batches.list", "GET", base, list_batches, only_if=is_google),
        google_route("gemini.batches.get", "GET", one, get_batch, only_if=is_google),
        google_route("gemini.batches.delete", "DELETE", one, delete, only_if=is_google),
    ]


async def create(emulator: Emulator, request: Request) -> Response:
    """Create a batch of the requests in the body or of an uploaded file, every line of which is looked at first."""
    model = request.path_params["model"]
    embeds = request.url.path.endswith(":asyncBatchEmbedContent")
    check_model(request, model, embeds=embeds)
    batch = _batch(await read_body(request, MAX_INLINE_BYTES))
    source = _any(batch, "inputConfig", "input_config")
    source = source if isinstance(source, dict) else {}
    lines = emulator.scratch / f"{secrets.token_hex(12)}.lines"
    given = Given(model, embeds, lines, str(_any(batch, "displayName", "display_name") or ""))
    try:
        given.file_name = _write_lines(emulator, source, lines, embeds=embeds)
        found = await run_in_threadpool(lambda: scan(numbered_lines(lines, Event()), model, embeds=embeds))
        checked = _checked(emulator, found, given)
        _check_quotas(emulator, checked)
    except Exception:
        lines.unlink(missing_ok=True)
        raise
    return json_response(operation(emulator, start_job(emulator, given, checked)))


def start_job(emulator: Emulator, given: Given, checked: Checked) -> Job:
    """Make the job; one that would take more than 48 hours, or is drawn by the expire rate, expires without results."""
    number = emulator.bill.batches_created["gemini"]
    emulator.bill.batches_created["gemini"] += 1
    given.lost = _draw(f"{emulator.options.seed}/gemini-expire/{number}") < emulator.options.gemini_expire_rate
    given.lost |= emulator.options.latency_s > LIFE_S
    job = emulator.jobs.create("gemini", secrets.token_hex(6)[:11], given, validated=checked)
    job.due_at = min(job.due_at, job.created_at + LIFE_S)
    return job


async def list_batches(emulator: Emulator, request: Request) -> Response:
    """List batches, newest first, without inline answers."""
    jobs = emulator.jobs.listed("gemini")
    page, token = google_page([job.id for job in jobs], request)
    shown = [operation(emulator, jobs[at], inlined=False) for at in page]
    return json_response(without_empty({"operations": shown, "nextPageToken": token}))


async def get_batch(emulator: Emulator, request: Request) -> Response:
    """Return one batch's operation."""
    return json_response(operation(emulator, _job(emulator, request)))


async def cancel(emulator: Emulator, request: Request) -> Response:
    """Ask a batch to end. What an ended one answers is not documented: UNCERTAIN."""
    job = _job(emulator, request)
    emulator.note_touch(job, "cancel")
    if job.finished:
        message = f"Batch {job.id} has already ended and cannot be cancelled."
        raise ApiError(400, message, code="FAILED_PRECONDITION")
    emulator.cancel(job)
    return json_response({})


async def delete(emulator: Emulator, request: Request) -> Response:
    """Forget a batch. One that runs goes on and is paid for (the reference; the guide says that it stops)."""
    job = _job(emulator, request)
    emulator.note_touch(job, "delete")
    given: Given = job.given
    if given.answers is not None:
        given.answers.unlink(missing_ok=True)
    emulator.jobs.forget(job)
    return json_response({})


def operation(emulator: Emulator, job: Job, *, inlined: bool = True) -> dict[str, Any]:
    """Return the operation that stands for a batch; `inlined`: with the answers of an inline one."""
    given: Given = job.given
    state, now = state_of(emulator, job), emulator.clock()
    kind = "EmbedContentBatch" if given.embeds else "GenerateContentBatch"
    output = _output(emulator, given, inlined=inlined)
    metadata = {
        "@type": f"{_TYPES}.{kind}",
        "model": f"models/{given.model}",
        "displayName": given.display_name,
        "inputConfig": None if given.inline else {"fileName": given.file_name},
        "output": output,
        "createTime": stamp(job.created_at),
        "endTime": None if job.ended_at is None else stamp(job.ended_at),
        "updateTime": stamp(min(now, job.ended_at or now)),
        "batchStats": _stats(job, now),
        "state": state,
        "name": f"batches/{job.id}",
    }
    body: dict[str, Any] = {"name": f"batches/{job.id}", "metadata": without_empty(metadata)}
    if job.finished:
        body["done"] = True
        error = _error(job, state)
        if error is not None:
            body["error"] = error
        elif output:
            body["response"] = {"@type": f"{_TYPES}.{kind}Output", **output}
    return body


def state_of(emulator: Emulator, job: Job) -> str:
    """Return a job's BATCH_STATE; one that is being cancelled still runs."""
    if job.state == "failed":
        return "BATCH_STATE_FAILED"
    if job.state == "cancelled":
        return "BATCH_STATE_CANCELLED"
    if not job.finished:
        early = emulator.clock() < job.created_at + emulator.options.validation_delay_s
        return "BATCH_STATE_PENDING" if early or job.state == "validating" else "BATCH_STATE_RUNNING"
    outcome = job.outcome or Outcome()
    if outcome.expired:
        return "BATCH_STATE_EXPIRED"
    if outcome.failed and outcome.succeeded and emulator.options.gemini_partial_state:
        return emulator.options.gemini_partial_state
    return "BATCH_STATE_SUCCEEDED"


def check_model(request: Request, model: str, *, embeds: bool) -> None:
    """Refuse (404) a model that has not this method: embedding models embed, all others generate."""
    if embeds == ("embedding" in model):
        return
    version, method = request.path_params["version"], request.url.path.rpartition(":")[2]
    message = (
        f"models/{model} is not found for API version {version}, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods."
    )
    raise ApiError(404, message)


def payload_error(name: str, where: str) -> ApiError:
    """Return the refusal of a body with a field that the API does not have."""
    at = f" at '{where}'" if where else ""
    text = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
    violation = without_empty({"field": where, "description": text})
    bad = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    return ApiError(400, text, details=(bad,))


def _batch(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        raise ApiError(400, f"Request payload size exceeds the limit: {MAX_INLINE_BYTES} bytes.")
    body = decode_object(raw)
    if body is None:
        raise ApiError(400, "Invalid JSON payload received.")
    for name in body:
        if name != "batch":
            raise payload_error(name, "")
    batch = body.get("batch")
    if not isinstance(batch, dict):
        raise ApiError(400, "* BatchGenerateContentRequest.batch: batch is required\n")
    known = {
        *("inputConfig", "displayName", "webhookConfig", "priority", "model", "name"),
        *("input_config", "display_name", "webhook_config"),
    }
    for name in batch:
        if name not in known:
            raise payload_error(name, "batch")
    return batch


def _write_lines(emulator: Emulator, source: dict[str, Any], lines: Path, *, embeds: bool) -> str | None:
    """Put the batch's requests on disk; returns the input file's name, None for requests in the body."""
    name = _any(source, "fileName", "file_name")
    if isinstance(name, str):
        file_id = name.removeprefix("files/")
        record = emulator.gemini_files.get(file_id)
        if record is None:
            raise not_there(file_id)
        if record.active_at > emulator.clock():
            raise not_active(file_id)
        os.link(emulator.gemini_files.path(file_id), lines)
        return f"files/{file_id}"
    wrapped = source.get("requests")
    rows = wrapped.get("requests") if isinstance(wrapped, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ApiError(400, "* BatchGenerateContentRequest.batch.input_config: requests or file_name is required\n")
    with LineWriter(lines) as writer:
        for index, row in enumerate(rows):
            writer.write(_inline_row(row, f"batch.input_config.requests.requests[{index}]", embeds=embeds))
    return None


def _inline_row(row: Any, where: str, *, embeds: bool) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("request"), dict):
        raise ApiError(400, f"Invalid value at '{where}': a request is required.")
    for name in row:
        if name not in ("request", "metadata"):
            raise payload_error(name, where)
    unknown = unknown_field(row["request"], embeds=embeds)
    if unknown is not None:
        inside, _, name = f"{where}.request.{unknown}".rpartition(".")
        raise payload_error(name, inside)
    return row


def _checked(emulator: Emulator, found: Scan, given: Given) -> Checked:
    """Return what the look at the lines leads to: a refusal, a job that fails, or lines that fail."""
    checked = Checked(found.total, given.model, found.tokens)
    if found.total == 0:
        raise ApiError(400, "The input file is empty.")
    if not found.problems:
        return checked
    how = emulator.options.gemini_bad_lines
    if how == "refuse":
        raise ApiError(400, found.text())
    if how == "job" or found.not_json:
        checked.problems = [Problem(code="3", line=None, message=found.text(), param=None)]
    return checked


def _check_quotas(emulator: Emulator, checked: Checked) -> None:
    model, quotas = str(checked.model), emulator.bill.quotas
    running = emulator.jobs.unfinished("gemini")
    if not quotas.admit("gemini", CONCURRENT, "batches", len(running) + 1, emulator.options.gemini_concurrent_batches):
        raise ApiError(429, _QUOTA_TEXT, details=(_QUOTA_HELP,))
    enqueued = [job.checked for job in running if job.checked is not None and job.checked.model == model]
    tokens = checked.enqueued_tokens + sum(other.enqueued_tokens for other in enqueued)
    limit = limit_of(emulator.options.enqueued_token_limits, model)
    if not quotas.admit("gemini", model, "tokens", tokens, limit):
        raise ApiError(429, _QUOTA_TEXT, details=(_QUOTA_HELP,))


def _output(emulator: Emulator, given: Given, *, inlined: bool) -> dict[str, Any] | None:
    if given.answers_file is not None:
        return {"responsesFile": given.answers_file}
    if given.answers is None or not inlined:
        return None
    return {"inlinedResponses": {"inlinedResponses": GeminiWork(emulator).inlined(given)}}


def _stats(job: Job, now: float) -> dict[str, str]:
    """Return the counts, as strings; zeros are left out."""
    outcome = job.outcome or Outcome()
    share = 1.0 if job.finished else job.share_done(now)
    done, failed = int(share * outcome.succeeded), int(share * outcome.failed)
    pending = 0 if job.finished else job.total - done - failed
    counts = {
        "requestCount": job.total,
        "successfulRequestCount": done,
        "failedRequestCount": failed,
        "pendingRequestCount": pending,
    }
    return {name: str(count) for name, count in counts.items() if count}


def _error(job: Job, state: str) -> dict[str, Any] | None:
    if state == "BATCH_STATE_CANCELLED":
        return {"code": 1, "message": "The operation was cancelled."}
    if state == "BATCH_STATE_EXPIRED":
        return {"code": 4, "message": "The batch expired: it was pending or running for more than 48 hours."}
    if state == "BATCH_STATE_FAILED":
        problems = job.checked.problems if job.checked is not None else []
        return {"code": 3, "message": "\n".join(problem["message"] for problem in problems)}
    return None


def _any(values: dict[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if name in values), None)


def _draw(what: str) -> float:
    return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "big") / 2**64


def _job(emulator: Emulator, request: Request) -> Job:
    job = emulator.jobs.get("gemini", request.path_params["batch_id"])
    if job is None:
        raise ApiError(404, "Requested entity was not found.")
    return job
