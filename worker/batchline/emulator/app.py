"""The ASGI application: all routes over one `Emulator`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from batchline.emulator import (
    anthropic_batches,
    anthropic_realtime,
    gemini_batches,
    gemini_files,
    gemini_realtime,
    openai_batches,
    openai_realtime,
)
from batchline.emulator.anthropic_work import AnthropicWork
from batchline.emulator.control import control_routes
from batchline.emulator.errors import ApiError, anthropic_error, gemini_error, openai_error
from batchline.emulator.gemini_work import GeminiWork
from batchline.emulator.openai_dialects import dialect_of
from batchline.emulator.openai_files import file_routes
from batchline.emulator.openai_work import OpenAIWork
from batchline.emulator.options import Options
from batchline.emulator.routing import is_google
from batchline.emulator.wire import drain
from batchline.emulator.world import Emulator

TICK_S = 0.02


def create_app(options: Options, clock: Callable[[], float] = time.time) -> Starlette:
    """Return the emulator as an ASGI application; its state is `app.state.emulator`.

    `clock` gives unix seconds.  Jobs advance on every call and, while the application's lifespan runs, every 20 ms.
    """
    emulator = Emulator(options, clock)
    emulator.jobs.register("openai", OpenAIWork(emulator))
    emulator.jobs.register("anthropic", AnthropicWork(emulator))
    emulator.jobs.register("gemini", GeminiWork(emulator))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(_tick(emulator))
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            emulator.close()

    app = Starlette(routes=_routes(dialect_of(options).root), lifespan=lifespan)
    app.state.emulator = emulator
    return app


def _routes(openai_root: str) -> list[BaseRoute]:
    return [
        *control_routes(),
        *gemini_files.file_routes(),
        *gemini_batches.batch_routes(),
        *gemini_realtime.realtime_routes(),
        *file_routes(openai_root),
        *openai_batches.batch_routes(openai_root),
        *openai_realtime.realtime_routes(openai_root),
        *anthropic_batches.batch_routes(),
        *anthropic_realtime.realtime_routes(),
        Route("/{path:path}", _unknown, methods=["GET", "POST", "DELETE", "PUT", "PATCH"]),
    ]


async def _tick(emulator: Emulator) -> None:
    while True:
        emulator.jobs.advance()
        await asyncio.sleep(TICK_S)


async def _unknown(request: Request) -> Response:
    await drain(request)
    path = f"/{request.path_params['path']}"
    if is_google(request.scope):
        return gemini_error(ApiError(404, "Requested entity was not found."))
    if path.startswith("/v1/messages"):
        return anthropic_error(ApiError(404, "Not found", kind="not_found_error"))
    return openai_error(ApiError(404, f"Invalid URL ({request.method} {path})"))
