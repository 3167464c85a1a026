"""``batchline dead``: list, show, redrive and drop; bodies only on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.cli.kit import CHAT, Command

from batchline.lanes import parse_lane
from batchline.requests import Usage
from batchline.store import Store, keys
from batchline.store.settling import Answer, Queue

NANO = "openai:chat:gpt-5-nano|tenant=acme"
PROMPT = "the secret prompt"
ERRORS = [
    {"code": "expired", "message": "the window passed", "batch": "b1", "at": 1_000},
    {"code": "missing", "message": "no result", "batch": "b2", "at": 2_000},
]
Bury = Callable[..., str]


@pytest.fixture
def bury(store: Store) -> Bury:
    """Give a request up; returns its entry id."""

    def give_up(request_id: str, lane: str = CHAT, *, at_ms: int = 5_000, **fields: Any) -> str:
        given = {"id": request_id, "body": json.dumps({"messages": PROMPT})} | fields
        flat = [part for pair in given.items() for part in pair]
        entry: str = store.connection.run("XADD", keys.requests(lane), "*", *flat).decode()
        store.connection.run("SADD", keys.LANES, lane)
        queue = Queue(kind="list", key=keys.reply_list("out"), default=keys.reply_list("out"))
        answer = Answer(
            entry=entry,
            request_id=request_id,
            queue=queue,
            status="failed",
            reply=b"{}",
            own=True,
            usage=Usage(),
            cost=None,
            dead=json.dumps({"used": 2, "errors": ERRORS}).encode(),
        )
        assert store.settling.settle(parse_lane(lane), [answer], batch=None, route="batch", now_ms=at_ms) == [1]
        return entry

    return give_up


def ids(store: Store, lane: str = CHAT) -> list[bytes]:
    return [fields[b"id"] for _, fields in store.connection.run("XRANGE", keys.requests(lane), "-", "+")]


def test_a_list_shows_the_newest_first_with_their_last_error_and_no_body(batchline: Command, bury: Bury) -> None:
    bury("a")
    bury("b", NANO, at_ms=6_000)
    shown = json.loads(batchline("dead", "list", "--json").out)
    assert [(each["id"], each["lane"], each["attempts"]) for each in shown] == [("b", NANO, 2), ("a", CHAT, 2)]
    assert shown[0]["last_error"] == {"code": "missing", "message": "no result"}
    plain = batchline("dead", "list").out
    assert "missing: no result" in plain
    assert PROMPT not in plain + json.dumps(shown)


def test_a_list_can_be_of_one_lane_and_short(batchline: Command, bury: Bury) -> None:
    bury("a")
    bury("b")
    bury("c", NANO)
    assert [each["id"] for each in json.loads(batchline("dead", "list", "--json", "--lane", NANO).out)] == ["c"]
    assert len(json.loads(batchline("dead", "list", "--json", "--most", "1").out)) == 1


def test_an_empty_list_says_so(batchline: Command) -> None:
    assert batchline("dead", "list").out == "no dead letters\n"
    assert json.loads(batchline("dead", "list", "--json").out) == []


def test_show_has_every_field_and_error_and_the_body_only_on_demand(batchline: Command, bury: Bury) -> None:
    entry = bury("a", metadata='{"k":1}', **{"x-own": "yes"})
    plain = batchline("dead", "show", CHAT, entry).out
    assert all(
        part in plain for part in ('{"k":1}', "yes", "expired: the window passed", "missing: no result", "batch b2")
    )
    assert PROMPT not in plain
    document = json.loads(batchline("dead", "show", CHAT, entry, "--json").out)
    assert document["errors"] == ERRORS
    assert "body" not in document["fields"]
    assert PROMPT in batchline("dead", "show", CHAT, entry, "--body").out


def test_bytes_that_are_no_text_are_shown_escaped(batchline: Command, bury: Bury) -> None:
    entry = bury("a", **{"x-own": b"\xff"})
    assert "\\xff" in batchline("dead", "show", CHAT, entry).out


def test_one_letter_is_redriven(batchline: Command, bury: Bury, store: Store) -> None:
    entry = bury("a")
    bury("b")
    assert batchline("dead", "redrive", CHAT, entry).out == "1 sent again\n"
    assert ids(store) == [b"a"]
    assert batchline("dead", "redrive", CHAT, entry).code == 2


def test_the_letters_of_a_lane_are_redriven(batchline: Command, bury: Bury, store: Store) -> None:
    bury("a")
    bury("b", NANO)
    assert batchline("dead", "redrive", "--lane", CHAT).out == "1 sent again\n"
    assert (ids(store), ids(store, NANO)) == ([b"a"], [])


def test_all_letters_are_redriven(batchline: Command, bury: Bury, store: Store) -> None:
    bury("a")
    bury("b", NANO)
    assert batchline("dead", "redrive", "--all").out == "2 sent again\n"
    assert batchline("dead", "redrive", "--all").out == "0 sent again\n"
    assert (ids(store), ids(store, NANO)) == ([b"a"], [b"b"])


def test_letters_are_dropped(batchline: Command, bury: Bury, store: Store) -> None:
    bury("a")
    entry = bury("b")
    assert batchline("dead", "drop", CHAT, entry).out == "1 dropped\n"
    assert batchline("dead", "drop", "--all").out == "1 dropped\n"
    assert store.connection.run("EXISTS", keys.DEAD, keys.dead(CHAT)) == 0


@pytest.mark.parametrize(
    "arguments", [("redrive", CHAT), ("redrive", CHAT, "1-1"), ("drop", "--all", "--lane", CHAT), ("show", CHAT, "1-1")]
)
def test_a_letter_that_is_not_there_or_not_named_is_exit_code_2(batchline: Command, arguments: tuple[str, ...]) -> None:
    done = batchline("dead", *arguments)
    assert (done.code, done.out) == (2, "")
