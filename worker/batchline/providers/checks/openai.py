"""What OpenAI refuses for certain, and what every service of its shape does. Pure.

Sources, unless a line names another: the SDK's parameter types and developers.openai.com/api/reference/resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from batchline.lanes import Lane
from batchline.providers.checks.fields import (
    Object,
    Rules,
    keep,
    messages,
    missing,
    number,
    objects,
    of_the_sdk,
    refuse,
    refuse_part,
    whole,
    within,
)
from batchline.providers.checks.schema import check_schema, check_strict

MAX_EMBEDDING_INPUTS = 2_048
MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512
"""Of a body's metadata, in characters."""
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
"""Of a function or a response format."""

_EMBEDS = re.compile(r"text-embedding-(ada-002|3-small|3-large)\Z")
_MODERATES = re.compile(r"(omni|text)-moderation-")
_CHATS = re.compile(r"(gpt-(4o|4\.1|4-turbo|5|6)|o[134](-|\Z)|chatgpt-)(?!.*(embed|moderation|instruct|base))")
_COMPLETES = re.compile(r"(o[134]|gpt-5(\.\d+)?)(?![\w.])(?!.*(chat|search))")
"""Models that know max_completion_tokens only. Source: github.com/truefoundry/models/pull/827 (gpt-5.5)"""
_INPUTS = ("input", "prompt", "previous_response_id", "conversation")


def check(lane: Lane, body: Object) -> None:
    """Refuse (InvalidRequest) what OpenAI itself would refuse."""
    compatible(lane, body)
    _check_given(lane.endpoint, body)
    problem = _misplaced(lane.model, lane.endpoint)
    if problem is not None:
        refuse("model", problem)
    keep(_OWN.get(lane.endpoint, {}), body)
    if "max_tokens" in body and lane.endpoint == "chat":
        _check_max_tokens(lane, body)


def compatible(lane: Lane, body: Object) -> None:
    """Refuse what no service of OpenAI's shape could answer in a batch; their models and limits are their own."""
    if lane.version is not None:
        refuse_part("version")
    shape = _SHAPES.get(lane.endpoint)
    if shape is not None:
        shape(body)


@lru_cache(maxsize=1024)
def _misplaced(model: str, endpoint: str) -> str | None:
    """Return what is wrong with a model whose kind is known on this endpoint. Names that are not known may be anything."""
    if _EMBEDS.match(model) and endpoint != "embeddings":
        return f"{model} makes embeddings: its endpoint is embeddings, not {endpoint}"
    if _MODERATES.match(model) and endpoint != "moderations":
        return f"{model} moderates: its endpoint is moderations, not {endpoint}"
    if _CHATS.match(model) and endpoint in {"embeddings", "moderations", "completions"}:
        return f"{model} is no model for {endpoint}: its endpoints are chat and responses"
    return None


def _check_given(endpoint: str, body: Object) -> None:
    # vLLM takes messages to embed as well, and prompts that are embedded already.
    if endpoint == "embeddings":
        _needs_input(body)
    elif endpoint == "completions" and "prompt" not in body:
        missing("prompt")


def _check_max_tokens(lane: Lane, body: Object) -> None:
    if body["max_tokens"] is not None and _COMPLETES.match(lane.model):
        refuse("max_tokens", f"is not known to {lane.model}: use max_completion_tokens")


# --- what every service of this shape wants ---


def _chat(body: Object) -> None:
    messages(body)
    given = body.get("response_format")
    if given is not None and _wants_schema(given):
        _check_format(given.get("json_schema"), "response_format.json_schema", needed=False)


def _responses(body: Object) -> None:
    if all(body.get(name) is None for name in _INPUTS):
        missing("input", "give it, or a prompt, a conversation or a previous_response_id")
    if body.get("background"):
        refuse("background", "is true: nobody would fetch the answer; a batch runs in the background anyway")
    text = body.get("text")
    if isinstance(text, dict) and _wants_schema(text.get("format")):
        _check_format(text["format"], "text.format", needed=True)


def _needs_input(body: Object) -> None:
    if body.get("input") is None:
        missing("input")


_SHAPES: Mapping[str, Callable[[Object], None]] = {
    "chat": _chat,
    "responses": _responses,
    "moderations": _needs_input,
}


def _wants_schema(given: Any) -> bool:
    return isinstance(given, dict) and given.get("type") == "json_schema"


def _check_format(given: Any, field: str, *, needed: bool) -> None:
    if not isinstance(given, dict):
        refuse(field, "is missing or no object: it holds the name and the schema")
    if not isinstance(given.get("name"), str):
        missing(f"{field}.name")
    schema = given.get("schema")
    if schema is not None:
        check_schema(schema, f"{field}.schema")
    elif needed:
        missing(f"{field}.schema")


