"""Gemini's files: resumable upload, list, get, delete, download.

Source: ai.google.dev/api/files, recorded calls of google-genai 3.4.0, and its issues 1613 and 1759 (result files, whose
ids are too long for get and delete) and 1218 (what a file that is not there answers).
"""

import re
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.errors import ApiError
from batchline.emulator.gemini_store import MAX_ID_LENGTH, GeminiFile, Upload, new_file_id
from batchline.emulator.routing import google_route, is_google, is_upload
from batchline.emulator.wire import decode_object, file_response, json_response, read_body
from batchline.emulator.world import Emulator

DEFAULT_LIST = 10
MAX_LIST = 100
CHUNK_GRANULARITY = 8 * 1024 * 1024
_ID = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def file_routes() -> list[BaseRoute]:
    """Return the routes of the Files API."""
    files, upload = "/{version:google}/files", "/upload/{version:google}/files"
    one = files + "/{file_id}"
    return [
        google_route("gemini.files.upload", "POST", upload, receive, only_if=is_upload),
        google_route("gemini.files.create", "POST", upload, start),
        google_route("gemini.files.download", "GET", one + ":download", download),
        google_route("gemini.files.download", "GET", "/download" + one + ":download", download),
        google_route("gemini.files.list", "GET", files, list_files, only_if=is_google),
        google_route("gemini.files.get", "GET", one, get_file, only_if=is_google),
        google_route("gemini.files.delete", "DELETE", one, delete_file, only_if=is_google),
    ]


async def start(emulator: Emulator, request: Request) -> Response:
    """Begin an upload; the answer's X-Goog-Upload-URL takes the bytes."""
    if request.headers.get("x-goog-upload-protocol") != "resumable":
        raise ApiError(400, "Invalid or missing X-Goog-Upload-Protocol: the emulator takes 'resumable' only.")
    body = decode_object(await read_body(request) or b"{}") or {}
    told = body.get("file") if isinstance(body.get("file"), dict) else {}
    upload = _upload(emulator, request, told or {})
    _check_size(emulator, upload.size)
    upload_id = upload.spooled.name.removeprefix("spool-")
    emulator.gemini_files.uploads[upload_id] = upload
    root = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
    version = request.path_params["version"]
    headers = {
        "x-goog-upload-url": f"{root}/upload/{version}/files?upload_id={upload_id}&upload_protocol=resumable",
        "x-goog-upload-status": "active",
        "x-goog-upload-chunk-granularity": str(CHUNK_GRANULARITY),
    }
    return Response(b"", headers=headers, media_type="application/json")


async def receive(emulator: Emulator, request: Request) -> Response:
    """Take one piece of an upload to disk; the last one (`upload, finalize`) makes it a file.

    A piece that comes again replaces the first, and finalizing again answers the same file.
    """
    upload = emulator.gemini_files.uploads.get(request.query_params["upload_id"])
    if upload is None:
        raise ApiError(404, "Upload not found.", headers={"x-goog-upload-status": "final"})
    commands = {part.strip() for part in request.headers.get("x-goog-upload-command", "").split(",")}
    if "upload" in commands and upload.file is None:
        await _write(upload, request)
    if "finalize" in commands and upload.file is None:
        if upload.received != upload.size:
            message = f"Upload has {upload.received} bytes, {upload.size} were announced."
            raise ApiError(400, message, headers={"x-goog-upload-status": "final"})
        upload.file = await run_in_threadpool(_adopt, emulator, upload)
    received = str(upload.received)
    if upload.file is None:
        return Response(b"", headers={"x-goog-upload-status": "active", "x-goog-upload-size-received": received})
    return json_response({"file": upload.file.public(emulator.clock())}, headers={"x-goog-upload-status": "final"})


async def list_files(emulator: Emulator, request: Request) -> Response:
    """List uploaded files, newest first."""
    records, now = emulator.gemini_files.listed(), emulator.clock()
    page, token = google_page([record.id for record in records], request)
    return json_response(without_empty({"files": [records[at].public(now) for at in page], "nextPageToken": token}))


async def get_file(emulator: Emulator, request: Request) -> Response:
    """Return one file's record."""
    return json_response(_file(emulator, request, "GetFileRequest").public(emulator.clock()))


async def delete_file(emulator: Emulator, request: Request) -> Response:
    """Delete a file; a foreign one is a violation."""
    record = _file(emulator, request, "DeleteFileRequest")
    if emulator.gemini_files.is_foreign(record.id):
        emulator.bill.violate("gemini", "delete_file", record.id)
    emulator.gemini_files.delete(record.id)
    return json_response({})


