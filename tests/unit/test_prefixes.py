"""What prompts share at their beginning, and the order that puts together those that do."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import groupby
from typing import Any

import msgspec
import pytest

from batchline.prefixes import START_BYTES, Prefix, Prefixes, prefix_of

TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
LONG = "x" * START_BYTES


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": text}


def of(endpoint: str, **body: Any) -> Prefix:
    return prefix_of(endpoint, msgspec.json.encode(body))


WITHOUT: dict[str, dict[str, Any]] = {
    "chat": {"messages": [user("hi")]},
    "responses": {"input": "hi"},
    "messages": {"messages": [user("hi")], "max_tokens": 5},
    "generate": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
INSTRUCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"messages": [system("Be kind."), user("hi")]}),
    ("chat", {"messages": [system("Be kind.", "developer"), user("hi")]}),
    ("chat", {"messages": [system("Be kind."), system("Be brief."), user("hi")]}),
    ("chat", {"messages": [user("hi")], "tools": TOOLS}),
    ("chat", {"messages": [user("hi")], "response_format": SCHEMA}),
    ("responses", {"input": "hi", "instructions": "Be kind."}),
    ("responses", {"input": "hi", "tools": TOOLS}),
    ("responses", {"input": [system("Be kind.", "developer"), user("hi")]}),
    ("responses", {"input": "hi", "text": {"format": SCHEMA}}),
    ("messages", {"messages": [user("hi")], "system": "Be kind."}),
    ("messages", {"messages": [user("hi")], "system": [{"type": "text", "text": "Be kind."}]}),
    ("messages", {"messages": [user("hi")], "tools": TOOLS}),
    ("messages", {"messages": [user("hi")], "tools": TOOLS, "system": "Be kind."}),
    ("generate", {"contents": [], "systemInstruction": {"parts": [{"text": "Be kind."}]}}),
    ("generate", {"contents": [], "system_instruction": {"parts": [{"text": "Be kind."}]}}),
    ("generate", {"contents": [], "tools": TOOLS}),
    ("generate", {"contents": [], "cachedContent": "cachedContents/1"}),
]


@pytest.mark.parametrize(("endpoint", "body"), INSTRUCTIONS)
def test_tools_system_prompt_and_schema_are_instructions(endpoint: str, body: dict[str, Any]) -> None:
    assert of(endpoint, **body).instructions
    assert of(endpoint, **WITHOUT[endpoint]).instructions == 0


def test_all_instructions_of_an_endpoint_differ() -> None:
    found = [of(endpoint, **body).instructions for endpoint, body in INSTRUCTIONS]
    assert len(set(found)) == len({(endpoint, msgspec.json.encode(body)) for endpoint, body in INSTRUCTIONS})


@pytest.mark.parametrize("nothing", [None, "", []])
def test_empty_instructions_are_none(nothing: Any) -> None:
    assert of("messages", **WITHOUT["messages"], system=nothing, tools=nothing).instructions == 0
    assert of("responses", **WITHOUT["responses"], instructions=nothing).instructions == 0


def test_a_form_of_the_answer_that_is_no_schema_is_no_instruction() -> None:
    assert of("chat", **WITHOUT["chat"], response_format={"type": "json_object"}).instructions == 0


def test_a_schema_parts_those_with_the_same_system_prompt() -> None:
    messages = [system("Be kind."), user("hi")]
    assert (
        of("chat", messages=messages).instructions != of("chat", messages=messages, response_format=SCHEMA).instructions
    )


@pytest.mark.parametrize(("endpoint", "body"), INSTRUCTIONS)
def test_what_is_no_part_of_the_prompt_and_the_order_of_keys_do_not_count(endpoint: str, body: dict[str, Any]) -> None:
    turned = dict(reversed(body.items()))
    assert of(endpoint, **turned, model="m", temperature=0.5) == of(endpoint, model="m", **body)


def test_the_question_changes_only_the_start() -> None:
    one, other = (of("chat", messages=[system("Be kind."), user(text)]) for text in ("one", "two"))
    assert one.instructions == other.instructions
    assert one.start != other.start


@pytest.mark.parametrize("endpoint", ["chat", "messages"])
def test_a_long_document_that_two_questions_begin_with_is_the_same_start(endpoint: str) -> None:
    one, other = (of(endpoint, messages=[user(LONG + text)]) for text in ("one", "two"))
    assert one == other
    assert one != of(endpoint, messages=[user("y" + LONG)])


def test_examples_given_as_turns_are_the_same_start() -> None:
    shots = [user("x" * 3000), {"role": "assistant", "content": "y" * 3000}]
    one, other = (of("messages", messages=[*shots, user(text)]) for text in ("one", "two"))
    assert one == other


def test_a_short_document_is_no_start_that_anything_is_cached_of() -> None:
    one, other = (of("responses", input="short document " + text) for text in ("one", "two"))
    assert one != other


def test_the_same_conversation_under_other_instructions_is_another_start() -> None:
    assert of("messages", messages=[user("hi")], system="a").start != of("messages", messages=[user("hi")]).start


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("chat", {"messages": "not a list"}),
        ("chat", {"messages": [1, "x", None]}),
        ("chat", {"messages": [{"role": 7}]}),
        ("chat", {}),
        ("messages", {"messages": None, "system": {"odd": 1}}),
        ("responses", {"input": [[["deep"]]]}),
        ("generate", {"contents": {"parts": []}}),
        ("nobody's", {"messages": []}),
    ],
)
def test_a_body_of_an_unknown_shape_has_a_prefix_all_the_same(endpoint: str, body: dict[str, Any]) -> None:
    assert of(endpoint, **body) == of(endpoint, **body)
    assert of(endpoint, **body).start


def test_hashes_are_the_same_in_every_process() -> None:
    code = 'from batchline.prefixes import prefix_of as p; print(p(\'messages\', b\'{"system":"s","messages":[]}\'))'
    others = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert others == {str(of("messages", system="s", messages=[]))}


def gathered(*rows: tuple[int, int]) -> Prefixes:
    prefixes = Prefixes()
    for instructions, start in rows:
        prefixes.add(Prefix(instructions, start))
    return prefixes


def test_groups_come_in_the_order_of_their_first_rows_and_rows_in_theirs() -> None:
    assert gathered((1, 10), (2, 20), (1, 11), (3, 30), (2, 21), (1, 12)).order() == [0, 2, 5, 1, 4, 3]


def test_within_the_same_instructions_those_that_start_alike_stand_together() -> None:
    assert gathered((1, 10), (1, 11), (1, 10), (1, 12), (1, 11)).order() == [0, 2, 1, 4, 3]


def test_without_instructions_only_those_that_start_alike_stand_together() -> None:
    assert gathered((0, 10), (1, 11), (0, 12), (1, 13), (0, 10)).order() == [0, 4, 1, 3, 2]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 10)],
        [(1, 10), (1, 11), (1, 12)],
        [(0, 10), (0, 11), (0, 12)],
        [(1, 10), (1, 10), (0, 11), (2, 12), (2, 13)],
        [(0, 0), (0, 0)],
    ],
)
def test_what_stands_together_already_is_left(rows: list[tuple[int, int]]) -> None:
    assert gathered(*rows).order() is None


def test_every_order_is_a_stable_grouping_of_all_rows() -> None:
    dice = random.Random(5)
    for _ in range(200):
        rows = [(dice.randrange(4), dice.randrange(1, 9)) for _ in range(dice.randrange(40))]
        rows = [(a, 1000 + a * 100 + b) for a, b in rows]
        order = gathered(*rows).order() or list(range(len(rows)))
        assert sorted(order) == list(range(len(rows)))
        for depth in (1, 2):
            keys = [rows[row][:depth] if rows[row][0] else rows[row] for row in order]
            runs = [key for key, _ in groupby(keys)]
            assert len(runs) == len(set(runs))
        groups = [[row for row in order if rows[row] == each] for each in dict.fromkeys(rows)]
        assert all(group == sorted(group) for group in groups)


def test_shared_are_the_instructions_of_at_least_two_rows() -> None:
    assert gathered((1, 10), (2, 20), (1, 11), (0, 30), (0, 31)).shared() == {1}
