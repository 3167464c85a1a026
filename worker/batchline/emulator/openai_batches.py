"""OpenAI's /v1/batches. Source: developers.openai.com/api/reference/resources/batches and the guide to batch."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.errors import ApiError
from batchline.emulator.files import DEFAULT_LIFE_S
from batchline.emulator.jobs import Job, Outcome
from batchline.emulator.openai_dialects import Dialect, dialect_of
from batchline.emulator.openai_files import check_life, cursor_page, list_body, list_limit, refuse_unknown
from batchline.emulator.openai_work import Given
from batchline.emulator.quotas import CREATES
from batchline.emulator.routing import route
from batchline.emulator.wire import decode_object, json_response, read_body
from batchline.emulator.world import Emulator

MAX_LIST = 100
CANCELLABLE = ("validating", "in_progress", "finalizing", "cancelling")


def batch_routes(root: str = "") -> list[BaseRoute]:
    """Return the routes of the Batch API; `root` stands before every path."""
    base = root + "/v1/batches"
    return [
        route("openai.batches.create", "POST", base, create),
        route("openai.batches.list", "GET", base, list_batches),
        route("openai.batches.retrieve", "GET", base + "/{batch_id}", get_batch),
        route("openai.batches.cancel", "POST", base + "/{batch_id}/cancel", cancel),
    ]


async def create(emulator: Emulator, request: Request) -> Response:
    """Create a batch; its file is validated later."""
    body = decode_object(await read_body(request) or b"")
    if body is None:
        raise ApiError(400, "We could not parse the JSON body of your request.")
    dialect = dialect_of(emulator.options)
    given = _given(body, dialect)
    limit = emulator.options.creates_per_hour
    creates = emulator.jobs.created_since("openai", emulator.clock() - 3600) + 1
    if not emulator.bill.quotas.admit("openai", CREATES, "batches", creates, limit):
        message = f"Rate limit reached for batch creation. Limit: {limit} / hour. Please try again later."
        raise ApiError(429, message, kind="requests", code="rate_limit_exceeded")
    emulator.bill.batches_created["openai"] += 1
    job = emulator.jobs.create("openai", "batch", given)
    return _answer(emulator, job)


async def list_batches(emulator: Emulator, request: Request) -> Response:
    """List batches, newest first."""
    refuse_unknown(request.query_params, ("after", "limit"))
    now, dialect = emulator.clock(), dialect_of(emulator.options)
    items = [public(job, now, dialect) for job in emulator.jobs.listed("openai")]
    page, more = cursor_page(items, request.query_params.get("after"), list_limit(request, MAX_LIST))
    return json_response(list_body(page, more=more))


async def get_batch(emulator: Emulator, request: Request) -> Response:
    """Return one batch."""
    return _answer(emulator, _job(emulator, request))


async def cancel(emulator: Emulator, request: Request) -> Response:
    """Ask a batch to end. That a finished one answers 409 is not documented: UNCERTAIN."""
    job = _job(emulator, request)
    emulator.note_touch(job, "cancel")
    status = _status(job, emulator.clock())
    if status not in CANCELLABLE:
        raise ApiError(409, f"Cannot cancel a batch with status '{status}'.")
    emulator.cancel(job)
    return _answer(emulator, job)


def _answer(emulator: Emulator, job: Job) -> Response:
    return json_response(public(job, emulator.clock(), dialect_of(emulator.options)))


def public(job: Job, now: float, dialect: Dialect) -> dict[str, Any]:
    """Return OpenAI's batch object as of `now`."""
    given: Given = job.given
    checked, status = job.checked, _status(job, now)
    running = job.state != "validating" and checked is not None and not checked.problems
    problems = checked.problems if checked is not None and job.state == "failed" else None
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": given.endpoint,
        "model": checked.model if checked is not None and running else None,
        "errors": {"object": "list", "data": problems} if problems else None,
        "input_file_id": given.input_file_id,
        "completion_window": given.window,
        "status": dialect.early_status if dialect.early_status and _early(job, now) else status,
        "output_file_id": given.output_file_id,
        "error_file_id": given.error_file_id,
        "created_at": int(job.created_at),
        "in_progress_at": int(job.starts_at) if running else None,
        "expires_at": int(job.created_at) + given.window_s,
        "finalizing_at": int(job.due_at) if status in ("finalizing", "completed", "expired") else None,
        "completed_at": _ended(job, status, "completed"),
        "failed_at": _ended(job, status, "failed"),
        "expired_at": _ended(job, status, "expired"),
        "cancelling_at": None if job.cancel_at is None else int(job.cancel_at),
        "cancelled_at": _ended(job, status, "cancelled"),
        "request_counts": _counts(job, now) if running else {"total": 0, "completed": 0, "failed": 0},
        "metadata": given.metadata,
        "usage": _usage(job.outcome) if job.outcome is not None and job.finished else None,
    }


