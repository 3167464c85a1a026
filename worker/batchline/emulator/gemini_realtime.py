"""Gemini's realtime endpoints: the same answers, at list price and at once."""

import secrets
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchline.emulator.bill import Tally
from batchline.emulator.errors import ApiError
from batchline.emulator.faults import Fate
from batchline.emulator.gemini_answers import content, embedding
from batchline.emulator.gemini_batches import check_model, payload_error
from batchline.emulator.gemini_requests import named, read_request, unknown_field
from batchline.emulator.gemini_work import ERROR_TEXTS, REFUSED
from batchline.emulator.prompts import Prompt
from batchline.emulator.routing import google_route
from batchline.emulator.wire import decode_object, json_response, read_body
from batchline.emulator.world import Emulator

SERVER_ERROR = ApiError(500, ERROR_TEXTS[13])


def realtime_routes() -> list[BaseRoute]:
    """Return the routes of content, embeddings and token counts."""
    model = "/{version:google}/models/{model}"
    return [
        google_route("gemini.models.generate_content", "POST", model + ":generateContent", generate),
        google_route("gemini.models.embed_content", "POST", model + ":embedContent", embed),
        google_route("gemini.models.embed_content", "POST", model + ":batchEmbedContents", embed_many),
        google_route("gemini.models.count_tokens", "POST", model + ":countTokens", count_tokens),
    ]


async def generate(emulator: Emulator, request: Request) -> Response:
    """Answer one request at once."""
    model = request.path_params["model"]
    check_model(request, model, embeds=False)
    body = await _body(request)
    prompt = _read(model, body, embeds=False)
    _refuse_marked(emulator, prompt)
    answer, usage = content(body, prompt, emulator.options.seed)
    tally = Tally()
    tally.succeed(model, prompt.digest, usage)
    emulator.bill.add("gemini", model, "realtime", tally)
    return json_response(answer)


async def embed(emulator: Emulator, request: Request) -> Response:
    """Embed one content at once."""
    answer = _embed(emulator, request.path_params["model"], await _embedding_body(request))
    return json_response({name: answer[name] for name in ("embedding", "usageMetadata")})


async def embed_many(emulator: Emulator, request: Request) -> Response:
    """Embed several contents at once, as the SDK's embed_content asks for."""
    body = await _embedding_body(request)
    rows = body.get("requests")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ApiError(400, "* BatchEmbedContentsRequest.requests: at least one request is required\n")
    answers = [_embed(emulator, request.path_params["model"], row) for row in rows]
    tokens = sum(answer["usageMetadata"]["promptTokenCount"] for answer in answers)
    usage = {"promptTokenCount": tokens}
    return json_response({"embeddings": [answer["embedding"] for answer in answers], "usageMetadata": usage})


async def count_tokens(_emulator: Emulator, request: Request) -> Response:
    """Count the tokens of a prompt; free."""
    body = await _body(request)
    wrapped = named(body, "generateContentRequest")
    prompt = read_request(request.path_params["model"], wrapped if isinstance(wrapped, dict) else body, embeds=False)
    details = [{"modality": "TEXT", "tokenCount": prompt.input_tokens}]
    return json_response({"totalTokens": prompt.input_tokens, "promptTokensDetails": details})


def _embed(emulator: Emulator, model: str, body: dict[str, Any]) -> dict[str, Any]:
    prompt = _read(model, body, embeds=True)
    _refuse_marked(emulator, prompt)
    answer, usage = embedding(body, prompt)
    tally = Tally()
    tally.succeed(model, prompt.digest, usage)
    emulator.bill.add("gemini", model, "realtime", tally)
    return answer


def _read(model: str, body: dict[str, Any], *, embeds: bool) -> Prompt:
    unknown = unknown_field(body, embeds=embeds)
    if unknown is not None:
        inside, _, name = unknown.rpartition(".")
        raise payload_error(name, inside)
    return read_request(model, body, embeds=embeds)


def _refuse_marked(emulator: Emulator, prompt: Prompt) -> None:
    """Raise what the message's marker asks for; such a call was executed and is not billed."""
    fate = emulator.fates.of(prompt.model, prompt.text, prompt.digest, f"call-{secrets.token_hex(8)}")
    if fate in (Fate.REJECT, Fate.ERROR):
        tally = Tally()
        tally.fail()
        emulator.bill.add("gemini", prompt.model, "realtime", tally)
        raise replace(REFUSED if fate is Fate.REJECT else SERVER_ERROR)


async def _embedding_body(request: Request) -> dict[str, Any]:
    check_model(request, request.path_params["model"], embeds=True)
    return await _body(request)


async def _body(request: Request) -> dict[str, Any]:
    body = decode_object(await read_body(request) or b"")
    if body is None:
        raise ApiError(400, "Invalid JSON payload received.")
    return body
