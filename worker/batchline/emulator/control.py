"""The emulator's own endpoints, under `/_emulator/`; they want no key and are never broken by a fault."""

from fnmatch import filter as matching

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from batchline.emulator.foreign import Foreign, add_foreign
from batchline.emulator.transport_faults import Fault
from batchline.emulator.wire import json_response
from batchline.emulator.world import Emulator


def control_routes() -> list[BaseRoute]:
    """Return the routes by which a test steers and questions the emulator."""
    return [
        Route("/_emulator/health", _health, name="health"),
        Route("/_emulator/bill", _bill, name="bill"),
        Route("/_emulator/faults", _show_faults, methods=["GET"], name="faults"),
        Route("/_emulator/faults", _arm, methods=["POST"], name="arm"),
        Route("/_emulator/faults", _disarm, methods=["DELETE"], name="disarm"),
        Route("/_emulator/foreign", _foreign, methods=["POST"], name="foreign"),
    ]


async def _health(_request: Request) -> Response:
    return json_response({"status": "ok"})


async def _bill(request: Request) -> Response:
    emulator = _emulator(request)
    emulator.jobs.advance()
    return json_response(emulator.bill.report())


async def _show_faults(request: Request) -> Response:
    return json_response(_emulator(request).transport_faults.report())


async def _arm(request: Request) -> Response:
    """Arm one fault; 400 when it is not one, or no route has such a name."""
    try:
        fault = msgspec.json.decode(await request.body(), type=Fault)
    except ValueError as error:
        return _bad(str(error))
    names = [route.name for route in request.app.routes if isinstance(route, Route) and "." in route.name]
    if not matching(names, fault.route):
        return _bad(f"no route is called {fault.route!r}: there are {', '.join(sorted(set(names)))}")
    faults = _emulator(request).transport_faults
    faults.arm(fault)
    return json_response(faults.report())


async def _disarm(request: Request) -> Response:
    faults = _emulator(request).transport_faults
    faults.disarm()
    return json_response(faults.report())


async def _foreign(request: Request) -> Response:
    """Add foreign batches or files; answers their `ids`."""
    try:
        foreign = msgspec.json.decode(await request.body(), type=Foreign)
        ids = add_foreign(_emulator(request), foreign)
    except ValueError as error:
        return _bad(str(error))
    return json_response({"ids": ids})


def _emulator(request: Request) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator


def _bad(message: str) -> Response:
    return json_response({"error": message}, status=400)
