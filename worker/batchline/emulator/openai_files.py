"""OpenAI's /v1/files. Source: developers.openai.com/api/reference/resources/files."""

from collections.abc import Collection, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.errors import ApiError
from batchline.emulator.files import DEFAULT_LIFE_S, StoredFile
from batchline.emulator.multipart import Form, MultipartError, receive_form
from batchline.emulator.openai_dialects import Dialect, dialect_of
from batchline.emulator.routing import route
from batchline.emulator.wire import file_response, json_response
from batchline.emulator.world import Emulator

MAX_LIST = 10_000


def file_routes(root: str = "") -> list[BaseRoute]:
    """Return the routes of the Files API; `root` stands before every path."""
    base = root + "/v1/files"
    return [
        route("openai.files.create", "POST", base, upload),
        route("openai.files.list", "GET", base, list_files),
        route("openai.files.retrieve", "GET", base + "/{file_id}", get_file),
        route("openai.files.delete", "DELETE", base + "/{file_id}", delete_file),
        route("openai.files.content", "GET", base + "/{file_id}/content", content),
    ]


async def upload(emulator: Emulator, request: Request) -> Response:
    """Take a file in, spooling it to disk."""
    spooled = emulator.files.spool_path()
    dialect = dialect_of(emulator.options)
    limit = min(emulator.options.max_file_bytes, dialect.max_file_bytes)
    try:
        form = await receive_form(request.stream(), request.headers.get("content-type", ""), spooled, limit)
        life_s = _check_form(form, limit, dialect)
        record = emulator.files.adopt(spooled, form.filename or "upload", "batch", life_s)
    except MultipartError as error:
        raise ApiError(400, f"Could not parse multipart form: {error}.") from error
    finally:
        spooled.unlink(missing_ok=True)
    return json_response(record.public())


async def list_files(emulator: Emulator, request: Request) -> Response:
    """List files, newest first unless `order=asc`."""
    query = request.query_params
    refuse_unknown(query, ("after", "limit", "order", "purpose"))
    if query.get("order", "desc") not in ("asc", "desc"):
        raise ApiError(400, "Invalid 'order': expected 'asc' or 'desc'.", code="invalid_value", param="order")
    records = emulator.files.listed()
    if query.get("order", "desc") != "asc":
        records.reverse()
    if purpose := query.get("purpose"):
        records = [record for record in records if record.purpose == purpose]
    page, more = cursor_page([record.public() for record in records], query.get("after"), list_limit(request, MAX_LIST))
    return json_response(list_body(page, more=more))


async def get_file(emulator: Emulator, request: Request) -> Response:
    """Return one file's record."""
    return json_response(_file(emulator, request).public())


async def delete_file(emulator: Emulator, request: Request) -> Response:
    """Delete a file; a foreign one is a violation."""
    record = _file(emulator, request)
    if emulator.files.is_foreign(record.id):
        emulator.bill.violate("openai", "delete_file", record.id)
    emulator.files.delete(record.id)
    return json_response({"id": record.id, "object": "file", "deleted": True})


async def content(emulator: Emulator, request: Request) -> Response:
    """Stream a file's content."""
    record = _file(emulator, request)
    return file_response(emulator.files.path(record.id), "application/octet-stream")


def refuse_unknown(given: Iterable[str], known: Collection[str], under: str = "") -> None:
    """Raise ApiError (400) for the first name that is not documented."""
    for name in given:
        if name not in known:
            message = f"Unknown parameter: '{under}{name}'."
            raise ApiError(400, message, code="unknown_parameter", param=under + name)


def list_limit(request: Request, most: int) -> int:
    """Return the call's `limit`, 1 to `most`; raises ApiError (400) beyond."""
    raw = request.query_params.get("limit")
    if raw is None:
        return min(most, 20) if most < MAX_LIST else most
    if not raw.isascii() or not raw.isdecimal() or not 1 <= int(raw) <= most:
        message = f"Invalid 'limit': expected an integer between 1 and {most}."
        raise ApiError(400, message, code="invalid_value", param="limit")
    return int(raw)


def cursor_page(items: list[dict[str, Any]], after: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the `limit` items that follow the one with id `after`, and whether there are more."""
    start = 0
    if after:
        positions = [index for index, item in enumerate(items) if item["id"] == after]
        if not positions:
            raise ApiError(400, f"Invalid 'after': no object with id {after}.", code="invalid_value", param="after")
        start = positions[0] + 1
    return items[start : start + limit], len(items) > start + limit


def list_body(page: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return OpenAI's list object."""
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more}


def check_life(anchor: Any, seconds: Any, param: str, dialect: Dialect) -> int:
    """Return the life of a file in seconds; raises ApiError (400) outside the documented range."""
    low, high = dialect.lives_s or (0, 0)
    if anchor != "created_at" or not isinstance(seconds, int) or not low <= seconds <= high:
        message = f"Invalid '{param}': the anchor is created_at, the seconds are between {low} and {high}."
        raise ApiError(400, message, code="invalid_value", param=param)
    return seconds


def _check_form(form: Form, limit: int, dialect: Dialect) -> int:
    refuse_unknown(form.fields, {"file", *dialect.upload_fields})
    if form.filename is None:
        raise ApiError(400, "Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
    purpose = form.fields.get("purpose")
    if purpose is None:
        message = "Missing required parameter: 'purpose'."
        raise ApiError(400, message, code="missing_required_parameter", param="purpose")
    if purpose != "batch":
        raise ApiError(
            400, "Invalid 'purpose': the emulator takes 'batch' only.", code="invalid_value", param="purpose"
        )
    if form.size > limit:
        raise ApiError(400, "File is too large.")
    anchor, seconds = form.fields.get("expires_after[anchor]"), form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return DEFAULT_LIFE_S
    number = int(seconds) if seconds and seconds.isascii() and seconds.isdecimal() else None
    return check_life(anchor, number, "expires_after", dialect)


def _file(emulator: Emulator, request: Request) -> StoredFile:
    file_id = request.path_params["file_id"]
    record = emulator.files.get(file_id)
    if record is None:
        raise ApiError(404, f"No such File object: {file_id}", param="id")
    return record
