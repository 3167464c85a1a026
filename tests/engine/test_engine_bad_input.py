"""What cannot be accepted gets a failed reply that says why, spoils nothing beside it, and is never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from batchline.engine import accumulator, context
from batchline.providers import Facts, facts_of
from batchline.settings import Account
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
SECRET = "canary-7f3a"
GOOD = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": SECRET}]}

SCHEMA = {"name": "answer", "schema": {"type": "object", "properties": {"a": {"type": "txt", "title": SECRET}}}}


def with_content(raw: str) -> bytes:
    """Return a body whose only message has this raw JSON as its content."""
    return b'{"model":"gpt-5-mini","messages":[{"role":"user","content":' + raw.encode() + b"}]}"


REFUSED = {
    "an array": (b"[1]", "invalid_request", "body is not a JSON object"),
    "a text": (f'"{SECRET}"'.encode(), "invalid_request", "body is not a JSON object"),
    "nothing": (b"", "invalid_request", "body is not JSON"),
    "no JSON": (SECRET.encode(), "invalid_request", "body is not JSON"),
    "no model": (json.dumps({"messages": GOOD["messages"]}).encode(), "invalid_request", "names no model"),
    "another model": (json.dumps(GOOD | {"model": "gpt-5"}).encode(), "invalid_request", "'gpt-5'"),
    "a model that is no text": (json.dumps(GOOD | {"model": 5}).encode(), "invalid_request", "model is not text"),
    "a stream": (json.dumps(GOOD | {"stream": True}).encode(), "invalid_request", "'stream'"),
    "half cut off": (json.dumps(GOOD).encode()[:-3], "invalid_request", "body is not JSON"),
    "invalid UTF-8": (with_content('"x"').replace(b"x", b"\xff\xfe"), "invalid_request", "not UTF-8"),
    "NaN": (with_content('"x"')[:-1] + b',"temperature":NaN}', "invalid_request", "NaN"),
    "1e999": (with_content('"x"')[:-1] + b',"temperature":1e999}', "invalid_request", "range of a double"),
    "a BOM": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "invalid_request", "byte order mark"),
    "900 levels": (with_content("[" * 900 + "]" * 900), "invalid_request", "nested deeper than"),
    "half a surrogate pair": (with_content(r'"\ud800"'), "invalid_request", "surrogate"),
    "no messages": (b'{"model":"gpt-5-mini"}', "invalid_request", 'field "messages": is missing'),
    "a schema that is none": (
        json.dumps(GOOD | {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}).encode(),
        "invalid_request",
        'field "response_format.json_schema.schema": is not a JSON schema: $.properties.a.type',
    ),
}


@pytest.mark.parametrize(("raw", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_a_body_that_cannot_be_sent_is_refused(bench: Any, raw: bytes, code: str, words: str) -> None:
    reply = bench.bad(raw)
    assert (reply.status, reply.error.code, reply.error.retryable) == ("failed", code, False)
    assert words in reply.error.message
    assert SECRET not in reply.error.message
    assert (reply.attempts, reply.batch, reply.timing.submitted) == (0, None, None)
    assert (bench.statuses(), bench.bill()["models"][0]["executed"]) == ({"succeeded": 2, "failed": 1}, 2)


def test_what_anthropic_would_refuse_hours_later_is_refused_at_once(bench: Any) -> None:
    body = {"model": "claude-haiku-4-5", "messages": GOOD["messages"], "max_tokens": 0}
    reply = bench.bad(json.dumps(body), "anthropic:messages:claude-haiku-4-5")
    assert (reply.status, reply.error.code, reply.batch) == ("failed", "invalid_request", None)
    assert 'field "max_tokens"' in reply.error.message


@pytest.mark.parametrize("lane", ["openai:chat:gpt-5-mini|version=2026-10-21", "anthropic:messages:m|version=new"])
def test_a_lane_with_a_part_that_its_provider_does_not_know_gives_failed_replies(bench: Any, lane: str) -> None:
    model = lane.split("|", maxsplit=1)[0].rpartition(":")[2]
    bench.add(lane, id="bad", body=json.dumps(GOOD | {"model": model, "max_tokens": 5}))
    bench.drain()
    reply = bench.reply("bad", lane)
    assert (reply.status, reply.error.code) == ("failed", "invalid_request")
    assert "version" in reply.error.message


def test_a_field_that_is_newer_than_batchline_goes_to_the_provider(bench: Any) -> None:
    assert bench.bad(json.dumps(GOOD | {"quantum_mode": 1})).status == "succeeded"


def test_a_body_over_the_byte_limit_is_too_large(bench: Any) -> None:
    bench.set("limits", max_body_bytes=1_000)
    reply = bench.bad(with_content('"' + "x" * 1_000 + '"'))
    assert (reply.status, reply.error.code) == ("failed", "too_large")
    assert "1,000" in reply.error.message


def test_a_body_over_the_providers_whole_batch_is_too_large(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_batches(monkeypatch, max_bytes=1_000)
    reply = bench.bad(with_content('"' + "x" * 1_000 + '"'))
    assert (reply.status, reply.error.code) == ("failed", "too_large")


ACCEPTED = {
    "pretty-printed JSON": json.dumps(GOOD, indent=4).encode(),
    "duplicate keys": b'{"model":"gpt-5","model":"gpt-5-mini","messages":[],"messages":'
    + json.dumps(GOOD["messages"]).encode()
    + b"}",
    "carriage returns": json.dumps(GOOD, indent=1).replace("\n", "\r\n").encode(),
    "an escaped line feed": with_content(r'"a\nb"'),
    "raw separators": with_content('"a\u2028b\u2029c\x85d"'),
    "a long number": with_content('"x"')[:-1] + b',"temperature":1E0}',
    "stream false": json.dumps(GOOD | {"stream": False}).encode(),
    "100 levels": with_content("[" * 100 + "]" * 100),
}


@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED)
def test_an_odd_body_goes_out_as_one_clean_row(bench: Any, raw: bytes) -> None:
    assert bench.bad(raw).status == "succeeded"
    assert bench.created() == 1


@pytest.mark.parametrize("lane", [CHAT, "anthropic:messages:claude-haiku-4-5"])
def test_raw_line_separators_in_prompt_and_answer_tear_nothing(bench: Any, lane: str) -> None:
    texts = {bench.ask(text, lane): text for text in ("[[u2028]] one", "a\u2028b\x85c\u2029 [[u2028]]", "plain")}
    bench.drain()
    for request_id, text in texts.items():
        reply = bench.reply(request_id, lane)
        assert bench.answers_itself(reply, text)
        assert ("\u2028\u2029\x85" in json.dumps(reply.response, ensure_ascii=False)) is ("[[u2028]]" in text)


FIELDS = {
    "an unknown field": ({"repley_to": "app"}, "repley_to"),
    "metadata that is no object": ({"metadata": "[1]"}, "metadata is not a JSON object"),
    "metadata that is no JSON": ({"metadata": SECRET}, "metadata is not JSON"),
    "a deadline in words": ({"deadline": "tomorrow"}, "deadline"),
    "a negative deadline": ({"deadline": "-5"}, "deadline"),
    "an endless deadline": ({"deadline": "9" * 40}, "deadline"),
    "a celery callback": ({"reply_to": "celery:shop/done"}, "Celery"),
    "a webhook": ({"reply_to": "https://example.com/hook"}, "webhook"),
    "a queue name with a space": ({"reply_to": "my app"}, "reply_to"),
    "an empty queue name": ({"reply_to": ""}, "reply_to"),
    "a stream without a name": ({"reply_to": "stream:"}, "reply_to"),
    "a queue name that is no UTF-8": ({"reply_to": b"\xff"}, "reply_to"),
}


@pytest.mark.parametrize(("fields", "words"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_cannot_be_read_fails_the_request_on_its_default_queue(
    bench: Any, fields: dict[str, Any], words: str
) -> None:
    reply = bench.bad(json.dumps(GOOD), **fields)
    assert (reply.status, reply.error.code) == ("failed", "invalid_request")
    assert words in reply.error.message
    assert SECRET not in reply.error.message


def test_a_request_without_a_body_is_refused(bench: Any) -> None:
    bench.add(CHAT, id="bad")
    bench.ask("good")
    bench.drain()
    assert "body" in bench.reply("bad").error.message


@pytest.mark.parametrize("given", [None, b"", b"\xff\xfe", b"x" * 257, "ü".encode() * 129])
def test_a_request_without_a_usable_id_is_answered_under_its_entry_id(bench: Any, given: bytes | None) -> None:
    fields = {} if given is None else {"id": given}
    entry = bench.add(CHAT, body=json.dumps(GOOD), **fields)
    good = bench.ask("good")
    bench.drain()
    reply = bench.reply(entry)
    assert (reply.id, reply.status, reply.error.code) == (entry, "failed", "invalid_request")
    assert "id" in reply.error.message
    assert bench.reply(good).status == "succeeded"


@pytest.mark.parametrize("given", ["https://x", "stream:x", "celery:a/b", "a b", "{x}", "*", "ü" * 128, "0", "\n"])
def test_any_other_id_is_only_a_name(bench: Any, given: str) -> None:
    bench.ask("hello", id=given)
    bench.drain()
    assert (bench.reply(given).id, bench.reply(given).status) == (given, "succeeded")


def test_a_request_that_is_enqueued_twice_by_the_raw_protocol_is_answered_twice(bench: Any) -> None:
    bench.ask("hello", id="twice")
    bench.ask("hello", id="twice")
    bench.drain()
    assert [reply.id for reply in bench.queue(keys.reply_default(CHAT, "twice"))] == ["twice", "twice"]


NOWHERE = {
    "an unknown account": b"nobody:chat:gpt-5-mini",
    "an unknown endpoint": b"openai:chatter:gpt-5-mini",
    "another provider's endpoint": b"openai:messages:gpt-5-mini",
    "no model": b"openai:chat:",
    "no parts": b"openai",
    "braces": b"openai:chat:{gpt-5-mini}",
    "an inner brace": b"openai:chat:a}b",
    "a glob": b"openai:chat:*",
    "a glob of sets": b"openai:chat:gpt-[45]?",
    "a space": b"openai:chat:gpt 5",
    "a line feed": b"openai:chat:gpt-5-mini\n",
    "invalid UTF-8": b"openai:chat:\xff\xfe",
    "an unknown part": b"openai:chat:gpt-5-mini|color=red",
    "too long a name": b"openai:chat:" + b"m" * 200,
    "nothing": b"",
}


@pytest.mark.parametrize("lane", NOWHERE.values(), ids=NOWHERE)
def test_a_lane_that_leads_nowhere_gives_failed_replies(bench: Any, lane: bytes) -> None:
    bench.set("flush", max_age=3600.0)
    good = bench.ask("good", "openai:chat:gpt-5-nano")
    bench.add(lane, id="bad", body=json.dumps(GOOD))
    bench.tick()
    (reply,) = bench.queue(b"batchline:reply:" + lane + b":bad")
    assert (reply.status, reply.error.code, reply.id) == ("failed", "not_configured", "bad")
    assert "lane" in reply.error.message
    bench.set("flush", max_age=0.0)
    bench.drain()
    assert bench.reply(good, "openai:chat:gpt-5-nano").status == "succeeded"


def test_lanes_that_lead_nowhere_share_one_ledger(bench: Any) -> None:
    for lane in ("nobody:chat:a", "openai:chatter:b", "{x}"):
        bench.add(lane, id="bad", body=json.dumps(GOOD))
    bench.drain()
    assert [each.base for each in bench.store.ledger.accounts()] == ["unknown:unknown:unknown"]


def test_what_waits_in_an_unknown_account_is_answered_before_its_flush_age(bench: Any) -> None:
    bench.set("flush", max_age=3600.0)
    bench.add("nobody:chat:a", id="bad", body="{}")
    bench.tick()
    assert not bench.owed()


def test_a_lane_whose_key_has_another_type_stops_nobody(bench: Any) -> None:
    lane = "openai:chat:gpt-5-nano"
    bench.run("SET", keys.requests(lane), "mine")
    bench.run("SADD", keys.LANES, lane)
    bench.ask("good")
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}
    assert bench.run("GET", keys.requests(lane)) == b"mine"


def test_lanes_beyond_the_limit_are_set_aside_and_answered_when_there_is_room(bench: Any) -> None:
    bench.set("limits", max_lanes=1)
    bench.ask("one", "openai:chat:gpt-5-mini")
    bench.tick()
    bench.ask("two", "openai:chat:gpt-5-nano")
    bench.tick()
    assert bench.run("SMEMBERS", keys.LANES_ASIDE) == {b"openai:chat:gpt-5-nano"}
    bench.set("limits", max_lanes=2)
    bench.drain()
    bench.drain()
    assert bench.statuses() == {"succeeded": 2}


def test_a_batch_of_nothing_but_bad_requests_reaches_no_provider(bench: Any) -> None:
    for n in range(300):
        bench.add(CHAT, id=f"bad{n}", body="[]")
        bench.sent.append(f"bad{n}")
    bench.drain()
    assert bench.statuses() == {"failed": 300}
    assert bench.created() == 0
    assert bench.first.openai.calls["upload"] == 0


def test_a_key_that_is_written_twice_is_checked_and_sent_as_one(bench: Any) -> None:
    reply = bench.bad(b'{"model":"gpt-5-mini","model":"gpt-5","messages":[]}')
    assert (reply.status, reply.error.code) == ("failed", "invalid_request")


def limit_batches(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Let the provider's batches be small."""

    def smaller(account: Account) -> Facts:
        facts = facts_of(account)
        return replace(facts, limits=replace(facts.limits, **limits))

    monkeypatch.setattr(context, "facts_of", smaller)


