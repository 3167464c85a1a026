"""From what a caller gives to a checked request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from batchline.compose import compose, draft
from batchline.errors import BatchlineError, InvalidRequest, UsageError
from batchline.requests import Request
from batchline.settings import load_settings

SETTINGS = load_settings(environ={"BATCHLINE_ACCOUNTS__SECOND__PROVIDER": "openai"})
NOW_MS = 1_700_000_000_000
HELLO = [{"role": "user", "content": "hello"}]
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": HELLO}
CLAUDE: dict[str, Any] = {"model": "claude-haiku-4-5", "messages": HELLO, "max_tokens": 9}


def made(**given: Any) -> Request:
    return compose(draft(given), SETTINGS, now_ms=NOW_MS, new_id=lambda: "made-up")[0]


def test_a_model_alone_picks_account_and_endpoint() -> None:
    assert made(model="claude-haiku-4-5", messages=HELLO, max_tokens=9).lane == "anthropic:messages:claude-haiku-4-5"


def test_a_body_may_name_the_model() -> None:
    assert made(body={"model": "gpt-5-mini", "messages": HELLO}).lane == "openai:chat:gpt-5-mini"


def test_an_endpoint_given_keeps_the_account_of_the_model() -> None:
    assert made(model="gpt-5-mini", endpoint="responses", input="hello").lane == "openai:responses:gpt-5-mini"


def test_an_account_given_keeps_the_endpoint_of_the_model() -> None:
    assert made(model="gpt-5-mini", account="second", messages=HELLO).lane == "second:chat:gpt-5-mini"


def test_tenant_and_beta_follow_bars() -> None:
    lane = made(model="gpt-5-mini", messages=HELLO, tenant="acme", beta="b1").lane
    assert lane == "openai:chat:gpt-5-mini|beta=b1|tenant=acme"


def test_a_version_stands_between_beta_and_tenant() -> None:
    lane = made(**CLAUDE, tenant="acme", beta="b1", version="2026-10-21").lane
    assert lane == "anthropic:messages:claude-haiku-4-5|beta=b1|version=2026-10-21|tenant=acme"


def test_a_version_beside_a_lane_must_be_the_lanes_own() -> None:
    with pytest.raises(InvalidRequest, match="version is not the one"):
        made(**CLAUDE, lane="anthropic:messages:claude-haiku-4-5", version="2026-10-21")


def test_body_fields_become_the_body() -> None:
    body = json.loads(made(model="gpt-5-mini", messages=HELLO, temperature=0).body)
    assert body == {"model": "gpt-5-mini", "messages": HELLO, "temperature": 0}


def test_a_body_as_text_is_taken_as_json() -> None:
    body = '{"model": "gpt-5-mini",\n "input": []}'
    assert made(body=body, lane="openai:responses:gpt-5-mini").body == b'{"model":"gpt-5-mini","input":[]}'


def test_text_beyond_ascii_counts_by_its_utf8_bytes() -> None:
    text = "字" * 2_000_000  # 6 MB as UTF-8, 12 MB as \\u escapes
    assert len(made(model="gpt-5-mini", messages=[{"role": "user", "content": text}]).body) < 8 * 2**20


@pytest.mark.parametrize("chosen", ["https://x", "stream:x", "a b", "é", "x" * 256, "\0"])
def test_an_id_may_be_any_utf8(chosen: str) -> None:
    assert made(id=chosen, model="gpt-5-mini", messages=HELLO).id == chosen


@pytest.mark.parametrize("chosen", ["", "x" * 257, "é" * 129, "\ud800"])
def test_an_id_that_is_empty_too_long_or_no_text_is_refused(chosen: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^id "):
        made(id=chosen, model="gpt-5-mini", messages=HELLO)


def test_an_id_is_made_up_where_none_is_given() -> None:
    assert made(model="gpt-5-mini", messages=HELLO).id == "made-up"


@pytest.mark.parametrize(("given", "seconds"), [({"id": "mine"}, 86_400), ({}, 600)])
def test_the_id_window_depends_on_who_chose_the_id(given: dict[str, Any], seconds: int) -> None:
    _, window_ms = compose(draft(CHAT | given), SETTINGS, now_ms=NOW_MS, new_id=lambda: "made-up")
    assert window_ms == seconds * 1000


@pytest.mark.parametrize(
    ("deadline", "after_s"),
    [
        ("6h", 21_600),
        ("90", 90),
        (90, 90),
        (1.5, 1.5),
        ("2023-11-14T22:13:21Z", 1),
        (datetime(2023, 11, 14, 22, 13, 22, tzinfo=UTC), 2),
    ],
)
def test_a_deadline_is_a_span_or_a_time(deadline: Any, after_s: float) -> None:
    assert made(**CHAT, deadline=deadline).deadline_ms == NOW_MS + after_s * 1000


@pytest.mark.parametrize(
    "deadline", [0, -1, "soon", "", float("nan"), True, 1_700_000_000, "2023-11-14T22:13:21", "2020-01-01T00:00:00Z"]
)
def test_a_deadline_that_is_none_is_refused(deadline: Any) -> None:
    with pytest.raises(InvalidRequest, match="deadline"):
        made(**CHAT, deadline=deadline)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lane": "nobody:chat:gpt-5-mini", "model": "gpt-5-mini"}, "unknown account 'nobody'"),
        ({"model": "gpt-5-mini", "account": "nobody", "endpoint": "chat"}, "unknown account 'nobody'"),
        ({"model": "gpt-5-mini", "endpoint": "messages"}, "has no endpoint 'messages'"),
        ({"lane": "openai:chat:{x}", "model": "x"}, "the lane's name"),
        ({"lane": "openai:chat:*", "model": "*"}, "the lane's name"),
        ({"lane": "openai:chat", "model": "x"}, "account:endpoint:model"),
        ({"lane": "openai:chat:gpt-5", "model": "gpt-5-mini"}, "model is not the one"),
        ({"lane": "openai:chat:gpt-5", "body": {"model": "gpt-5-mini"}}, "names the model"),
        ({"lane": "openai:chat:gpt-5", "body": {}}, "names no model"),
        ({"body": {}}, "no model"),
        ({"body": []}, "not a JSON object"),
        ({"body": b"{", "model": "gpt-5"}, "not JSON"),
        ({"body": b"\xef\xbb\xbf{}", "model": "gpt-5"}, "byte order mark"),
        ({"model": "gpt-5", "stream": True}, "stream"),
        ({"model": "gpt-5", "temperature": float("nan")}, "not JSON compliant"),
        ({"model": "gpt-5", "user": "\ud800"}, "not UTF-8"),
        ({"model": "gpt-5", "tools": {1, 2}}, "cannot be written as JSON"),
        ({"model": "gpt-5", "body": {}, "messages": []}, "both a body and fields"),
        (CHAT | {"metadata": []}, "metadata is not a JSON object"),
        ({"model": "gpt-5", "reply_to": "a:b"}, "no callback queue"),
        ({"model": "gpt-5", "reply_to": "https://x"}, "this version cannot call"),
        (CHAT | {"traceparent": "x"}, "traceparent"),
        ({"model": "gpt-5", "id": 5}, "id is not text"),
        ({"model": "gpt-5", "input": "x" * 8_400_000}, "the limit is"),
    ],
)
def test_a_request_that_the_worker_would_refuse_is_refused_at_once(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        made(**given)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "gpt-5-mini"}, 'field "messages": is missing'),
    (CHAT | {"temperature": 3}, 'field "temperature"'),
    (CHAT | {"version": "2026-10-21"}, "version"),
    (CHAT | {"model": "text-embedding-3-small", "endpoint": "chat", "account": "openai"}, 'field "model"'),
    ({"model": "claude-haiku-4-5", "messages": HELLO}, 'field "max_tokens": is missing'),
    (CLAUDE | {"temperature": 0.5, "version": "2026-10-21"}, 'field "temperature"'),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_what_the_provider_would_refuse_is_refused_at_enqueue(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        made(**given)
    assert caught.value.code == "invalid_request"


def test_a_field_that_is_newer_than_batchline_is_let_through() -> None:
    assert json.loads(made(**CHAT, quantum_mode={"x": 1}).body)["quantum_mode"] == {"x": 1}


def test_a_model_without_an_account_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="give account and endpoint"):
        made(model="llama-4", messages=HELLO)


def test_an_error_never_quotes_the_body() -> None:
    with pytest.raises(BatchlineError) as caught:
        made(model="gpt-5", messages=[{"role": "user", "content": "secret"}], n=float("inf"))
    assert "secret" not in str(caught.value)
