"""Strict decode and clean re-encode of request bodies: what is sent is what was checked. Pure.

A body is decoded strictly (UTF-8 without BOM, finite numbers, whole surrogate pairs, bounded depth) and encoded again
from what was decoded: one line, one value per key (the last one wins, as in the providers' own parsers), key order kept.
So no body can tear the row that it stands in, and a key that is written twice cannot be checked as one thing and sent as another.

Nothing here quotes a body: messages give positions, sizes and the two model names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from batchline.errors import InvalidRequest

MAX_DEPTH = 128
MAX_METADATA_BYTES = 64 * 2**10
"""It goes back with every reply, so it is for ids and labels, not for content."""
"""Most levels of objects and arrays in one another. Far above any real schema, far below every decoder's own limit,
so that a body is accepted or refused alike in each process, however deep its stack is at that moment."""

_BOM = b"\xef\xbb\xbf"
_TOO_DEEP = f"{{}} is nested deeper than {MAX_DEPTH} levels"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def check_body(
    raw: bytes,
    *,
    model: str | None,
    max_bytes: int,
    names_model: bool = True,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> bytes:
    """Return a request body as canonical JSON on one line.

    ``model`` is the lane's, None where it is not known yet. Where the provider's bodies do not name it (``names_model``), one
    that does is sent without. ``check`` looks at what was decoded for what the provider would refuse. Raises InvalidRequest
    with code ``too_large`` over ``max_bytes``, else ``invalid_request``.
    """
    check_size(raw, max_bytes)
    body = read_object(raw, "body")
    if model is not None:
        if names_model:
            _check_model(body.get("model"), model)
        else:
            _leave_out_model(body, model)
    if body.get("stream"):
        raise InvalidRequest("body asks for a stream, which a batch cannot give: leave 'stream' out")
    if check is not None:
        check(body)
    clean = _encode(body)
    # A number may be longer when it is written again: 1E15 becomes 1000000000000000.0.
    check_size(clean, max_bytes)
    return clean


def check_metadata(raw: bytes) -> bytes:
    """Return a request's metadata, a JSON object of at most 64 KiB, on one line; raises InvalidRequest when it is not one."""
    if len(raw) > MAX_METADATA_BYTES:
        raise InvalidRequest(f"metadata has {len(raw):,} bytes, the limit is {MAX_METADATA_BYTES:,}", code="too_large")
    return _encode(read_object(raw, "metadata"))


def check_size(raw: bytes, max_bytes: int) -> None:
    """Refuse (InvalidRequest) a body of more bytes than are taken."""
    if len(raw) > max_bytes:
        raise InvalidRequest(f"body has {len(raw):,} bytes, the limit is {max_bytes:,}", code="too_large")


def _check_model(named: object, model: str) -> None:
    if named == model:
        return
    if named is None:
        raise InvalidRequest(f"body names no model; its lane is for {model!r}")
    if not isinstance(named, str):
        raise InvalidRequest(f"the body's model is not text; its lane is for {model!r}")
    shown = named if len(named) <= 200 else named[:200] + "…"
    raise InvalidRequest(f"body names the model {shown!r}, its lane is for {model!r}")


def _leave_out_model(body: dict[str, Any], model: str) -> None:
    named = body.pop("model", None)
    if named is not None and named != f"models/{model}":
        _check_model(named, model)


def read_object(raw: bytes, what: str) -> dict[str, Any]:
    """Decode a JSON object strictly; raises InvalidRequest that calls it ``what``."""
    try:
        value = _decode(raw)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP.format(what)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        _refuse(raw, what, exc)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what} is not a JSON object")
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidRequest(_TOO_DEEP.format(what))
    return value


def _deeper_than(value: Any, levels: int) -> bool:
    """Walk level by level, so that no recursion is needed to find too much of it."""
    level = [value]
    for _ in range(levels):
        below: list[Any] = []
        for node in level:
            for child in node.values() if type(node) is dict else node:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
        if not below:
            return False
        level = below
    return True


def _refuse(raw: bytes, what: str, exc: Exception) -> NoReturn:
    """Find out why the decoder refused: its own words may be misleading (a lone surrogate is "truncated" to it)."""
    if raw.startswith(_BOM):
        raise InvalidRequest(f"{what} begins with a byte order mark (BOM): send UTF-8 without it") from None
    try:
        json.loads(raw.decode(), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as bad:
        raise InvalidRequest(f"{what} is not UTF-8 (byte {bad.start})") from None
    except json.JSONDecodeError as bad:
        raise InvalidRequest(f"{what} is not JSON: {bad.msg} (line {bad.lineno}, column {bad.colno})") from None
    except _NumberError as bad:
        raise InvalidRequest(f"{what} has {bad}") from None
    except (ValueError, RecursionError):  # int() refuses thousands of digits
        raise InvalidRequest(f"{what} has a number with too many digits") from None
    if "surrogate" in str(exc) or rb"\u" in raw:
        raise InvalidRequest(f"{what} has half a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    raise InvalidRequest(f"{what} is not JSON that can be sent on") from None


class _NumberError(Exception):
    """A number that JSON does not have or that no double can hold."""


def _no_constant(name: str) -> NoReturn:
    raise _NumberError(f"{name}, which is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _NumberError("a number beyond the range of a double")
    return value
