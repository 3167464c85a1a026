"""What every provider call passes through: counted, its key checked, refusals worded as the provider does.

Faults of the transport (a reply dropped after its effect, a 5xx after it, a stream cut in the middle) belong in
`guarded`, around the handler, when a later version wants them.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from batchline.emulator.errors import ApiError, anthropic_error, openai_error
from batchline.emulator.wire import drain
from batchline.emulator.world import Emulator

Handler = Callable[[Emulator, Request], Awaitable[Response]]
Style = Literal["openai", "anthropic"]


def route(style: Style, method: str, path: str, handler: Handler) -> Route:
    """Return a route whose errors have the shape of provider `style`."""
    name = f"{method} {path}"

    async def endpoint(request: Request) -> Response:
        return await guarded(style, name, handler, request)

    return Route(path, endpoint, methods=[method])


async def guarded(style: Style, name: str, handler: Handler, request: Request) -> Response:
    """Count the call, check its key, bring the jobs up to date, and answer it."""
    emulator: Emulator = request.app.state.emulator
    emulator.bill.calls[name] += 1
    try:
        check_key(style, emulator.options.api_key, request)
        emulator.jobs.advance()
        return await handler(emulator, request)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it; nothing was kept of the half body
    except ApiError as error:
        await drain(request)
        return openai_error(error) if style == "openai" else anthropic_error(error)


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
