"""Is it a JSON schema, and does it keep the rules of OpenAI's strict mode? Pure.

A schema is refused when no draft takes it: the one that it declares, or else 2020-12, 7 and 4, since generators of older
schemas often declare none. Patterns are not judged, since they are ECMA's and not Python's. The library loads slowly and
takes milliseconds for a schema, so one of plain keywords, as most are, is found right without it; and since the requests
of a batch mostly share their schemas, what was found is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import msgspec

from batchline.providers.checks.fields import Object, refuse

MAX_BYTES = 128 * 2**10
"""A larger schema is not judged here: it would take the library seconds."""
TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
"""Source: json-schema.org/draft/2020-12/meta/validation"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def check_schema(schema: Any, field: str) -> None:
    """Refuse what is no JSON schema; the message names the place in it."""
    if not isinstance(schema, dict):
        refuse(field, "is not a JSON schema, which is an object")
    raw = _encode(schema)
    fault = _fault(raw) if len(raw) <= MAX_BYTES else None
    if fault is not None:
        refuse(field, f"is not a JSON schema: {fault} has a value that may not stand there")


def check_strict(schema: Object, field: str) -> None:
    """Refuse a schema that OpenAI's strict mode does not take: a root that is no object, open objects, optional properties.

    Source: developers.openai.com/api/docs/guides/structured-outputs (supported schemas)
    """
    raw = _encode(schema)
    fault = _strict_fault(raw) if len(raw) <= MAX_BYTES else None
    if fault is not None:
        refuse(field, fault)


@lru_cache(maxsize=128)
def _strict_fault(raw: bytes) -> str | None:
    schema = _decode(raw)
    if "anyOf" in schema:
        return "has anyOf at its root, which strict mode does not take: put it into a property"
    if "$ref" not in schema and schema.get("type") != "object":
        return 'is not of type "object" at its root, which strict mode wants'
    for path, node in _strict_nodes(schema):
        kind = node.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind):
            fault = _open(node, path)
            if fault is not None:
                return f"is strict, but {fault}"
    return None


def _open(node: Object, path: str) -> str | None:
    """Return how an object is open to more or less than its properties, or None."""
    at = _shown_path(path)
    if node.get("additionalProperties") is not False:
        return f"{at} lacks additionalProperties: false"
    properties, required = node.get("properties"), node.get("required")
    listed = required if isinstance(required, list) else []
    for name in properties if isinstance(properties, dict) else ():
        if name not in listed:
            return f"{at}.required does not list the property {_shown(name)}"
    return None


def _strict_nodes(root: Object) -> Iterator[tuple[str, Object]]:
    """Walk all that an answer may consist of, references within the schema included; each is met once."""
    seen: set[str] = set()
    todo: list[tuple[str, Any]] = [("$", root)]
    while todo:
        path, node = todo.pop()
        if not isinstance(node, dict):
            continue
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference not in seen:
                seen.add(reference)
                todo.extend(_referred(root, reference))
            continue
        yield path, node
        properties, choices = node.get("properties"), node.get("anyOf")
        if isinstance(properties, dict):
            todo.extend((f"{path}.{_shown(name)}", each) for name, each in properties.items())
        if isinstance(choices, list):
            todo.extend((f"{path}.anyOf[{index}]", each) for index, each in enumerate(choices))
        todo.append((f"{path}[]", node.get("items")))


def _referred(root: Object, reference: str) -> Iterator[tuple[str, Any]]:
    for keyword in ("$defs", "definitions"):
        name = reference.removeprefix(f"#/{keyword}/")
        definitions = root.get(keyword)
        if name != reference and isinstance(definitions, dict) and name in definitions:
            yield f"$.{keyword}.{_shown(name)}", definitions[name]


def _shown(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:64]


@lru_cache(maxsize=128)
def _fault(raw: bytes) -> str | None:
    schema = _decode(raw)
    return None if _plain(schema) else _by_library(schema)


def _by_library(schema: Object) -> str | None:
    """Return the place that every draft in question finds fault with, as a JSON path; None when one of them finds none."""
    from jsonschema import (  # noqa: PLC0415 - loads slowly
        Draft4Validator,
        Draft7Validator,
        Draft201909Validator,
        Draft202012Validator,
    )
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415

    drafts: tuple[Any, ...] = (Draft202012Validator, Draft7Validator, Draft4Validator)
    if isinstance(schema.get("$schema"), str):
        drafts = (validator_for(schema, default=cast("Any", None)),)
    elif "$defs" in schema:  # the older drafts do not know it, and would not look into it
        drafts = (Draft202012Validator, Draft201909Validator)
    found: str | None = None
    for draft in drafts:
        if draft is None:  # not one that the library knows
            return None
        try:
            draft.check_schema(schema, format_checker=None)
        except SchemaError as error:
            found = found or _shown_path(error.json_path)
        except RecursionError:
            return None
        else:
            return None
    return found


def _shown_path(path: str) -> str:
    shown = path.encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= 200 else shown[:200] + "…"


def _plain(schema: Any) -> bool:
    """Whether a schema is certainly right by draft 2020-12; False says nothing."""
    if schema is True or schema is False:
        return True
    return isinstance(schema, dict) and all(_rule(keyword)(value) for keyword, value in schema.items())


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_plain, value))


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_plain, value.values()))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and _distinct(value)


def _type(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return _texts(value) and bool(value) and TYPES.issuperset(value)


def _distinct(value: list[str]) -> bool:
    return all(one != other for one, other in pairwise(sorted(value)))


def _number(value: Any) -> bool:
    return type(value) in {int, float}


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _anything(_: Any) -> bool:
    return True


def _unjudged(_: Any) -> bool:
    return False


_RULES: dict[str, Callable[[Any], bool]] = (
    dict.fromkeys(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"), _named)
    | dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _schemas)
    | dict.fromkeys(("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"), _plain)
    | dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number)
    | dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count)
    | dict.fromkeys(("title", "description", "format", "pattern", "$comment", "$ref"), _text)
    | dict.fromkeys(("deprecated", "readOnly", "writeOnly", "uniqueItems"), _flag)
    | dict.fromkeys(("enum", "examples"), _list)
    | dict.fromkeys(("const", "default"), _anything)
    | {"type": _type, "required": _texts}
)


def _rule(keyword: str) -> Callable[[Any], bool]:
    return _RULES.get(keyword, _unjudged)
