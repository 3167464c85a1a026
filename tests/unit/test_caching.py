"""The marks that make a provider cache what rows share: where they go, and where they do not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from batchline.caching import MOST_BYTES, mark_for
from batchline.settings import Cache

HASH = 0x0123456789ABCDEF


def params_after(params: dict[str, Any], ttl: Any = "1h") -> dict[str, Any]:
    """Return a row's params with their mark; all else must be as it was."""
    mark = mark_for("anthropic", "messages", Cache(anthropic_ttl=ttl), takes_key=False)
    assert mark
    row = mark(msgspec.json.encode({"custom_id": "c", "params": params}), HASH)
    told = json.loads(row)
    assert (list(told), told["custom_id"], b"\n" in row) == (["custom_id", "params"], "c", False)
    after: dict[str, Any] = told["params"]
    assert list(after) == list(params)
    assert {name: value for name, value in after.items() if name != "system"} == {
        name: value for name, value in params.items() if name != "system"
    }
    return after


def messages(**more: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-4-6",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": 'hé "q" 1.0'}],
    } | more


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_a_system_prompt_becomes_one_marked_block(ttl: str) -> None:
    after = params_after(messages(system='Be "kind"\n é always.'), ttl)
    assert after["system"] == [
        {"type": "text", "text": 'Be "kind"\n é always.', "cache_control": {"type": "ephemeral", "ttl": ttl}}
    ]


def test_of_several_blocks_the_last_is_marked() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "citations": None}]
    after = params_after(messages(system=blocks, tools=[{"name": "t"}]))
    marked = {"type": "text", "text": "b", "citations": None, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert after["system"] == [blocks[0], marked]


@pytest.mark.parametrize(
    "own",
    [
        {
            "system": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "b"},
            ]
        },
        {"system": "a", "cache_control": {"type": "ephemeral"}},
        {"system": "a", "tools": [{"name": "t", "cache_control": {"type": "ephemeral"}}]},
        {"system": "a", "messages": [{"role": "user", "content": [{"type": "text", "cache_control": None}]}]},
    ],
)
def test_a_body_with_a_mark_of_its_own_is_left_as_it_is(own: dict[str, Any]) -> None:
    assert params_after(messages(**own)) == messages(**own)


def test_a_text_that_speaks_of_marks_is_none() -> None:
    assert params_after(messages(system='say "cache_control": yes'))["system"] != 'say "cache_control": yes'


@pytest.mark.parametrize(
    "system",
    [
        None,
        "",
        " \n",
        [],
        [{"type": "text", "text": ""}],
        [{"type": "text", "text": 5}],
        [{"type": "image", "text": "a"}],
        ["text"],
        {"type": "text", "text": "a"},
        5,
    ],
)
def test_what_cannot_be_marked_is_left_as_it_is(system: Any) -> None:
    assert params_after(messages(system=system)) == messages(system=system)


def test_tools_without_a_system_prompt_are_left_as_they_are() -> None:
    assert params_after(messages(tools=[{"name": "t"}])) == messages(tools=[{"name": "t"}])


def keyed(body: dict[str, Any], endpoint: str = "chat") -> dict[str, Any]:
    mark = mark_for("openai", endpoint, Cache(openai_key=True), takes_key=True)
    assert mark
    row = mark(msgspec.json.encode({"custom_id": "c", "method": "POST", "url": "/v1/x", "body": body}), HASH)
    told = json.loads(row)
    assert list(told) == ["custom_id", "method", "url", "body"]
    after: dict[str, Any] = told["body"]
    return after


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_openai_gets_a_key_of_the_shared_instructions(endpoint: str) -> None:
    body = {"model": "gpt-5-mini", "messages": []}
    assert keyed(body, endpoint) == body | {"prompt_cache_key": "batchline-0123456789abcdef"}


@pytest.mark.parametrize("own", ["mine", None])
def test_a_key_of_its_own_stays(own: str | None) -> None:
    assert keyed({"model": "m", "prompt_cache_key": own}) == {"model": "m", "prompt_cache_key": own}


def test_the_key_is_no_longer_than_it_may_be() -> None:
    assert len(keyed({})["prompt_cache_key"]) <= 64


@pytest.mark.parametrize(
    ("provider", "endpoint", "rules"),
    [
        ("anthropic", "messages", Cache()),
        ("anthropic", "messages", Cache(openai_key=True)),
        ("openai", "chat", Cache()),
        ("openai", "chat", Cache(anthropic_ttl="1h")),
        ("openai", "embeddings", Cache(openai_key=True)),
        ("gemini", "generate", Cache(openai_key=True, anthropic_ttl="1h")),
    ],
)
def test_nothing_is_marked_that_was_not_asked_for(provider: str, endpoint: str, rules: Cache) -> None:
    assert mark_for(provider, endpoint, rules, takes_key=True) is None


def test_a_service_that_does_not_document_the_key_gets_none() -> None:
    assert mark_for("openai", "chat", Cache(openai_key=True), takes_key=False) is None


@pytest.mark.parametrize("system", ["a", [{"type": "text", "text": "a"}]])
def test_no_row_grows_by_more_than_is_reckoned_with(system: Any) -> None:
    anthropic = mark_for("anthropic", "messages", Cache(anthropic_ttl="1h"), takes_key=False)
    openai = mark_for("openai", "chat", Cache(openai_key=True), takes_key=True)
    assert anthropic
    assert openai
    for mark, field in ((anthropic, "params"), (openai, "body")):
        row = msgspec.json.encode({"custom_id": "c", field: messages(system=system)})
        assert 0 < len(mark(row, HASH)) - len(row) <= MOST_BYTES
