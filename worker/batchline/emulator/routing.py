"""What every provider call passes through: counted, broken if so told, its key checked, refusals in its own words."""

from collections.abc import Awaitable, Callable
from typing import Literal, cast

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from batchline.emulator.errors import ApiError, anthropic_error, gemini_error, openai_error
from batchline.emulator.hangup import Cut, HangUp
from batchline.emulator.transport_faults import Fault
from batchline.emulator.wire import drain
from batchline.emulator.world import Emulator

Handler = Callable[[Emulator, Request], Awaitable[Response]]
Style = Literal["openai", "anthropic", "gemini"]
Call = Callable[[], Awaitable[Response]]

_ANTHROPIC_KINDS = {429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}


def route(name: str, method: str, path: str, handler: Handler) -> Route:
    """Return the route called `name`, the provider and what it does; faults are armed by this name."""
    return Route(path, _endpoint(name, method, path, handler), methods=[method], name=name)


def google_route(
    name: str, method: str, path: str, handler: Handler, *, only_if: Callable[[Scope], bool] | None = None
) -> Route:
    """Return a route that is there only for calls of which `only_if` is true (None: all)."""
    endpoint = _endpoint(name, method, path.replace(":google", ""), handler)
    if only_if is None:
        return Route(path, endpoint, methods=[method], name=name)
    return _ConditionalRoute(path, endpoint, method, name, only_if)


class _GoogleVersion(StringConvertor):
    regex = "v1beta|v1"


register_url_convertor("google", _GoogleVersion())


class _ConditionalRoute(Route):
    """OpenAI and Google both have /v1/files and /v1/batches: what a call brings with it tells whose is meant."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        method: str,
        name: str,
        only_if: Callable[[Scope], bool],
    ) -> None:
        super().__init__(path, endpoint, methods=[method], name=name)
        self._only_if = only_if

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if scope["type"] == "http" and self._only_if(scope) else (Match.NONE, {})


def is_google(scope: Scope) -> bool:
    """Return whether a call is meant for Google: by its key, its client's header, or a path of Google's alone."""
    if "/v1beta/" in scope["path"] or b"key=" in scope["query_string"]:
        return True
    return any(name in (b"x-goog-api-key", b"x-goog-api-client") for name, _ in scope["headers"])


def is_upload(scope: Scope) -> bool:
    """Return whether a call brings bytes to an upload that was begun before; such a URL needs no key."""
    return b"upload_id=" in scope["query_string"]


def _endpoint(name: str, method: str, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    style = cast("Style", name.partition(".")[0])
    counted_as = f"{method} {path}"

    async def endpoint(request: Request) -> Response:
        emulator: Emulator = request.app.state.emulator
        emulator.bill.calls[counted_as] += 1
        fault = emulator.transport_faults.take(name)
        try:
            if fault is None:
                return await guarded(style, handler, request)
            return await broken(fault, style, request, lambda: guarded(style, handler, request))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it; nothing was kept of the half body

    return endpoint


async def guarded(style: Style, handler: Handler, request: Request) -> Response:
    """Check the call's key, bring the jobs up to date, and answer it."""
    emulator: Emulator = request.app.state.emulator
    try:
        check_key(style, emulator.options.api_key, request)
        emulator.jobs.advance()
        return await handler(emulator, request)
    except ApiError as error:
        await drain(request)
        return _refusal(style, error)


async def broken(fault: Fault, style: Style, request: Request, call: Call) -> Response:
    """Answer `call` with `fault` (table in `transport_faults`)."""
    emulator: Emulator = request.app.state.emulator
    if fault.action == "hang_before":
        await request.body()  # it has arrived: what happens later happens though the caller may be gone
        await emulator.transport_faults.hang(fault.seconds)
        return await call()
    if fault.action in ("drop_before", "error_before", "rate_limit"):
        await drain(request)
        return HangUp() if fault.action == "drop_before" else _refusal(style, _error(fault, style))
    answer = await call()
    if fault.action == "hang":
        await emulator.transport_faults.hang(fault.seconds)
        return answer
    if fault.action == "cut_stream":
        return Cut(answer, fault.after_bytes)
    return HangUp() if fault.action == "drop_after" else _refusal(style, _error(fault, style))


def check_key(style: Style, wanted: str | None, request: Request) -> None:
    """Refuse a call without a key, or with another one than `wanted` (None: any key will do)."""
    if style == "gemini":
        _check_google_key(wanted, request)
        return
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    given = bearer or (request.headers.get("x-api-key", "") if style == "anthropic" else "")
    if given and wanted in (None, given):
        return
    if style == "anthropic":
        raise ApiError(401, "invalid x-api-key", kind="authentication_error")
    if not given:
        raise ApiError(401, "You didn't provide an API key.")
    raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def _check_google_key(wanted: str | None, request: Request) -> None:
    """Refuse as Google does: 403 without a key, 400 with a wrong one."""
    given = request.headers.get("x-goog-api-key") or request.query_params.get("key", "")
    if is_upload(request.scope) or (given and wanted in (None, given)):
        return
    if not given:
        raise ApiError(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    message = "API key not valid. Please pass a valid API key."
    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    localized = {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message}
    raise ApiError(400, message, details=(reason, localized))


_REFUSALS: dict[Style, Callable[[ApiError], Response]] = {
    "openai": openai_error,
    "anthropic": anthropic_error,
    "gemini": gemini_error,
}


def _refusal(style: Style, error: ApiError) -> Response:
    return _REFUSALS[style](error)


def _error(fault: Fault, style: Style) -> ApiError:
    limited = fault.action == "rate_limit"
    status = 429 if limited else fault.status
    headers = {"retry-after": str(fault.retry_after)} if limited else {}
    message = f"The emulator was told to answer this call with {status}."
    if style == "anthropic":
        return ApiError(status, message, kind=_ANTHROPIC_KINDS.get(status, "api_error"), headers=headers)
    if style == "gemini":
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.retry_after}s"}
        return ApiError(status, message, details=(delay,) if limited else (), headers=headers)
    if status == 429:
        return ApiError(status, message, kind="requests", code="rate_limit_exceeded", headers=headers)
    return ApiError(status, message, kind="server_error", headers=headers)