# --- OpenAI's own limits ---


def _stream_options(field: str, _: Any) -> None:
    refuse(field, "is for streams only, which a batch does not give: leave it out")


def _stop(field: str, given: Any) -> None:
    if isinstance(given, list) and len(given) > 4:
        refuse(field, f"has {len(given)} sequences, the limit is 4")


def _metadata(field: str, given: Any) -> None:
    if not isinstance(given, dict):
        refuse(field, "is not an object of texts")
    if len(given) > MAX_PAIRS:
        refuse(field, f"has {len(given)} pairs, the limit is {MAX_PAIRS}")
    for key, value in given.items():
        if len(key) > MAX_KEY:
            refuse(field, f"has a key of {len(key):,} characters, the limit is {MAX_KEY}")
        if not isinstance(value, str):
            refuse(field, "has a value that is not text")
        if len(value) > MAX_VALUE:
            refuse(field, f"has a value of {len(value):,} characters, the limit is {MAX_VALUE}")


def _response_format(field: str, given: Any) -> None:
    if _wants_schema(given):
        _own_format(f"{field}.json_schema", given["json_schema"])


def _text(field: str, given: Any) -> None:
    if isinstance(given, dict) and _wants_schema(given.get("format")):
        _own_format(f"{field}.format", given["format"])


def _own_format(field: str, given: Object) -> None:
    _check_name(given, field)
    schema = given.get("schema")
    if given.get("strict") is True and isinstance(schema, dict):
        check_strict(schema, f"{field}.schema")


def _chat_tools(field: str, given: Any) -> None:
    for path, tool in objects(field, given):
        if tool.get("type") == "function":
            _check_function(tool.get("function"), f"{path}.function")


def _tools(field: str, given: Any) -> None:
    for path, tool in objects(field, given):
        if tool.get("type") == "function":
            _check_function(tool, path)


def _check_function(given: Any, field: str) -> None:
    if not isinstance(given, dict):
        missing(field, "it holds the function's name and parameters")
    _check_name(given, field)
    parameters = given.get("parameters")
    if parameters is None:
        return
    check_schema(parameters, f"{field}.parameters")
    kind = parameters.get("type")
    if isinstance(kind, str) and kind != "object":
        refuse(f"{field}.parameters", 'is not of type "object" at its root')
    if given.get("strict") is True:
        check_strict(parameters, f"{field}.parameters")


def _check_name(given: Object, field: str) -> None:
    name = given.get("name")
    if not isinstance(name, str):
        missing(f"{field}.name")
    if not NAME.match(name):
        refuse(f"{field}.name", "may hold only a-z A-Z 0-9 _ - and 1 to 64 of them")


def _inputs(field: str, given: Any) -> None:
    if given in ("", []):
        refuse(field, "is empty")
    if not isinstance(given, list) or isinstance(given[0], int):
        return  # a text, or one list of tokens
    if len(given) > MAX_EMBEDDING_INPUTS:
        refuse(field, f"has {len(given):,} inputs, the limit is {MAX_EMBEDDING_INPUTS:,}: use several requests")
    if "" in given or [] in given:
        index = next(index for index, each in enumerate(given) if each in ("", []))
        refuse(f"{field}[{index}]", "is empty")


_SAMPLING: Rules = {
    "temperature": number(within(0, 2)),
    "top_p": number(within(0, 1)),
    "frequency_penalty": number(within(-2, 2)),
    "presence_penalty": number(within(-2, 2)),
}
_SDK: Rules = {
    "extra_headers": of_the_sdk("leave it out"),
    "extra_query": of_the_sdk("leave it out"),
    "extra_body": of_the_sdk("put what it holds into the body itself"),
}
"""Fields that OpenAI does not know it refuses. Source: github.com/spring-projects/spring-ai/pull/5266"""
_OWN: Mapping[str, Rules] = {
    "chat": {
        **_SAMPLING,
        **_SDK,
        "max_tokens": number(whole(1)),
        "max_completion_tokens": number(whole(1)),
        "n": number(whole(1)),
        "top_logprobs": number(whole(0, 20)),
        "stop": _stop,
        "metadata": _metadata,
        "response_format": _response_format,
        "stream_options": _stream_options,
        "tools": _chat_tools,
    },
    "responses": {
        **_SAMPLING,
        **_SDK,
        "max_output_tokens": number(whole(1)),
        "top_logprobs": number(whole(0, 20)),
        "metadata": _metadata,
        "text": _text,
        "tools": _tools,
    },
    "embeddings": {"dimensions": number(whole(1)), "input": _inputs},
    "completions": {**_SAMPLING, "max_tokens": number(whole(0)), "n": number(whole(1))},
}
