"""Refusals, and how each provider words them on the wire."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from batchline.emulator.wire import json_response


@dataclass(eq=False)
class ApiError(Exception):
    """A call or a request that the provider refuses.

    `kind` is the provider's error type; `param` exists in OpenAI's shape only, `details` in Google's, where `code` is
    the status' name if it is not the usual one.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    details: tuple[Mapping[str, Any], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def openai_error_body(error: ApiError) -> dict[str, Any]:
    """Return OpenAI's error body, as in an HTTP answer and in `response.body` of a batch line."""
    detail = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return {"error": detail}


def openai_error(error: ApiError) -> Response:
    """Return OpenAI's HTTP answer to a refused call."""
    headers = {"x-request-id": f"req_{secrets.token_hex(12)}", **error.headers}
    return json_response(openai_error_body(error), status=error.status, headers=headers)


def anthropic_error_body(error: ApiError, request_id: str | None) -> dict[str, Any]:
    """Return Anthropic's error body, as in an HTTP answer and in an `errored` result."""
    return {"type": "error", "error": {"type": error.kind, "message": error.message}, "request_id": request_id}


def anthropic_error(error: ApiError) -> Response:
    """Return Anthropic's HTTP answer to a refused call."""
    request_id = f"req_{secrets.token_hex(12)}"
    headers = {"request-id": request_id, **error.headers}
    return json_response(anthropic_error_body(error, request_id), status=error.status, headers=headers)


_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def gemini_error(error: ApiError) -> Response:
    """Return Google's HTTP answer to a refused call."""
    status = error.code or _GOOGLE_STATUSES.get(error.status, "UNKNOWN")
    detail: dict[str, Any] = {"code": error.status, "message": error.message, "status": status}
    if error.details:
        detail["details"] = list(error.details)
    return json_response({"error": detail}, status=error.status, headers=error.headers)
