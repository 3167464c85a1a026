"""What Gemini would refuse for certain is refused; what may work is let through."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers.checks import gemini

CONTENTS = [{"role": "user", "parts": [{"text": "CANARY"}]}]
WRONG = {"type": "object", "properties": []}


def refusal(body: dict[str, Any], endpoint: str = "generate", parts: str = "", model: str = "") -> str:
    """Return why a body is refused; an empty text if it is not."""
    model = model or {"generate": "gemini-3.8-flash", "embed": "gemini-embedding-2"}[endpoint]
    try:
        gemini.check(parse_lane(f"gemini:{endpoint}:{model}{parts}"), body)
    except InvalidRequest as error:
        refused = error
    else:
        return ""
    assert refused.code == "invalid_request"
    assert "CANARY" not in str(refused)
    return str(refused)


def body(**fields: Any) -> dict[str, Any]:
    return {"contents": CONTENTS} | fields


def functions(schema: Any) -> list[dict[str, Any]]:
    return [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": schema}]}]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, 'field "contents": is missing'),
    ({"messages": CONTENTS}, 'field "contents": is missing'),
    ({"contents": []}, 'field "contents": is no list of contents'),
    ({"contents": "CANARY"}, 'field "contents": is no list of contents'),
    (body(generationConfig=[]), 'field "generationConfig": is not an object'),
    (
        body(config={"temperature": 1}),
        'field "config": is an argument of the SDK and no field of the API: put its fields',
    ),
    (body(generationConfig={"temperature": 2.5}), 'field "generationConfig.temperature": is not between 0 and 2'),
    (body(generation_config={"top_p": 2}), 'field "generation_config.top_p"'),
    (body(generationConfig={"maxOutputTokens": 0}), 'field "generationConfig.maxOutputTokens": is less than 1'),
    (body(generation_config={"candidate_count": 0}), 'field "generation_config.candidate_count"'),
    (
        body(generationConfig={"responseJsonSchema": WRONG}),
        'field "generationConfig.responseJsonSchema": is not a JSON schema: $.properties',
    ),
    (
        body(generation_config={"response_json_schema": "CANARY"}),
        'field "generation_config.response_json_schema": is not a JSON schema',
    ),
    (
        body(tools=functions(WRONG)),
        'field "tools[0].functionDeclarations[0].parametersJsonSchema": is not a JSON schema: $.properties',
    ),
]

ACCEPTED: list[dict[str, Any]] = [
    body(),
    {"contents": CONTENTS[0]},
    body(systemInstruction={"parts": [{"text": "CANARY"}]}, safetySettings=[], toolConfig={}, cachedContent="c/1"),
    body(system_instruction={"parts": {"text": "CANARY"}}, labels={}, service_tier="x", field_of_next_week=1),
    body(generationConfig={"temperature": 2, "topP": 1, "maxOutputTokens": "5", "thinkingConfig": {}, "newField": 1}),
    body(generation_config={"temperature": 0, "response_json_schema": {"type": "object"}}),
    body(generationConfig={"responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}),
    body(generationConfig=None, tools=None),
    body(tools=[*functions({"type": "object"}), {"googleSearch": {}}]),
]


@pytest.mark.parametrize(("given", "says"), REFUSED)
def test_what_gemini_refuses_is_refused_by_field(given: dict[str, Any], says: str) -> None:
    assert says in refusal(given)


@pytest.mark.parametrize("given", ACCEPTED)
def test_what_may_work_is_let_through(given: dict[str, Any]) -> None:
    assert refusal(given) == ""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("temperature", "temperature"),
        ("maxOutputTokens", "maxOutputTokens"),
        ("max_output_tokens", "maxOutputTokens"),
        ("thinkingConfig", "thinkingConfig"),
        ("thinking_config", "thinkingConfig"),
        ("responseSchema", "responseSchema"),
        ("response_mime_type", "responseMimeType"),
        ("top_k", "topK"),
        ("seed", "seed"),
    ],
)
def test_what_belongs_into_the_generation_config_is_refused_at_the_top(given: str, meant: str) -> None:
    says = refusal(body(**{given: 1}))
    assert says == f'field "{given}": belongs into generationConfig: put it there, as {meant}'


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'field "content": is missing'),
        ({"contents": CONTENTS}, 'field "content": is missing'),
        ({"content": "CANARY"}, 'field "content": is not an object'),
        ({"content": {}}, 'field "content.parts": is missing'),
        ({"content": {"parts": []}}, 'field "content.parts": is missing'),
        ({"content": {"parts": [{"text": "CANARY"}]}, "config": {}}, 'field "config": is an argument of the SDK'),
    ],
)
def test_an_embedding_without_content_is_refused(given: dict[str, Any], says: str) -> None:
    assert says in refusal(given, "embed")


def test_an_embedding_may_name_its_task_and_size() -> None:
    given = {"content": {"parts": [{"text": "CANARY"}]}, "taskType": "RETRIEVAL_QUERY", "output_dimensionality": 256}
    assert refusal(given, "embed") == ""


EMBED = {"content": {"parts": [{"text": "CANARY"}]}}


@pytest.mark.parametrize("model", ["gemini-embedding-001", "gemini-embedding-2", "text-embedding-004", "embedding-001"])
def test_a_model_that_makes_embeddings_generates_nothing(model: str) -> None:
    assert f"the lane's model {model} makes embeddings: its endpoint is embed" in refusal(body(), model=model)
    assert refusal(EMBED, "embed", model=model) == ""


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-3-pro-preview"])
def test_a_model_that_generates_makes_no_embeddings(model: str) -> None:
    assert f"the lane's model {model} makes no embeddings: its endpoint is generate" in refusal(
        EMBED, "embed", model=model
    )
    assert refusal(body(), model=model) == ""


@pytest.mark.parametrize(
    "model", ["gemini-of-next-year", "gemini-9-flash-embedding", "models/gemini-2.5-flash", "gemma-9"]
)
def test_a_model_that_is_not_known_may_be_of_either_kind(model: str) -> None:
    assert refusal(EMBED, "embed", model=model) == ""
    assert refusal(body(), model=model) == ""


@pytest.mark.parametrize("part", ["beta=x", "version=2026-10-21"])
def test_lanes_have_no_beta_and_no_version_here(part: str) -> None:
    assert f"{part.split('=', maxsplit=1)[0]}=…" in refusal(body(), parts=f"|{part}")


def test_a_tenant_is_nothing_to_the_provider() -> None:
    assert refusal(body(), parts="|tenant=acme") == ""
