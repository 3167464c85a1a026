"""OpenAI's realtime endpoints: the same answers, at list price and at once."""

import secrets
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.answers import answer
from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError
from batchline.emulator.faults import Fate
from batchline.emulator.openai_dialects import dialect_of
from batchline.emulator.openai_work import REFUSED, SERVER_ERROR
from batchline.emulator.prompts import REQUIRED, read_prompt
from batchline.emulator.routing import Handler, route
from batchline.emulator.wire import decode_object, json_response, read_body
from batchline.emulator.world import Emulator


def realtime_routes(root: str = "") -> list[BaseRoute]:
    """Return one route per endpoint that a batch may use; `root` stands before every path."""
    return [route(_name(endpoint), "POST", root + endpoint, _handler(endpoint)) for endpoint in REQUIRED]


def _name(endpoint: str) -> str:
    return f"openai{endpoint.removeprefix('/v1').replace('/', '.')}.create"


def _handler(endpoint: str) -> Handler:
    async def handle(emulator: Emulator, request: Request) -> Response:
        raw = await read_body(request)
        body = decode_object(raw or b"")
        if body is None:
            raise ApiError(400, "We could not parse the JSON body of your request.")
        for name in REQUIRED[endpoint]:
            if name not in body:
                message = f"Missing required parameter: '{name}'."
                raise ApiError(400, message, code="missing_required_parameter", param=name)
        if body.get("stream"):
            raise ApiError(400, "The emulator does not stream answers.", code="unsupported_value", param="stream")
        dialect_of(emulator.options).check_body(body)
        prompt = read_prompt(endpoint, body, emulator.options.bytes_per_token)
        tally = Tally()
        call_id = f"req_{secrets.token_hex(12)}"
        fate = emulator.fates.of(prompt.model, prompt.text, prompt.digest, call_id)
        if fate in (Fate.REJECT, Fate.ERROR):
            tally.fail()
            emulator.bill.add("openai", prompt.model, "realtime", tally)
            raise replace(REFUSED if fate is Fate.REJECT else SERVER_ERROR)
        result, usage = answer(endpoint, body, prompt, emulator.now(), emulator.options.seed)
        tally.succeed(prompt.model, prompt.digest, usage)
        emulator.bill.add("openai", prompt.model, "realtime", tally)
        return json_response(result, headers={"x-request-id": call_id})

    return handle
