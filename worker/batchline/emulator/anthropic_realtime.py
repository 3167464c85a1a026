"""Anthropic's realtime endpoints: /v1/messages and its token count."""

import secrets
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.answers import message
from batchline.emulator.anthropic_batches import read_headers
from batchline.emulator.anthropic_cache import PromptCache
from batchline.emulator.anthropic_params import check_params
from batchline.emulator.anthropic_work import REFUSED, SERVER_ERROR
from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError
from batchline.emulator.faults import Fate
from batchline.emulator.prompts import MESSAGES, read_prompt
from batchline.emulator.routing import route
from batchline.emulator.wire import decode_object, json_response, read_body
from batchline.emulator.world import Emulator


def realtime_routes() -> list[BaseRoute]:
    """Return the routes of the Messages API."""
    return [
        route("anthropic.messages.create", "POST", "/v1/messages", create),
        route("anthropic.messages.count_tokens", "POST", "/v1/messages/count_tokens", count_tokens),
    ]


async def create(emulator: Emulator, request: Request) -> Response:
    """Answer one message at once. Every call finds the cache cold."""
    version, betas = read_headers(request, in_batch=False)
    body = await _body(request)
    prefixes = check_params(body, version, betas, in_batch=False)
    prompt = read_prompt(MESSAGES, body)._replace(cache=PromptCache().use(prefixes, emulator.clock()))
    tally = Tally()
    call_id = f"req_{secrets.token_hex(12)}"
    fate = emulator.fates.of(prompt.model, prompt.text, prompt.digest, call_id)
    if fate in (Fate.REJECT, Fate.ERROR):
        tally.fail()
        emulator.bill.add("anthropic", prompt.model, "realtime", tally)
        raise replace(REFUSED if fate is Fate.REJECT else SERVER_ERROR)
    result, usage = message(prompt, emulator.options.seed, service_tier="standard")
    tally.succeed(prompt.model, prompt.digest, usage)
    emulator.bill.add("anthropic", prompt.model, "realtime", tally)
    return json_response(result, headers={"request-id": call_id})


async def count_tokens(_emulator: Emulator, request: Request) -> Response:
    """Count the input tokens of one message; free."""
    prompt = read_prompt(MESSAGES, await _body(request))
    return json_response({"input_tokens": prompt.input_tokens})


async def _body(request: Request) -> dict[str, Any]:
    raw = await read_body(request)
    if raw is None:
        raise ApiError(413, "Request exceeds the maximum size", kind="request_too_large")
    body = decode_object(raw)
    if body is None:
        raise ApiError(400, "The request body is not valid JSON")
    return body
