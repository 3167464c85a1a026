"""Every reply goes to the callback queue that its request named, once."""

from __future__ import annotations

from typing import Any

from batchline.requests import decode_reply
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"


def test_a_plain_name_is_a_list(bench: Any) -> None:
    asked = [bench.ask(f"question {n}", reply_to="my-app") for n in range(3)]
    bench.drain()
    assert sorted(reply.id for reply in bench.queue("batchline:reply:my-app")) == asked


def test_a_stream_gets_one_field_named_reply(bench: Any) -> None:
    asked = [bench.ask(f"question {n}", reply_to="stream:my-app") for n in range(3)]
    bench.drain()
    assert sorted(reply.id for reply in bench.queue("batchline:replies:my-app")) == asked
    ledger = bench.ledger()
    assert ledger["callbacks:stream:delivered"] == 3


def test_without_a_name_each_request_has_a_queue_of_its_own(bench: Any) -> None:
    asked = bench.ask_many(3)
    bench.drain()
    assert [bench.reply(request_id).id for request_id in asked] == asked


def test_queues_expire_after_the_reply_ttl(bench: Any) -> None:
    bench.ask("hello", reply_to="my-app")
    bench.drain()
    assert 604_700 < bench.run("TTL", "batchline:reply:my-app") - 86_400 <= 604_800


def test_a_queue_whose_key_has_another_type_is_replaced_by_the_default_queue(bench: Any) -> None:
    bench.run("SET", "batchline:reply:taken", "mine")
    bench.run("SET", "batchline:replies:taken", "mine")
    asked = [
        bench.ask("one", reply_to="taken"),
        bench.ask("two", reply_to="stream:taken"),
        bench.ask("three", reply_to="ok"),
    ]
    bench.drain()
    assert [bench.reply(request_id).status for request_id in asked[:2]] == ["succeeded"] * 2
    assert [reply.id for reply in bench.queue("batchline:reply:ok")] == asked[2:]
    assert bench.run("GET", "batchline:reply:taken") == b"mine"
    assert bench.ledger()["callbacks:list:default"] == 2


def test_a_reply_that_no_queue_takes_is_kept_as_undelivered(bench: Any) -> None:
    request_id = bench.ask("hello")
    bench.run("SET", keys.reply_default(CHAT, request_id), "mine")
    bench.drain()
    (raw,) = bench.run("LRANGE", keys.UNDELIVERED, 0, -1)
    assert decode_reply(raw).id == request_id


def test_failed_replies_go_where_the_request_wanted_its_answer(bench: Any) -> None:
    bench.ask("[[reject]]", reply_to="my-app")
    bench.add(CHAT, id="bad", body="[]", reply_to="stream:my-app")
    bench.drain()
    assert [reply.error.code for reply in bench.queue("batchline:reply:my-app")] == ["rejected"]
    assert [reply.error.code for reply in bench.queue("batchline:replies:my-app")] == ["invalid_request"]


def test_a_deadline_is_carried_and_reported(bench: Any) -> None:
    bench.ask("in time", deadline=bench.now_ms + 3_600_000)
    bench.ask("too late", deadline=bench.now_ms + 1)
    bench.drain()
    ledger = bench.ledger()
    assert (ledger["deadlines_met:batch"], ledger["deadlines_missed:batch"]) == (1, 1)


def test_metadata_comes_back_as_it_was(bench: Any) -> None:
    request_id = bench.ask("hello", metadata='{"nested": {"a": [1, 2.50, "ü"]}, "n": null}', traceparent="00-ab-cd-01")
    bench.drain()
    assert bench.reply(request_id).metadata == {"nested": {"a": [1, 2.5, "ü"]}, "n": None}


def test_a_producers_own_fields_are_ignored(bench: Any) -> None:
    request_id = bench.ask("hello", **{"x-team": "shop"})
    bench.drain()
    assert bench.reply(request_id).status == "succeeded"


def test_nothing_is_left_behind(bench: Any) -> None:
    bench.ask_many(5)
    bench.ask("[[fail-once]]")
    bench.drain()
    left = {key.decode() for key in bench.run("KEYS", "*")}
    lane_keys = {key for key in left if key.startswith("batchline:{")}
    assert lane_keys == {keys.requests(CHAT), keys.walk(CHAT)}
    assert bench.run("XLEN", keys.requests(CHAT)) == 0
    assert not {keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL, keys.account_open("openai")} & left
