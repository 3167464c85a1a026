"""What Anthropic would refuse for certain is refused; what may work is let through."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import InvalidRequest
from batchline.lanes import parse_lane
from batchline.providers.checks import anthropic

HELLO = [{"role": "user", "content": "CANARY"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WRONG = {"type": "object", "required": "a"}
LONG = "output-300k-2026-03-24"


def refusal(body: dict[str, Any], *, model: str = "claude-haiku-4-5", parts: str = "") -> str:
    """Return why a body is refused; an empty text if it is not."""
    try:
        anthropic.check(parse_lane(f"anthropic:messages:{model}{parts}"), body)
    except InvalidRequest as error:
        refused = error
    else:
        return ""
    assert refused.code == "invalid_request"
    assert "CANARY" not in str(refused)
    return str(refused)


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": HELLO, "max_tokens": 9} | fields


def marked(count: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "CANARY", "cache_control": {"type": "ephemeral"}} for _ in range(count)]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": HELLO}, 'field "max_tokens": is missing'),
    (body(max_tokens=0), 'field "max_tokens": is less than 1'),
    (body(max_tokens=-1), 'field "max_tokens": is less than 1'),
    (body(max_tokens=1.5), 'field "max_tokens": is not a whole number'),
    (body(max_tokens=[9]), 'field "max_tokens": is not a whole number'),
    (body(max_tokens="CANARY"), 'field "max_tokens": is not a whole number'),
    (body(max_tokens="nan"), 'field "max_tokens": is not a whole number'),
    (body(max_tokens="0"), 'field "max_tokens": is less than 1'),
    (
        body(betas=["CANARY"]),
        'field "betas": is an argument of the SDK and no field of the API: it is sent as a header',
    ),
    (body(extra_headers={"anthropic-beta": "CANARY"}), 'field "extra_headers": is an argument of the SDK'),
    (body(extra_query={}), 'field "extra_query": is an argument of the SDK'),
    (body(extra_body={"CANARY": 1}), 'field "extra_body": is an argument of the SDK'),
    ({"max_tokens": 9}, 'field "messages": is missing'),
    (body(messages=[]), 'field "messages": is an empty list'),
    (body(messages={"role": "user"}), 'field "messages": is not a list'),
    (body(messages=["CANARY"]), 'field "messages[0]"'),
    (body(messages=[*HELLO, {"role": "CANARY", "content": "x"}]), 'field "messages[1].role": is neither'),
    (body(messages=[{"content": "CANARY"}]), 'field "messages[0].role": is missing'),
    (body(speed="fast"), 'field "speed"'),
    (body(temperature=1.1), 'field "temperature": is not between 0 and 1'),
    (body(top_p=-1), 'field "top_p"'),
    (body(thinking={"type": "enabled"}), 'field "thinking.budget_tokens": is missing'),
    (body(thinking={"type": "enabled", "budget_tokens": 1023}), 'field "thinking.budget_tokens": is less than 1024'),
    (body(tools=[{"name": "look"}]), 'field "tools[0].input_schema": is missing'),
    (body(tools=[{"name": "look", "input_schema": WRONG}]), 'field "tools[0].input_schema": is not a JSON schema'),
    (body(tools=[{"name": "look", "input_schema": "CANARY"}]), 'field "tools[0].input_schema": is not a JSON schema'),
    (
        body(output_config={"format": {"type": "json_schema", "schema": WRONG}}),
        'field "output_config.format.schema": is not a JSON schema: $.required',
    ),
    (body(output_config={"format": {"type": "json_schema"}}), 'field "output_config.format.schema": is missing'),
    (
        body(output_format={"type": "json_schema", "schema": WRONG}),
        'field "output_format.schema": is not a JSON schema',
    ),
    (body(system=marked(5)), 'field "cache_control": is set on 5 blocks, the limit is 4'),
    (
        body(
            system=marked(1),
            tools=[{"name": "look", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": [*marked(2), {"type": "tool_result", "content": marked(1)}]},
            ],
        ),
        'field "cache_control": is set on 5 blocks',
    ),
]

ACCEPTED: list[dict[str, Any]] = [
    body(),
    body(stream=False, speed=None, temperature=1, top_p=0.5, top_k=5),
    body(max_tokens="9"),
    body(temperature=None, thinking=None, tools=None, output_config=None, system=None),
    body(field_of_next_week=1, service_tier="new", inference_geo="mars"),
    body(system="CANARY", stop_sequences=["a"] * 9),
    body(messages=[{"role": "system", "content": "CANARY"}, *HELLO, {"role": "assistant", "content": "CANARY"}]),
    body(thinking={"type": "enabled", "budget_tokens": 1024}),
    body(thinking={"type": "adaptive"}),
    body(tools=[{"name": "look", "input_schema": SCHEMA}, {"type": "web_search_20990101", "name": "web_search"}]),
    body(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]),
    body(output_config={"effort": "utmost", "format": {"type": "json_schema", "schema": SCHEMA}}),
    body(output_config={"format": {"type": "grammar_of_next_week"}}),
    body(system=marked(4)),
    body(system=marked(3), cache_control={"type": "ephemeral", "ttl": "1h"}),
]


@pytest.mark.parametrize(("given", "says"), REFUSED)
def test_what_anthropic_refuses_is_refused_by_field(given: dict[str, Any], says: str) -> None:
    assert says in refusal(given)


@pytest.mark.parametrize("given", ACCEPTED)
def test_what_may_work_is_let_through(given: dict[str, Any]) -> None:
    assert refusal(given) == ""


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
@pytest.mark.parametrize(
    ("parts", "refused"),
    [("", False), ("|version=2023-06-01", False), ("|version=2026-10-21", True), ("|version=2027-01-01", True)],
)
def test_sampling_is_refused_from_its_version_on(name: str, parts: str, *, refused: bool) -> None:
    assert (f'field "{name}"' in refusal(body(**{name: 1}), parts=parts)) is refused


def test_a_version_is_a_date() -> None:
    assert "no API version" in refusal(body(), parts="|version=latest")


@pytest.mark.parametrize(
    ("model", "parts", "most"),
    [
        ("claude-haiku-4-5", "", 64_000),
        ("claude-haiku-4-5-20251001", "", 64_000),
        ("claude-opus-4-1", "", 32_000),
        ("claude-opus-5-5", "", 128_000),
        ("claude-opus-5-5", f"|beta={LONG}", 300_000),
        ("claude-sonnet-4-6", f"|beta=another,{LONG}", 300_000),
        ("claude-haiku-4-5", "|beta=output-of-next-week", 300_000),
        ("claude-next-9", "", 300_000),
        ("claude-next-9", f"|beta={LONG}", 300_000),
    ],
)
def test_no_more_is_asked_for_than_a_known_model_gives(model: str, parts: str, most: int) -> None:
    assert refusal(body(max_tokens=most), model=model, parts=parts) == ""
    assert f'field "max_tokens": is more than {most:,}' in refusal(body(max_tokens=most + 1), model=model, parts=parts)


def test_the_beta_that_would_give_more_is_named_where_there_is_one() -> None:
    assert f"without the lane's part beta={LONG}" in refusal(body(max_tokens=200_000), model="claude-opus-5-5")
    assert LONG not in refusal(body(max_tokens=200_000), model="claude-haiku-4-5")


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5-20250929", "claude-fable-5"])
def test_the_long_output_beta_is_refused_for_a_model_that_is_known_not_to_have_it(model: str) -> None:
    assert f"beta={LONG}, which {model} does not know" in refusal(body(), model=model, parts=f"|beta={LONG}")


@pytest.mark.parametrize("family", ["opus-5-5", "opus-5", "opus-4-8", "opus-4-7", "opus-4-6", "sonnet-5", "sonnet-4-6"])
def test_the_long_output_beta_is_taken_by_the_models_of_its_list(family: str) -> None:
    assert refusal(body(max_tokens=300_000), model=f"claude-{family}", parts=f"|beta={LONG}") == ""