def test_a_batch_that_turns_out_larger_than_the_providers_bytes_is_split(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The walk takes 4 rows of 282 bytes for 1,128; rendered they have 219 each, 217 where the sequence number is short.
    limit_batches(monkeypatch, max_bytes=700)
    monkeypatch.setattr(accumulator, "ROW_BYTES", 1)
    bench.ask_many(8)
    bench.drain()
    assert bench.statuses() == {"succeeded": 8}
    assert bench.created() > 2
    assert all(batch.row_bytes <= 700 for batch in bench.batches())
    assert bench.bill()["double_executions"] == 0


def test_a_batch_of_embeddings_is_split_by_its_inputs(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_batches(monkeypatch, max_inputs=10)
    lane = "openai:embeddings:text-embedding-3-small"
    for n in range(6):
        body = {"model": "text-embedding-3-small", "input": [f"text {n}.{i}" for i in range(4)]}
        bench.sent.append(f"e{n}")
        bench.add(lane, id=f"e{n}", body=json.dumps(body))
    bench.drain()
    assert bench.statuses() == {"succeeded": 6}
    assert [batch.rows for batch in bench.batches()] == [2, 2, 2]


def test_one_embeddings_request_with_too_many_inputs_is_too_large(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_batches(monkeypatch, max_inputs=3)
    lane = "openai:embeddings:text-embedding-3-small"
    body = {"model": "text-embedding-3-small", "input": ["a", "b", "c", "d"]}
    bench.add(lane, id="bad", body=json.dumps(body))
    good = bench.ask("good", lane)
    bench.drain()
    assert bench.reply("bad", lane).error.code == "too_large"
    assert bench.reply(good, lane).status == "succeeded"


@pytest.mark.parametrize(
    ("value", "inputs"), [("text", 1), ([1, 2, 3], 1), (["a", "b"], 2), ([[1, 2], [3]], 2), ([], 1)]
)
def test_inputs_are_counted_as_the_provider_does(value: Any, inputs: int) -> None:
    from batchline.engine.rendering import count_inputs  # noqa: PLC0415

    assert count_inputs(json.dumps({"input": value}).encode()) == inputs
