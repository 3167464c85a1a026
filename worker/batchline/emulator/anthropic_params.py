"""What Anthropic checks: a create call's envelope at once, each request's params when it is run.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing and .../api/errors.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from batchline.emulator.anthropic_cache import Prefix, prefixes_of
from batchline.emulator.errors import ApiError
from batchline.emulator.lines import LineWriter
from batchline.emulator.split import SplitError, UnknownKeyError, elements
from batchline.emulator.wire import decode_object

MAX_REQUESTS = 100_000
MAX_ID_LENGTH = 64
VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
LONG_OUTPUT = "output-300k-2026-03-24"  # a beta of batches only
NO_SAMPLING_VERSION = "2026-10-21"  # from this anthropic-version on temperature, top_p and top_k are refused
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MISSING = object()

# Most output tokens of a model, and with the beta above; the first pattern that matches.  Other models have no limit.
_MAX_OUTPUT: tuple[tuple[str, int, int], ...] = (
    ("claude-opus-4-[015]*", 64_000, 64_000),
    ("claude-opus-*", 128_000, 300_000),
    ("claude-sonnet-4-6*", 64_000, 300_000),
    ("claude-sonnet-5-5*", 128_000, 128_000),
    ("claude-sonnet-5*", 128_000, 300_000),
    ("claude-*", 64_000, 64_000),
)


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


def check_headers(version: str | None, betas: frozenset[str], *, in_batch: bool) -> str:
    """Return the call's anthropic-version; raises ApiError (400) without a valid one, or for a beta of batches only."""
    if not version:
        raise ApiError(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise ApiError(400, f'anthropic-version: "{version}" is not a valid version')
    for beta in betas:
        if not beta or (beta == LONG_OUTPUT and not in_batch):
            advice = "Please consult our documentation at docs.anthropic.com or try again without the header."
            raise ApiError(400, f"Unexpected value(s) `{beta}` for the `anthropic-beta` header. {advice}")
    return version


def check_params(
    params: dict[str, Any], version: str, betas: frozenset[str] = frozenset(), *, in_batch: bool
) -> list[Prefix]:
    """Check the body of one message and return its prompt's prefixes; raises ApiError (400) with the API's text."""
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if name not in params:
            raise ApiError(400, f"{name}: Field required")
        if not isinstance(params[name], kind) or isinstance(params[name], bool):
            raise ApiError(400, f"{name}: Input should be a valid {_KIND_NAMES[kind]}")
    if params["max_tokens"] < 1:
        raise ApiError(400, "max_tokens: Input should be greater than or equal to 1")
    if not params["messages"]:
        raise ApiError(400, "messages: at least one message is required")
    _check_output(params["model"], params["max_tokens"], long=LONG_OUTPUT in betas)
    _check_refused(params, version, in_batch=in_batch)
    return prefixes_of(params)


def _check_output(model: str, max_tokens: int, *, long: bool) -> None:
    for pattern, normal, longer in _MAX_OUTPUT:
        if fnmatchcase(model, pattern):
            most = longer if long else normal
            if max_tokens > most:
                what = f"which is the maximum allowed number of output tokens for {model}"
                raise ApiError(400, f"max_tokens: {max_tokens} > {most}, {what}")
            return


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
