"""What every provider call passes through: counted, broken if so told, its key checked, refusals in its own words."""

from collections.abc import Awaitable, Callable
from typing import Literal, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from batchline.emulator.errors import ApiError, anthropic_error, openai_error
from batchline.emulator.hangup import Cut, HangUp
from batchline.emulator.transport_faults import Fault
from batchline.emulator.wire import drain
from batchline.emulator.world import Emulator

Handler = Callable[[Emulator, Request], Awaitable[Response]]
Style = Literal["openai", "anthropic"]
Call = Callable[[], Awaitable[Response]]

_ANTHROPIC_KINDS = {429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}


def route(name: str, method: str, path: str, handler: Handler) -> Route:
    """Return the route called `name`, "openai." or "anthropic." and what it does; faults are armed by this name."""
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

    return Route(path, endpoint, methods=[method], name=name)


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
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    given = bearer or (request.headers.get("x-api-key", "") if style == "anthropic" else "")
    if given and wanted in (None, given):
        return
    if style == "anthropic":
        raise ApiError(401, "invalid x-api-key", kind="authentication_error")
    if not given:
        raise ApiError(401, "You didn't provide an API key.")
    raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def _refusal(style: Style, error: ApiError) -> Response:
    return openai_error(error) if style == "openai" else anthropic_error(error)


def _error(fault: Fault, style: Style) -> ApiError:
    limited = fault.action == "rate_limit"
    status = 429 if limited else fault.status
    headers = {"retry-after": str(fault.retry_after)} if limited else {}
    message = f"The emulator was told to answer this call with {status}."
    if style == "anthropic":
        return ApiError(status, message, kind=_ANTHROPIC_KINDS.get(status, "api_error"), headers=headers)
    if status == 429:
        return ApiError(status, message, kind="requests", code="rate_limit_exceeded", headers=headers)
    return ApiError(status, message, kind="server_error", headers=headers)
