"""Anthropic's /v1/messages/batches. Source: platform.claude.com/docs/en/api/creating-message-batches and following."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.anthropic_params import check_headers, split_envelope
from batchline.emulator.anthropic_work import Given
from batchline.emulator.errors import ApiError
from batchline.emulator.jobs import LIFE_S, Checked, Job
from batchline.emulator.quotas import REQUESTS
from batchline.emulator.routing import route
from batchline.emulator.wire import file_response, json_response
from batchline.emulator.world import Emulator

DEFAULT_LIST = 20
MAX_LIST = 1_000


def batch_routes() -> list[BaseRoute]:
    """Return the routes of the Message Batches API."""
    base = "/v1/messages/batches"
    return [
        route("anthropic.batches.create", "POST", base, create),
        route("anthropic.batches.list", "GET", base, list_batches),
        route("anthropic.batches.retrieve", "GET", base + "/{batch_id}", get_batch),
        route("anthropic.batches.delete", "DELETE", base + "/{batch_id}", delete),
        route("anthropic.batches.cancel", "POST", base + "/{batch_id}/cancel", cancel),
        route("anthropic.batches.results", "GET", base + "/{batch_id}/results", results),
    ]


async def create(emulator: Emulator, request: Request) -> Response:
    """Create a batch of one JSON body, which goes to disk first."""
    version, betas = read_headers(request, in_batch=True)
    name = secrets.token_hex(12)
    body, lines = emulator.scratch / f"{name}.body", emulator.scratch / f"{name}.lines"
    try:
        await _spool(request, body, emulator.options.max_messages_bytes)
        count = await run_in_threadpool(split_envelope, body, lines)
        _check_queue(emulator, count)
    except Exception:
        lines.unlink(missing_ok=True)
        raise
    finally:
        body.unlink(missing_ok=True)
    emulator.bill.batches_created["anthropic"] += 1
    job = emulator.jobs.create("anthropic", "msgbatch", Given(lines, version, betas), validated=Checked(total=count))
    return json_response(public(job, request))


async def list_batches(emulator: Emulator, request: Request) -> Response:
    """List batches, newest first; `after_id` gives older ones, `before_id` newer ones."""
    jobs = emulator.jobs.listed("anthropic")
    query, limit = request.query_params, _limit(request)
    if after := query.get("after_id"):
        start = _position(jobs, after, "after_id") + 1
        page, more = jobs[start : start + limit], len(jobs) > start + limit
    elif before := query.get("before_id"):
        end = _position(jobs, before, "before_id")
        page, more = jobs[max(0, end - limit) : end], end > limit
    else:
        page, more = jobs[:limit], len(jobs) > limit
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    data = [public(job, request) for job in page]
    return json_response({"data": data, "has_more": more, "first_id": first, "last_id": last})


async def get_batch(emulator: Emulator, request: Request) -> Response:
    """Return one batch."""
    return json_response(public(_job(emulator, request), request))


async def cancel(emulator: Emulator, request: Request) -> Response:
    """Ask a batch to end. That an ended one answers 409 is not documented: UNCERTAIN."""
    job = _job(emulator, request)
    emulator.note_touch(job, "cancel")
    if job.finished:
        raise ApiError(409, f"Batch {job.id} has already ended and cannot be canceled.", kind="conflict_error")
    emulator.cancel(job)
    return json_response(public(job, request))


async def delete(emulator: Emulator, request: Request) -> Response:
    """Delete an ended batch with its results."""
    job = _job(emulator, request)
    emulator.note_touch(job, "delete")
    if not job.finished:
        raise ApiError(400, f"Batch {job.id} cannot be deleted before it has ended.")
    given: Given = job.given
    if given.results is not None:
        given.results.unlink(missing_ok=True)
    emulator.jobs.forget(job)
    return json_response({"id": job.id, "type": "message_batch_deleted"})


async def results(emulator: Emulator, request: Request) -> Response:
    """Stream an ended batch's results."""
    job = _job(emulator, request)
    given: Given = job.given
    if not job.finished:
        raise ApiError(404, f"Batch {job.id} has no results yet.", kind="not_found_error")
    if given.results is None:
        return Response(b"", media_type="application/x-jsonl")
    return file_response(given.results, "application/x-jsonl")


def public(job: Job, request: Request) -> dict[str, Any]:
    """Return Anthropic's batch object; `results_url` points at the host that was asked."""
    cancelled_at = None if job.cancel_at is None else _stamp(job.cancel_at)
    ended_at = None if job.ended_at is None else _stamp(job.ended_at)
    status = "ended" if job.finished else "canceling" if job.state == "cancelling" else "in_progress"
    root = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
    url = f"{root}/v1/messages/batches/{job.id}/results"
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": _counts(job),
        "created_at": _stamp(job.created_at),
        "expires_at": _stamp(job.created_at + LIFE_S),
        "ended_at": ended_at,
        "cancel_initiated_at": cancelled_at,
        "archived_at": None,
        "results_url": url if job.finished else None,
    }


def read_headers(request: Request, *, in_batch: bool) -> tuple[str, frozenset[str]]:
    """Return the call's anthropic-version and betas; raises ApiError (400) where they cannot be."""
    given = request.headers.getlist("anthropic-beta")
    betas = frozenset(beta.strip() for header in given for beta in header.split(","))
    return check_headers(request.headers.get("anthropic-version"), betas, in_batch=in_batch), betas


def _counts(job: Job) -> dict[str, int]:
    """Return the counts: until the end all requests count as processing."""
    outcome = job.outcome if job.finished else None
    if outcome is None:
        return {"processing": job.total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "processing": 0,
        "succeeded": outcome.succeeded,
        "errored": outcome.failed,
        "canceled": outcome.cancelled,
        "expired": outcome.expired,
    }


async def _spool(request: Request, path: Path, limit: int) -> None:
    size = 0
    with path.open("wb") as target:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                target.write(chunk)
    if size > limit:
        raise ApiError(413, "Request exceeds the maximum size", kind="request_too_large")


def _check_queue(emulator: Emulator, count: int) -> None:
    limit = emulator.options.queued_requests_limit
    queued = sum(job.total for job in emulator.jobs.unfinished("anthropic"))
    if not emulator.bill.quotas.admit("anthropic", REQUESTS, "requests", queued + count, limit):
        message = f"This request would exceed the limit of {limit} requests in the Message Batches processing queue."
        raise ApiError(429, message, kind="rate_limit_error", headers={"retry-after": "1"})


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _limit(request: Request) -> int:
    raw = request.query_params.get("limit", str(DEFAULT_LIST))
    if not raw.isascii() or not raw.isdecimal() or not 1 <= int(raw) <= MAX_LIST:
        raise ApiError(400, f"limit: Input should be between 1 and {MAX_LIST}")
    return int(raw)


def _position(jobs: list[Job], job_id: str, param: str) -> int:
    for index, job in enumerate(jobs):
        if job.id == job_id:
            return index
    raise ApiError(400, f"{param}: no batch with id {job_id}")


def _job(emulator: Emulator, request: Request) -> Job:
    batch_id = request.path_params["batch_id"]
    job = emulator.jobs.get("anthropic", batch_id)
    if job is None:
        raise ApiError(404, f"Batch {batch_id} not found", kind="not_found_error")
    return job
