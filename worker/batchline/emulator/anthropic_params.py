"""What Anthropic checks: a create call's envelope at once, each request's params when it is run.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing and .../api/errors.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from batchline.emulator.errors import ApiError
from batchline.emulator.lines import LineWriter
from batchline.emulator.split import SplitError, UnknownKeyError, elements
from batchline.emulator.wire import decode_object

MAX_REQUESTS = 100_000
MAX_ID_LENGTH = 64
NO_SAMPLING_VERSION = "2026-10-21"  # from this anthropic-version on temperature, top_p and top_k are refused
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MISSING = object()


def split_envelope(body: Path, lines: Path) -> int:
    """Write each element of the create call's `requests` at `body` as one line of `lines`; return how many.

    Raises ApiError (400), worded as the API does, for an envelope that it refuses.
    """
    seen: set[str] = set()
    with body.open("rb") as source, LineWriter(lines) as writer:
        for index, raw in enumerate(_checked_elements(elements(source, "requests"))):
            if index >= MAX_REQUESTS:
                raise ApiError(400, f"requests: List should have at most {MAX_REQUESTS} items")
            request = decode_object(raw)
            if request is None:
                raise ApiError(400, f"requests.{index}: Input should be a valid dictionary")
            _check_request(index, request, seen)
            writer.write_raw(raw if b"\n" not in raw else msgspec.json.encode(request))
    if not seen:
        raise ApiError(400, "requests: List should have at least 1 item after validation, not 0")
    return len(seen)


def _checked_elements(found: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from found
    except UnknownKeyError as error:
        raise ApiError(400, f"{error.key}: Extra inputs are not permitted") from error
    except SplitError as error:
        wording = (
            "requests: Field required" if str(error) == "requests is missing" else "The request body is not valid JSON"
        )
        raise ApiError(400, wording) from error


def _check_request(index: int, request: dict[str, Any], seen: set[str]) -> None:
    at = f"requests.{index}"
    custom_id, params = request.get("custom_id", _MISSING), request.get("params", _MISSING)
    for name in request.keys() - {"custom_id", "params"}:
        raise ApiError(400, f"{at}.{name}: Extra inputs are not permitted")
    if custom_id is _MISSING:
        raise ApiError(400, f"{at}.custom_id: Field required")
    if not isinstance(custom_id, str):
        raise ApiError(400, f"{at}.custom_id: Input should be a valid string")
    if len(custom_id) > MAX_ID_LENGTH:
        raise ApiError(400, f"{at}.custom_id: String should have at most {MAX_ID_LENGTH} characters")
    if _ID.fullmatch(custom_id) is None:
        raise ApiError(400, f"{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    if params is _MISSING:
        raise ApiError(400, f"{at}.params: Field required")
    if not isinstance(params, dict):
        raise ApiError(400, f"{at}.params: Input should be a valid dictionary")
    if custom_id in seen:
        raise ApiError(400, f"{at}.custom_id: Duplicate custom_id, it must be unique within a batch")
    seen.add(custom_id)


def check_params(params: dict[str, Any], version: str, *, in_batch: bool) -> None:
    """Check the body of one message; raises ApiError (400) with the API's text."""
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if name not in params:
            raise ApiError(400, f"{name}: Field required")
        if not isinstance(params[name], kind) or isinstance(params[name], bool):
            raise ApiError(400, f"{name}: Input should be a valid {_KIND_NAMES[kind]}")
    if params["max_tokens"] < 1:
        raise ApiError(400, "max_tokens: Input should be greater than or equal to 1")
    if not params["messages"]:
        raise ApiError(400, "messages: at least one message is required")
    _check_refused(params, version, in_batch=in_batch)


def _check_refused(params: dict[str, Any], version: str, *, in_batch: bool) -> None:
    if params.get("stream"):
        where = "message batches" if in_batch else "the emulator"
        raise ApiError(400, f"stream: Streaming is not supported in {where}")
    if in_batch and "speed" in params:
        raise ApiError(400, "speed: Extra inputs are not permitted")
    if version >= NO_SAMPLING_VERSION:
        for name in ("temperature", "top_p", "top_k"):
            if name in params:
                raise ApiError(400, f"{name}: Extra inputs are not permitted")


_KIND_NAMES: dict[type, str] = {str: "string", int: "integer", list: "list"}
