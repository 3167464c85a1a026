"""The questions that all checks ask of a body's fields, and the one form of a refusal. Pure.

A rule looks at one field that is given (null is as good as left out) and refuses its value or does not. Rules stand in
tables by the name of their field, so that a body costs as many looks as it has fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from batchline.errors import InvalidRequest

Object = dict[str, Any]
Rule = Callable[[str, Any], None]
"""Refuses the value of a field, named by its path in the body, or does nothing."""
Rules = Mapping[str, Rule]

_NUMBERS = frozenset({int, float})


def refuse(field: str, problem: str) -> NoReturn:
    """Refuse a body for one field, which is named by its path in the body."""
    raise InvalidRequest(f'field "{field}": {problem}')


def missing(field: str, advice: str = "") -> NoReturn:
    """Refuse a body for a field that it has not."""
    refuse(field, f"is missing{advice and ': '}{advice}")


def refuse_part(part: str) -> NoReturn:
    """Refuse a lane that names a part which its provider does not have."""
    raise InvalidRequest(f"the lane has the part {part}=…, which this provider does not know: leave it out")


def keep(rules: Rules, body: Object, where: str = "") -> None:
    """Hold each field that is given against its rule; fields without one are let through."""
    for name, value in body.items():
        rule = rules.get(name)
        if rule is not None and value is not None:
            rule(where + name, value)


def within(low: float, high: float) -> Rule:
    """Refuse a number outside of ``low`` to ``high``; what is no number is not judged."""

    def rule(field: str, value: Any) -> None:
        if type(value) in _NUMBERS and not low <= value <= high:
            refuse(field, f"is not between {low:g} and {high:g}")

    return rule


def whole(low: int, high: int | None = None) -> Rule:
    """Refuse a number that is no whole one from ``low`` on; what is no number is not judged."""
    limits = f"is less than {low}" if high is None else f"is not between {low:,} and {high:,}"

    def rule(field: str, value: Any) -> None:
        if type(value) is float and not value.is_integer():
            refuse(field, "is not a whole number")
        if type(value) in _NUMBERS and (value < low or (high is not None and value > high)):
            refuse(field, limits)

    return rule


def number(then: Rule) -> Rule:
    """Refuse what is no number, and what ``then`` refuses."""

    def rule(field: str, value: Any) -> None:
        if type(value) not in _NUMBERS:
            refuse(field, "is not a number")
        then(field, value)

    return rule


def of_the_sdk(advice: str) -> Rule:
    """Refuse an argument of an SDK's method that is no field of the API, which refuses what it does not know."""

    def rule(field: str, _: Any) -> None:
        refuse(field, f"is an argument of the SDK and no field of the API: {advice}")

    return rule


def messages(body: Object) -> list[Object]:
    """Return the messages of a conversation: one at least, each an object with a role."""
    given = body.get("messages")
    if given is None:
        missing("messages")
    if type(given) is not list:
        refuse("messages", "is not a list")
    if not given:
        refuse("messages", "is an empty list: give one message at least")
    for index, message in enumerate(given):
        if type(message) is not dict:
            refuse(f"messages[{index}]", "is not an object with role and content")
        if type(message.get("role")) is not str:
            refuse(f"messages[{index}].role", "is missing or not text")
    return given


def objects(field: str, given: Any) -> Iterator[tuple[str, Object]]:
    """Yield the objects of a list with their paths; nothing where there is no list. What is no object is not judged."""
    if isinstance(given, list):
        yield from ((f"{field}[{index}]", each) for index, each in enumerate(given) if isinstance(each, dict))
