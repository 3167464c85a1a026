"""What OpenAI would refuse for certain is refused; what may work is let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers.checks import openai

HELLO = [{"role": "user", "content": "CANARY"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
WRONG = {"type": "objekt"}

Check = Callable[..., None]


def refusal(
    endpoint: str, body: dict[str, Any], *, model: str = "gpt-6-luna", parts: str = "", by: Check = openai.check
) -> str:
    """Return why a body is refused; an empty text if it is not."""
    try:
        by(parse_lane(f"openai:{endpoint}:{model}{parts}"), body)
    except InvalidRequest as error:
        refused = error
    else:
        return ""
    assert refused.code == "invalid_request"
    assert "CANARY" not in str(refused)
    return str(refused)


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": HELLO} | fields


def form(**fields: Any) -> dict[str, Any]:
    """Return a chat body with this response format."""
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA} | fields})


def text_form(**fields: Any) -> dict[str, Any]:
    """Return a responses body with this text format."""
    return {
        "input": "CANARY",
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA} | fields},
    }


def tool(**fields: Any) -> dict[str, Any]:
    """Return a chat body with this function."""
    return chat(tools=[{"type": "function", "function": {"name": "look"} | fields}])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {}, 'field "messages": is missing'),
    ("chat", {"input": "CANARY"}, 'field "messages": is missing'),
    ("chat", {"messages": "CANARY"}, 'field "messages": is not a list'),
    ("chat", {"messages": []}, 'field "messages": is an empty list'),
    ("chat", {"messages": ["CANARY"]}, 'field "messages[0]"'),
    ("chat", {"messages": [*HELLO, {"content": "CANARY"}]}, 'field "messages[1].role"'),
    ("chat", {"messages": [{"role": 1, "content": "CANARY"}]}, 'field "messages[0].role"'),
    ("chat", chat(temperature=2.1), 'field "temperature": is not between 0 and 2'),
    ("chat", chat(temperature=-0.1), 'field "temperature"'),
    ("chat", chat(temperature="CANARY"), 'field "temperature": is not a number'),
    ("chat", chat(temperature=True), 'field "temperature": is not a number'),
    ("chat", chat(top_p=1.5), 'field "top_p": is not between 0 and 1'),
    ("chat", chat(frequency_penalty=3), 'field "frequency_penalty": is not between -2 and 2'),
    ("chat", chat(presence_penalty=-3), 'field "presence_penalty"'),
    ("chat", chat(max_tokens=-1), 'field "max_tokens": is less than 1'),
    ("chat", chat(max_completion_tokens=0), 'field "max_completion_tokens": is less than 1'),
    ("chat", chat(max_completion_tokens=1.5), 'field "max_completion_tokens": is not a whole number'),
    ("chat", chat(stream_options={"include_usage": True}), 'field "stream_options": is for streams only'),
    ("chat", chat(extra_headers={}), 'field "extra_headers": is an argument of the SDK'),
    ("chat", chat(extra_body={"CANARY": 1}), 'field "extra_body": is an argument of the SDK'),
    ("responses", {"input": "CANARY", "extra_query": {}}, 'field "extra_query": is an argument of the SDK'),
    ("chat", chat(n=0), 'field "n"'),
    ("chat", chat(n=[1]), 'field "n": is not a number'),
    ("chat", chat(top_logprobs=21), 'field "top_logprobs": is not between 0 and 20'),
    ("chat", chat(stop=list("abcde")), 'field "stop": has 5 sequences'),
    ("chat", chat(metadata=[]), 'field "metadata": is not an object'),
    ("chat", chat(metadata={str(n): "" for n in range(17)}), 'field "metadata": has 17 pairs'),
    ("chat", chat(metadata={"k" * 65: "v"}), 'field "metadata": has a key of 65'),
    ("chat", chat(metadata={"k": "v" * 513}), 'field "metadata": has a value of 513'),
    ("chat", chat(metadata={"k": 1}), 'field "metadata": has a value that is not text'),
    ("chat", chat(response_format={"type": "json_schema"}), 'field "response_format.json_schema": is missing'),
    ("chat", form(name=None), 'field "response_format.json_schema.name": is missing'),
    ("chat", form(name="an answer"), 'field "response_format.json_schema.name": may hold only'),
    ("chat", form(name="x" * 65), 'field "response_format.json_schema.name": may hold only'),
    ("chat", form(schema=WRONG), 'field "response_format.json_schema.schema": is not a JSON schema: $.type'),
    ("chat", form(schema="CANARY"), 'field "response_format.json_schema.schema": is not a JSON schema'),
    ("chat", form(schema=OPEN, strict=True), "$ lacks additionalProperties: false"),
    ("chat", tool(name=None), 'field "tools[0].function.name": is missing'),
    ("chat", tool(name="a b"), 'field "tools[0].function.name": may hold only'),
    ("chat", tool(parameters=WRONG), 'field "tools[0].function.parameters": is not a JSON schema: $.type'),
    ("chat", tool(parameters={"type": "array"}), 'field "tools[0].function.parameters": is not of type "object"'),
    ("chat", tool(parameters=OPEN, strict=True), "lacks additionalProperties: false"),
    ("chat", chat(tools=[{"type": "function"}]), 'field "tools[0].function": is missing'),
    ("responses", {}, 'field "input": is missing'),
    ("responses", {"messages": HELLO}, 'field "input": is missing'),
    ("responses", {"input": "CANARY", "background": True}, 'field "background": is true'),
    ("responses", {"input": "CANARY", "max_output_tokens": -5}, 'field "max_output_tokens"'),
    ("responses", text_form(name=None), 'field "text.format.name": is missing'),
    ("responses", text_form(schema=None), 'field "text.format.schema": is missing'),
    ("responses", text_form(schema=WRONG), 'field "text.format.schema": is not a JSON schema: $.type'),
    ("responses", text_form(schema=OPEN, strict=True), 'field "text.format.schema": is strict'),
    (
        "responses",
        {"input": "CANARY", "tools": [{"type": "function", "name": "look", "parameters": WRONG}]},
        'field "tools[0].parameters": is not a JSON schema',
    ),
    ("embeddings", {}, 'field "input": is missing'),
    ("embeddings", {"input": ""}, 'field "input": is empty'),
    ("embeddings", {"input": []}, 'field "input": is empty'),
    ("embeddings", {"input": ["CANARY", ""]}, 'field "input[1]": is empty'),
    ("embeddings", {"input": [[1], []]}, 'field "input[1]": is empty'),
    ("embeddings", {"input": ["CANARY"] * 2049}, 'field "input": has 2,049 inputs, the limit is 2,048'),
    ("embeddings", {"input": "CANARY", "dimensions": 0}, 'field "dimensions"'),
    ("completions", {}, 'field "prompt": is missing'),
    ("completions", {"prompt": "CANARY", "max_tokens": -1}, 'field "max_tokens"'),
    ("moderations", {}, 'field "input": is missing'),
]

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("chat", chat()),
    ("chat", chat(store=True, user="me", seed=1, logprobs=True, top_logprobs=20)),
    ("chat", chat(temperature=2, top_p=0, n=2, max_completion_tokens=1, stop=["a"] * 4)),
    ("chat", chat(temperature=None, top_p=None, n=None, stop=None, metadata=None, max_tokens=None, tools=None)),
    ("chat", chat(stream=False, stream_options=None)),
    ("chat", chat(field_of_next_week={"x": [1]}, reasoning_effort="utmost", service_tier="new")),
    ("chat", {"messages": [{"role": "oracle"}]}),
    ("chat", chat(metadata={str(n) * 32: "v" * 512 for n in range(10, 26)})),
    ("chat", chat(response_format={"type": "json_object"})),
    ("chat", chat(response_format={"type": "grammar_of_next_week"})),
    ("chat", form()),
    ("chat", form(strict=True)),
    ("chat", form(schema=None)),
    ("chat", form(schema=OPEN)),
    ("chat", form(schema=OPEN, strict=False)),
    ("chat", tool()),
    ("chat", tool(parameters={})),
    ("chat", tool(parameters=OPEN)),
    ("chat", chat(tools=[{"type": "tool_of_next_week"}, {"type": "custom", "custom": {"name": "a b"}}])),
    ("responses", {"input": "CANARY", "store": True, "background": False}),
    ("responses", {"input": HELLO, "instructions": "CANARY"}),
    ("responses", {"prompt": {"id": "pmpt_1", "version": "2"}}),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", text_form(strict=True)),
    ("responses", {"input": "CANARY", "text": {"verbosity": "low"}, "tools": [{"type": "web_search"}]}),
    ("responses", {"input": "CANARY", "tools": [{"type": "function", "name": "look", "parameters": None}]}),
    ("embeddings", {"input": "CANARY", "encoding_format": "base64", "dimensions": 256}),
    ("embeddings", {"input": ["CANARY"] * 2048}),
    ("embeddings", {"input": list(range(3000))}),
    ("embeddings", {"input": [[1, 2], [3]]}),
    ("completions", {"prompt": None}),
    ("completions", {"prompt": "CANARY", "echo": True, "max_tokens": 0}),
    ("moderations", {"input": [{"type": "text", "text": "CANARY"}]}),
    ("an_endpoint_of_next_week", {}),
]


@pytest.mark.parametrize(("endpoint", "body", "says"), REFUSED)
def test_what_openai_refuses_is_refused_by_field(endpoint: str, body: dict[str, Any], says: str) -> None:
    assert says in refusal(endpoint, body, model="a-model")


@pytest.mark.parametrize(("endpoint", "body"), ACCEPTED)
def test_what_may_work_is_let_through(endpoint: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, model="a-model") == ""


INPUT = {"input": "CANARY"}


@pytest.mark.parametrize(
    ("endpoint", "model", "body"),
    [
        ("chat", "text-embedding-3-small", chat()),
        ("responses", "text-embedding-ada-002", INPUT),
        ("chat", "omni-moderation-latest", chat()),
        ("embeddings", "text-moderation-latest", INPUT),
        ("embeddings", "gpt-6-luna", INPUT),
        ("embeddings", "gpt-5-mini-2025-08-07", INPUT),
        ("embeddings", "o3-mini", INPUT),
        ("moderations", "gpt-4o", INPUT),
        ("completions", "gpt-4.1-mini", {"prompt": "CANARY"}),
    ],
)
def test_a_model_of_a_known_kind_is_refused_elsewhere(endpoint: str, model: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, model=model).startswith(f'field "model": {model} ')


@pytest.mark.parametrize(
    ("endpoint", "model", "body"),
    [
        ("chat", "gpt-7-nova", chat()),
        ("chat", "text-embedding-9-chatty", chat()),
        ("embeddings", "gpt-6-embedding", INPUT),
        ("embeddings", "o3x", INPUT),
        ("embeddings", "text-embedding-4", INPUT),
        ("completions", "gpt-3.5-turbo-instruct", {"prompt": "CANARY"}),
        ("completions", "gpt-6-instruct", {"prompt": "CANARY"}),
        ("moderations", "omni-moderation-2027-01-01", INPUT),
    ],
)
def test_a_model_that_is_not_known_may_be_of_any_kind(endpoint: str, model: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, model=model) == ""


@pytest.mark.parametrize(
    "model", ["o1", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano-2025-08-07", "gpt-5.1", "gpt-5.5-pro"]
)
def test_a_reasoning_model_wants_max_completion_tokens(model: str) -> None:
    assert "use max_completion_tokens" in refusal("chat", chat(max_tokens=5), model=model)
    assert refusal("chat", chat(max_completion_tokens=5, max_tokens=None), model=model) == ""


@pytest.mark.parametrize(
    "model", ["gpt-4.1", "gpt-5-chat-latest", "gpt-5.2-chat-latest", "gpt-5-search-api", "gpt-6-luna"]
)
def test_a_model_that_does_not_reason_or_is_not_known_may_take_max_tokens(model: str) -> None:
    assert refusal("chat", chat(max_tokens=5), model=model) == ""


def test_a_version_is_no_part_of_these_lanes_and_a_beta_is() -> None:
    assert "version=…" in refusal("chat", chat(), parts="|version=2026-10-21")
    assert refusal("chat", chat(), parts="|beta=assistants=v2|tenant=acme") == ""


OWN_LIMITS: list[tuple[str, dict[str, Any]]] = [
    ("chat", chat(temperature=5, n=0, max_tokens=-1, metadata={"k": 1}, stop=list("abcde"))),
    ("chat", form(name="an answer", schema=OPEN, strict=True)),
    ("chat", tool(parameters=WRONG)),
    ("embeddings", {"input": ["CANARY"] * 5000}),
]


@pytest.mark.parametrize(("endpoint", "body"), OWN_LIMITS)
def test_another_service_of_this_shape_has_limits_of_its_own(endpoint: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, by=openai.compatible) == ""
    assert refusal(endpoint, body) != ""


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("chat", {}),
        ("chat", form(schema=WRONG)),
        ("responses", {}),
        ("responses", INPUT | {"background": True}),
    ],
)
def test_another_service_of_this_shape_wants_the_same_fields(endpoint: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, by=openai.compatible) != ""


@pytest.mark.parametrize(
    ("endpoint", "body"), [("embeddings", {"messages": HELLO}), ("completions", {"prompt_embeds": "CANARY"})]
)
def test_another_service_may_take_its_input_in_another_field(endpoint: str, body: dict[str, Any]) -> None:
    assert refusal(endpoint, body, by=openai.compatible) == ""
    assert refusal(endpoint, body) != ""


def test_any_model_may_be_served_by_another_service() -> None:
    assert refusal("chat", chat(), model="text-embedding-3-small", by=openai.compatible) == ""
