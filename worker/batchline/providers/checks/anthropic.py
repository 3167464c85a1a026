"""What Anthropic refuses for certain in a message batch. Pure.

There a request's parameters are looked at only when it is run, so each refusal here saves hours.
Sources, unless a line names another: platform.claude.com/docs/en/build-with-claude/batch-processing and the SDK's types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from batchline.errors import InvalidRequest
from batchline.lanes import Lane
from batchline.providers.checks.fields import (
    Object,
    Rules,
    keep,
    messages,
    missing,
    objects,
    of_the_sdk,
    refuse,
    whole,
    within,
)
from batchline.providers.checks.schema import check_schema

MAX_TOKENS = 300_000
"""More is given by no model."""
LONG_OUTPUT = "output-300k-2026-03-24"
"""The beta that gives it, in batches only."""
NO_SAMPLING = "2026-10-21"
"""From this version on sampling parameters are refused. Source: platform.claude.com/docs/en/api/versioning"""
MAX_MARKS = 4
"""Source: platform.claude.com/docs/en/build-with-claude/prompt-caching"""
MIN_THINKING = 1_024
MAX_MESSAGES = 100_000

_ROLES = frozenset({"user", "assistant", "system"})
_SAMPLING = ("temperature", "top_p", "top_k")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_SNAPSHOT = re.compile(r"-\d{8}\Z")
_LONG = frozenset(
    {f"claude-{name}" for name in ("opus-5-5", "opus-5", "opus-4-8", "opus-4-7", "opus-4-6", "sonnet-5", "sonnet-4-6")}
)
_OUTPUT = dict.fromkeys(_LONG, 128_000) | {
    "claude-fable-5": 128_000,
    "claude-mythos-5": 128_000,
    "claude-opus-4-5": 64_000,
    "claude-sonnet-4-5": 64_000,
    "claude-haiku-4-5": 64_000,
    "claude-opus-4-1": 32_000,
}
"""Most output tokens without a beta. Only models whose limit and place in the beta's list are settled: the rest pass.

Source: platform.claude.com/docs/en/about-claude/models/overview
"""


def check(lane: Lane, body: Object) -> None:
    """Refuse (InvalidRequest) what Anthropic would refuse in a batch of this lane."""
    if lane.version is not None:
        _check_version(lane.version, body)
    _check_max_tokens(lane, body)
    given = messages(body)
    if len(given) > MAX_MESSAGES:
        refuse("messages", f"has {len(given):,} messages, the limit is {MAX_MESSAGES:,}")
    for index, message in enumerate(given):
        if message["role"] not in _ROLES:
            refuse(f"messages[{index}].role", "is neither user nor assistant")
    keep(_RULES, body)
    _check_marks(body)


def _check_version(version: str, body: Object) -> None:
    if not _DATE.match(version):
        raise InvalidRequest("the lane's version is no API version, which is a date such as 2023-06-01")
    if version >= NO_SAMPLING:
        for name in _SAMPLING:
            if body.get(name) is not None:
                refuse(name, f"is not known since version {NO_SAMPLING}: leave it out, or the version out of the lane")


def _check_max_tokens(lane: Lane, body: Object) -> None:
    given = body.get("max_tokens")
    if given is None:
        missing("max_tokens", "Anthropic needs it in every request")
    if not isinstance(given, int | float):  # text that holds a number may be taken for it
        try:
            given = float(given)
        except (TypeError, ValueError):
            refuse("max_tokens", "is not a whole number")
    _AT_LEAST_ONE("max_tokens", given)
    most = _most_tokens(lane.model, lane.beta)
    if type(given) in {int, float} and given > most:
        more = _most_tokens(lane.model, LONG_OUTPUT) if lane.model in _LONG else most
        advice = f" without the lane's part beta={LONG_OUTPUT}" if more > most else ""
        refuse("max_tokens", f"is more than {most:,}, the most that this model gives{advice}")


@lru_cache(maxsize=1024)
def _most_tokens(model: str, beta: str | None) -> int:
    family = _SNAPSHOT.sub("", model)
    if LONG_OUTPUT in (beta or "").split(",") and family in _OUTPUT and family not in _LONG:
        raise InvalidRequest(f"the lane has beta={LONG_OUTPUT}, which {model} does not know: leave it out")
    if beta:  # this one gives as much, and another may
        return MAX_TOKENS
    return _OUTPUT.get(family, MAX_TOKENS)


def _speed(field: str, _: Any) -> None:
    refuse(field, "cannot be chosen in a batch: leave it out")


def _thinking(field: str, given: Any) -> None:
    if isinstance(given, dict) and given.get("type") == "enabled":
        if given.get("budget_tokens") is None:
            missing(f"{field}.budget_tokens")
        _BUDGET(f"{field}.budget_tokens", given["budget_tokens"])


def _tools(field: str, given: Any) -> None:
    for path, tool in objects(field, given):
        if tool.get("input_schema") is not None:
            check_schema(tool["input_schema"], f"{path}.input_schema")
        elif tool.get("type") in (None, "custom") and "name" in tool:
            missing(f"{path}.input_schema")


def _output_config(field: str, given: Any) -> None:
    if isinstance(given, dict):
        _output_format(f"{field}.format", given.get("format"))


def _output_format(field: str, given: Any) -> None:
    if isinstance(given, dict) and given.get("type") == "json_schema":
        if given.get("schema") is None:
            missing(f"{field}.schema")
        check_schema(given["schema"], f"{field}.schema")


_AT_LEAST_ONE = whole(1)
_BUDGET = whole(MIN_THINKING)
_RULES: Rules = {
    # Fields that Anthropic does not know it refuses. Source: github.com/arcprize/arc-agi-benchmarking/pull/89
    "betas": of_the_sdk("it is sent as a header, give the lane the part beta=…"),
    "extra_headers": of_the_sdk("leave it out, and a beta into the lane's part beta=…"),
    "extra_query": of_the_sdk("leave it out"),
    "extra_body": of_the_sdk("put what it holds into the body itself"),
    "speed": _speed,
    "temperature": within(0, 1),
    "top_p": within(0, 1),
    "thinking": _thinking,
    "tools": _tools,
    "output_config": _output_config,
    "output_format": _output_format,
}


def _check_marks(body: Object) -> None:
    marks = sum(1 for block in _blocks(body) if block.get("cache_control") is not None)
    if marks > MAX_MARKS:
        refuse("cache_control", f"is set on {marks} blocks, the limit is {MAX_MARKS}")


def _blocks(body: Object) -> Iterator[Object]:
    """Yield what may carry a cache mark: tools, and the blocks of system prompt, messages and tool results."""
    given = [body.get("tools"), body.get("system"), *[message.get("content") for message in body["messages"]]]
    for several in given:
        for block in several if type(several) is list else ():
            if isinstance(block, dict):
                yield block
                inner = block.get("content")
                if isinstance(inner, list):
                    yield from (each for each in inner if isinstance(each, dict))
