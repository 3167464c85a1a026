"""Compose a request from what a caller gives: which lane, which id, which deadline, and every check. Pure.

What is refused here would be refused by the worker with a failed reply; the caller hears it at once instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from batchline.bodies import check_body, check_metadata, check_size, read_object
from batchline.errors import InvalidRequest, UsageError
from batchline.lanes import Lane, lane_name, parse_lane
from batchline.providers import Facts, facts_of
from batchline.reply_to import parse_reply_to
from batchline.requests import MAX_ID_BYTES, Request
from batchline.settings import FULL_NAME, Account, Settings, parse_seconds

Deadline = str | float | int | datetime

MAX_DEADLINE_S = 366 * 86_400
"""A deadline further away is taken for a slip, such as a unix time given as seconds from now."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z")
TEXTS = ("id", "model", "lane", "account", "endpoint", "reply_to", "tenant", "beta", "version", "traceparent")
"""What a flat request says in text."""
NAMES = frozenset({*TEXTS, "body", "deadline", "metadata"})
"""What a flat request says to batchline; everything else in it belongs to the body."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller gives for one request, not yet checked. ``body`` and ``metadata`` are JSON.

    ``deadline``: seconds from now, text such as ``6h`` or an ISO 8601 time, or a datetime with a time zone.
    """

    body: bytes
    id: str | None = None
    model: str | None = None
    lane: str | None = None
    account: str | None = None
    endpoint: str | None = None
    reply_to: str | None = None
    deadline: Deadline | None = None
    metadata: bytes | None = None
    tenant: str | None = None
    beta: str | None = None
    version: str | None = None
    traceparent: str | None = None


def draft(given: Mapping[str, Any]) -> Draft:
    """Make a draft of a flat mapping: the names in NAMES, and either ``body`` or the body's own fields. Raises InvalidRequest."""
    known = {name: given[name] for name in NAMES if given.get(name) is not None}
    fields = {name: value for name, value in given.items() if name not in NAMES}
    for name in TEXTS:
        if not isinstance(known.get(name, ""), str):
            raise InvalidRequest(f"{name} is not text")
    body = known.pop("body", None)
    if body is not None and fields:
        raise InvalidRequest(f"both a body and fields of one are given ({', '.join(sorted(map(str, fields)))})")
    known["body"] = _body(fields if body is None else body, known.get("model"))
    if "metadata" in known:
        known["metadata"] = write_json(known["metadata"], "metadata")
    return Draft(**known)


def _body(body: object, model: str | None) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, Mapping) and model is not None:
        body = {"model": model, **body}
    return write_json(body, "body")


