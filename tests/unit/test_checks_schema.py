"""What no draft takes is no JSON schema; strict mode wants closed objects of required properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers.checks import anthropic, gemini, openai, schema
from batchline.providers.checks.schema import check_schema, check_strict


def refusal(given: Any) -> str:
    try:
        check_schema(given, "f")
    except InvalidRequest as error:
        return str(error)
    return ""


def strict_refusal(given: dict[str, Any]) -> str:
    try:
        check_strict(given, "f")
    except InvalidRequest as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"type": "CANARY"}, "$.type"),
        ({"type": ["string", "CANARY"]}, "$.type"),
        ({"properties": {"a": {"type": 5}}}, "$.properties.a.type"),
        ({"properties": ["CANARY"]}, "$.properties"),
        ({"required": "CANARY"}, "$.required"),
        ({"properties": {"a": {"type": "string", "required": True}}}, "$.properties.a.required"),
        ({"anyOf": []}, "$.anyOf"),
        ({"minLength": -1}, "$.minLength"),
        ({"enum": "CANARY"}, "$.enum"),
        ({"$defs": {"a": {"items": 5}}}, ".a.items"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "CANARY"}, "$.type"),
    ],
)
def test_what_no_draft_takes_is_refused_by_its_path(wrong: dict[str, Any], path: str) -> None:
    says = refusal(wrong)
    assert "is not a JSON schema: $" in says
    assert f"{path} has a value that may not stand there" in says
    assert "CANARY" not in says


@pytest.mark.parametrize("wrong", ["CANARY", ["CANARY"], 5, True, None])
def test_a_schema_is_an_object(wrong: Any) -> None:
    assert refusal(wrong) == 'field "f": is not a JSON schema, which is an object'


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "description": "x"}}},
        {"type": "string", "pattern": r"^\p{L}+(?<n>x)$"},
        {"type": "string", "format": "a format of next week"},
        {"type": "array", "items": [{"type": "string"}, {"type": "number"}]},
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "maximum": 5, "exclusiveMaximum": True},
        {"$schema": "https://example.com/our-own-dialect", "type": "CANARY"},
        {"x-our-own": {"type": 5}, "nullable": True},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"$id": "https://example.com/a", "$anchor": "b"},
    ],
)
def test_what_any_draft_takes_is_let_through(right: dict[str, Any]) -> None:
    assert refusal(right) == ""


def test_a_schema_as_deep_as_a_body_may_be_is_let_through() -> None:
    deep: dict[str, Any] = {"type": "string", "$anchor": "a"}
    for _ in range(60):
        deep = {"properties": {"a": deep}}
    assert refusal(deep) == ""


def test_a_very_large_schema_is_left_to_the_provider() -> None:
    assert refusal({"type": "CANARY", "description": "x" * schema.MAX_BYTES}) == ""


def test_a_long_path_is_cut_short() -> None:
    assert len(refusal({"properties": {"n" * 5000: {"type": "CANARY"}}})) < 400


def test_a_plain_schema_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(given: Any) -> None:
        raise AssertionError(given)

    monkeypatch.setattr(schema, "_by_library", slow)
    check_schema({"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}, "f")


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OPEN = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"type": "array", "items": CLOSED}, 'is not of type "object" at its root'),
        ({}, 'is not of type "object" at its root'),
        ({"anyOf": [CLOSED]}, "has anyOf at its root"),
        (OPEN, "$ lacks additionalProperties: false"),
        (CLOSED | {"additionalProperties": {}}, "$ lacks additionalProperties: false"),
        (CLOSED | {"required": []}, "$.required does not list the property a"),
        (CLOSED | {"required": None}, "$.required does not list the property a"),
        (CLOSED | {"properties": {"a": OPEN}}, "$.a lacks"),
        (CLOSED | {"properties": {"a": {"type": "array", "items": OPEN}}}, "$.a[] lacks"),
        (CLOSED | {"properties": {"a": {"anyOf": [{"type": "null"}, OPEN]}}}, "$.a.anyOf[1] lacks"),
        (CLOSED | {"properties": {"a": {"type": ["object", "null"]}}}, "$.a lacks"),
        (CLOSED | {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": OPEN}}, "$.$defs.b lacks"),
        ({"$ref": "#/definitions/b", "definitions": {"b": OPEN}}, "$.definitions.b lacks"),
    ],
)
def test_strict_mode_wants_closed_objects_of_required_properties(wrong: dict[str, Any], says: str) -> None:
    assert says in strict_refusal(wrong)


@pytest.mark.parametrize(
    "right",
    [
        CLOSED,
        {"type": "object", "additionalProperties": False},
        CLOSED | {"properties": {"a": {"$ref": "#"}}},
        CLOSED | {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": CLOSED, "unused": OPEN}},
        CLOSED
        | {
            "properties": {"a": {"$ref": "#/$defs/b"}},
            "$defs": {"b": CLOSED | {"properties": {"a": {"$ref": "#/$defs/b"}}}},
        },
        CLOSED | {"properties": {"a": {"$ref": "https://example.com/elsewhere"}}},
    ],
)
def test_strict_mode_takes_what_keeps_its_rules(right: dict[str, Any]) -> None:
    assert strict_refusal(right) == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-3, 3)
    | st.sampled_from(["", "a", "string", "object", "json_schema", "function", "user", "enabled", "#/$defs/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(schema._RULES)), inner),
    max_leaves=12,
)
FIELDS = sorted(
    {
        *(
            "messages",
            "input",
            "prompt",
            "contents",
            "content",
            "parts",
            "role",
            "tools",
            "system",
            "cache_control",
            "type",
        ),
        *(
            "response_format",
            "json_schema",
            "text",
            "format",
            "name",
            "schema",
            "strict",
            "function",
            "parameters",
            "stop",
        ),
        *("generationConfig", "responseJsonSchema", "functionDeclarations", "parametersJsonSchema", "max_tokens", "n"),
        *(
            "thinking",
            "budget_tokens",
            "output_config",
            "input_schema",
            "metadata",
            "temperature",
            "dimensions",
            "top_p",
        ),
        *("$ref", "$defs", "properties", "required", "items", "anyOf"),
    }
)
BODY = st.dictionaries(
    st.sampled_from(FIELDS),
    st.recursive(
        JSON,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
        max_leaves=15,
    ),
    max_size=8,
)
LANES = [
    (openai.check, f"a:{endpoint}:o3") for endpoint in ("chat", "responses", "embeddings", "completions", "moderations")
] + [(anthropic.check, "a:messages:claude-opus-5"), (gemini.check, "a:generate:g"), (gemini.check, "a:embed:g")]


@settings(max_examples=150, deadline=None)
@given(body=BODY)
def test_any_body_is_either_let_through_or_refused(body: dict[str, Any]) -> None:
    filled = {"messages": [{"role": "user"}], "max_tokens": 5, "input": "x", "contents": [{}]} | body
    for check, lane in LANES:
        for each in (body, filled):
            try:
                check(parse_lane(lane), each)
            except InvalidRequest as error:
                assert str(error).startswith('field "')  # noqa: PT017 - the one form of all refusals


@settings(max_examples=150, deadline=None)
@given(given=st.dictionaries(st.sampled_from(sorted(schema._RULES)), JSON))
def test_what_is_found_plain_is_right_by_the_library(given: dict[str, Any]) -> None:
    if schema._plain(given):
        Draft202012Validator.check_schema(given, format_checker=None)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(given=JSON)
def test_strict_rules_end_on_any_schema(given: Any) -> None:
    root = given if isinstance(given, dict) else {"type": "object", "properties": given}
    strict_refusal(root)