async def download(emulator: Emulator, request: Request) -> Response:
    """Stream a result file; uploaded ones cannot be downloaded."""
    record = emulator.gemini_files.get(request.path_params["file_id"])
    if record is None:
        raise not_there(request.path_params["file_id"])
    if record.source != "GENERATED":
        raise ApiError(400, "Only generated files can be downloaded, uploaded files can't be downloaded.")
    return file_response(emulator.gemini_files.path(record.id), "application/octet-stream")


def not_there(file_id: str) -> ApiError:
    """Return what a file answers that is not there: 403, not 404."""
    return ApiError(403, f"You do not have permission to access the File {file_id} or it may not exist.")


def not_active(file_id: str) -> ApiError:
    """Return what the create call of a batch answers whose file is still processed. The wording is of other calls' files."""
    message = f"The File {file_id} is not in an ACTIVE state and usage is not allowed."
    return ApiError(400, message, code="FAILED_PRECONDITION")


def google_page(ids: Sequence[str], request: Request) -> tuple[range, str]:
    """Return the positions of the page that a list call asks for, and the token of the next one ("" at the end)."""
    query = request.query_params
    size = query.get("pageSize") or str(DEFAULT_LIST)
    if not size.isascii() or not size.isdecimal():
        raise ApiError(400, f"Invalid value at 'page_size' (TYPE_INT32), \"{size}\"")
    begin = 0
    if token := query.get("pageToken"):
        if token not in ids:
            raise ApiError(400, "Invalid page token.")
        begin = ids.index(token) + 1
    end = min(len(ids), begin + (min(int(size), MAX_LIST) or DEFAULT_LIST))
    return range(begin, end), ids[end - 1] if end < len(ids) else ""


def without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` as Google writes it: fields with an empty value are left out."""
    return {name: value for name, value in body.items() if value}


def _upload(emulator: Emulator, request: Request, told: dict[str, Any]) -> Upload:
    size = request.headers.get("x-goog-upload-header-content-length", "")
    if not size.isascii() or not size.isdecimal():
        raise ApiError(400, "Invalid or missing X-Goog-Upload-Header-Content-Length.")
    name = told.get("name")
    wanted = name.removeprefix("files/") if isinstance(name, str) else None
    if wanted is not None and (len(wanted) > MAX_ID_LENGTH or not _ID.fullmatch(wanted)):
        raise ApiError(400, f"* CreateFileRequest.file.name: '{wanted}' is not a valid file ID.\n")
    if wanted is not None and emulator.gemini_files.get(wanted) is not None:
        raise ApiError(409, f"File {wanted} already exists.")
    shown = told.get("displayName", told.get("display_name", ""))
    mime = request.headers.get("x-goog-upload-header-content-type", "application/octet-stream")
    return Upload(str(shown), mime, wanted, int(size), emulator.gemini_files.spool_path())


def _check_size(emulator: Emulator, size: int) -> None:
    """Refuse what is too large. The wordings are ours: Google's are not known."""
    options = emulator.options
    if size > options.gemini_max_file_bytes:
        raise ApiError(400, f"File size {size} exceeds the limit of {options.gemini_max_file_bytes} bytes.")
    if emulator.gemini_files.stored_bytes() + size > options.gemini_max_stored_bytes:
        raise ApiError(429, "You exceeded the file storage limit of this project.")


async def _write(upload: Upload, request: Request) -> None:
    offset = request.headers.get("x-goog-upload-offset", "")
    if not offset.isascii() or not offset.isdecimal() or int(offset) > upload.received:
        raise ApiError(400, f"Invalid X-Goog-Upload-Offset: {upload.received} bytes were received.")
    upload.spooled.touch()
    with upload.spooled.open("r+b") as target:
        target.truncate(int(offset))
        target.seek(int(offset))
        upload.received = int(offset)
        async for piece in request.stream():
            target.write(piece)
            upload.received += len(piece)


def _adopt(emulator: Emulator, upload: Upload) -> GeminiFile:
    upload.spooled.touch()
    file_id = upload.wanted_id or new_file_id()
    return emulator.gemini_files.adopt(upload.spooled, file_id, upload.display_name, upload.mime_type)


def _file(emulator: Emulator, request: Request, call: str) -> GeminiFile:
    file_id = request.path_params["file_id"]
    if len(file_id) > MAX_ID_LENGTH:
        limit = f"File ID (name excluding 'files/') cannot be more than {MAX_ID_LENGTH} characters."
        raise ApiError(400, f"* {call}.name: {limit}\n")
    record = emulator.gemini_files.get(file_id)
    if record is None:
        raise not_there(file_id)
    return record