def write_json(value: object, what: str) -> bytes:
    """Write a value as JSON; raises InvalidRequest on what JSON does not have (NaN is not made null)."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"{what} cannot be written as JSON: {reason}") from None


def compose(given: Draft, settings: Settings, *, now_ms: int, new_id: Callable[[], str]) -> tuple[Request, int]:
    """Return the checked request and its id window in ms. Raises InvalidRequest, or UsageError for a model without account."""
    lane, facts = _lane(given, settings)
    if given.reply_to is not None:
        parse_reply_to(given.reply_to)
    request = Request(
        id=new_id() if given.id is None else check_id(given.id),
        lane=lane.name,
        body=check_body(
            given.body,
            model=lane.model,
            max_bytes=settings.limits.max_body_bytes,
            names_model=facts.names_model,
            check=lambda body: facts.check(lane, body),
        ),
        reply_to=given.reply_to,
        deadline_ms=None if given.deadline is None else deadline_ms(given.deadline, now_ms=now_ms),
        metadata=None if given.metadata is None else check_metadata(given.metadata),
        traceparent=_traceparent(given.traceparent),
    )
    window_s = settings.id_window.generated if given.id is None else settings.id_window.chosen
    return request, int(window_s * 1000)


def check_id(request_id: str, *, spare: int = 0) -> str:
    """Return a request id that may be enqueued; ``spare`` bytes are left for a prefix. Raises InvalidRequest."""
    try:
        size = len(request_id.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("id holds half a surrogate pair, which is no character") from None
    if not 1 <= size <= MAX_ID_BYTES - spare:
        raise InvalidRequest(f"id has {size} bytes; it must have 1 to {MAX_ID_BYTES - spare}")
    return request_id


def deadline_ms(deadline: Deadline, *, now_ms: int) -> int:
    """Return a deadline as unix ms; raises InvalidRequest when it is none, is past, or is over a year away."""
    wanted = _moment(deadline, now_ms)
    if wanted <= now_ms:
        raise InvalidRequest("deadline is not in the future")
    if wanted > now_ms + MAX_DEADLINE_S * 1000:
        raise InvalidRequest("deadline is more than a year away; a number means seconds from now")
    return wanted


def _moment(deadline: Deadline, now_ms: int) -> int:
    if isinstance(deadline, str):
        try:
            return now_ms + int(parse_seconds(deadline) * 1000)
        except ValueError:
            deadline = _iso_time(deadline)
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise InvalidRequest("deadline is a time without a time zone")
        return int(deadline.astimezone(UTC).timestamp() * 1000)
    number: object = deadline  # a bool is an int to Python, and callers without types pass anything
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise InvalidRequest("deadline is neither seconds nor a time")
    return now_ms + int(number * 1000)


def _iso_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            "deadline is no time: write seconds, text such as 90s, 15m, 6h, or 2026-12-24T18:00:00Z"
        ) from None


def _traceparent(text: str | None) -> str | None:
    if text is not None and not _TRACEPARENT.match(text):
        raise InvalidRequest("traceparent is not in the form of W3C Trace Context (00-<trace id>-<parent id>-01)")
    return text


def _lane(given: Draft, settings: Settings) -> tuple[Lane, Facts]:
    lane = _named_lane(given, given.lane) if given.lane is not None else _built_lane(given, settings)
    account = settings.accounts.get(lane.account)
    if account is None:
        known = ", ".join(sorted(settings.accounts))
        raise InvalidRequest(f"unknown account {lane.account!r}; the settings have {known}", code="not_configured")
    facts = facts_of(account)
    if lane.endpoint not in facts.endpoints:
        raise InvalidRequest(
            f"account {lane.account!r} has no endpoint {lane.endpoint!r}; it has {', '.join(facts.endpoints)}",
            code="not_configured",
        )
    return lane, facts


def _named_lane(given: Draft, name: str) -> Lane:
    lane = parse_lane(name)
    for part in ("account", "endpoint", "model", "tenant", "beta", "version"):
        if getattr(given, part) not in {None, getattr(lane, part)}:
            raise InvalidRequest(f"{part} is not the one that the lane {name} names; give the lane alone")
    return lane


def _built_lane(given: Draft, settings: Settings) -> Lane:
    model = given.model if given.model is not None else _model_in(given.body, settings)
    account, endpoint = given.account, given.endpoint
    if account is None or endpoint is None:
        routed = _routed(model, settings, given)
        account = routed[0] if account is None else account
        endpoint = routed[1] if endpoint is None else endpoint
    if model.startswith(FULL_NAME):
        model = _short(model, settings.accounts.get(account))
    name = lane_name(
        account=account,
        endpoint=endpoint,
        model=model,
        tenant=given.tenant,
        beta=given.beta,
        version=given.version,
    )
    return parse_lane(name)


def _routed(model: str, settings: Settings, given: Draft) -> tuple[str, str]:
    try:
        return settings.route_model(model)
    except UsageError as error:
        if given.account is None:
            raise
        raise UsageError(f"{error} (the account is given, the endpoint is not)") from None


def _short(model: str, account: Account | None) -> str:
    """Return a model by the name that its lane has: Gemini's are the same under their full name, ``models/…``."""
    in_url = account is not None and not facts_of(account).names_model
    return model.removeprefix(FULL_NAME) if in_url else model


def _model_in(body: bytes, settings: Settings) -> str:
    check_size(body, settings.limits.max_body_bytes)
    model = read_object(body, "body").get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("no model: give one, or a lane, or name it in the body")
    return model