def _status(job: Job, now: float) -> str:
    if job.state == "running":
        return "finalizing" if now >= job.due_at else "in_progress"
    if job.state == "ended" and job.outcome is not None and job.outcome.broken:
        return "failed"
    if job.state == "ended":
        return "expired" if job.outcome is not None and job.outcome.expired else "completed"
    return job.state


def _early(job: Job, now: float) -> bool:
    return job.state in ("validating", "running") and job.share_done(now) < 0.5


def _ended(job: Job, status: str, wanted: str) -> int | None:
    return int(job.ended_at) if status == wanted and job.ended_at is not None else None


def _counts(job: Job, now: float) -> dict[str, int]:
    """Return the counts; expired requests are in the total only (observed, not documented)."""
    outcome = job.outcome or Outcome()
    share = 1.0 if job.finished else job.share_done(now)
    return {"total": job.total, "completed": int(share * outcome.succeeded), "failed": int(share * outcome.failed)}


def _usage(outcome: Outcome) -> dict[str, Any]:
    usage = outcome.usage()
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _given(body: dict[str, Any], dialect: Dialect) -> Given:
    refuse_unknown(body, dialect.create_fields)
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            message = f"Missing required parameter: '{name}'."
            raise ApiError(400, message, code="missing_required_parameter", param=name)
    if body["endpoint"] not in dialect.endpoints:
        message = f"Invalid 'endpoint': supported are {', '.join(dialect.endpoints)}."
        raise ApiError(400, message, code="invalid_value", param="endpoint")
    window_s = dialect.window_s(body["completion_window"])
    if window_s is None:
        message = f"Invalid 'completion_window': {dialect.windows()}."
        raise ApiError(400, message, code="invalid_value", param="completion_window")
    life_s = _output_life(body.get("output_expires_after"), dialect)
    metadata = _metadata(body.get("metadata"))
    return Given(
        body["endpoint"], body["input_file_id"], metadata, life_s, window=body["completion_window"], window_s=window_s
    )


def _output_life(wish: Any, dialect: Dialect) -> int:
    name = "output_expires_after"
    if wish is None:
        return DEFAULT_LIFE_S
    if not isinstance(wish, dict):
        raise ApiError(400, f"Invalid type for '{name}': expected an object.", code="invalid_type", param=name)
    refuse_unknown(wish, ("anchor", "seconds"), f"{name}.")
    return check_life(wish.get("anchor"), wish.get("seconds"), name, dialect)


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    fits = (
        isinstance(value, dict)
        and len(value) <= 16
        and all(len(key) <= 64 and isinstance(text, str) and len(text) <= 512 for key, text in value.items())
    )
    if not fits:
        message = "Invalid 'metadata': at most 16 pairs, keys up to 64 and string values up to 512 characters."
        raise ApiError(400, message, code="invalid_value", param="metadata")
    return dict(value)


def _job(emulator: Emulator, request: Request) -> Job:
    batch_id = request.path_params["batch_id"]
    job = emulator.jobs.get("openai", batch_id)
    if job is None:
        raise ApiError(404, f"No batch found with id '{batch_id}'.")
    return job
