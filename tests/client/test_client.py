"""Enqueue through the client and read replies, against a real store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest

from batchline import Client, Reply, RequestFailed
from batchline.errors import InvalidRequest, UsageError
from batchline.requests import Reply as WireReply
from batchline.requests import ReplyError, Timing, encode_reply
from batchline.settings import load_settings
from batchline.store import Store, keys

LANE = "openai:chat:gpt-5-mini"
HELLO: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    ids = (f"made-{n}" for n in count())
    with Client(store.connection.url, settings=load_settings(environ={}), new_id=lambda: next(ids)) as client:
        yield client


def wire(request_id: str, **given: Any) -> WireReply:
    usual: dict[str, Any] = {"id": request_id, "status": "succeeded", "timing": Timing(enqueued=1, settled=2)}
    return WireReply(**usual | given)


def push(store: Store, key: str, *ids: str) -> None:
    for request_id in ids:
        store.connection.run("RPUSH", key, encode_reply(wire(request_id)))


def taken(store: Store, name: str, reader: str) -> int:
    return int(store.connection.run("LLEN", keys.reading(name, reader)))


def test_an_enqueued_request_stands_in_its_lane(client: Client, store: Store) -> None:
    ticket = client.enqueue(**HELLO, id="mine", metadata={"a": 1}, reply_to="app", deadline="6h")
    owed = store.settling.owed(LANE, [ticket.entry], bodies=True)[0]
    assert owed is not None
    assert (ticket.id, ticket.lane, ticket.reply_to, ticket.new) == ("mine", LANE, "app", True)
    assert set(owed.fields) == {b"id", b"body", b"metadata", b"reply_to", b"deadline"}
    assert owed.fields[b"metadata"] == b'{"a":1}'


def test_an_id_that_is_enqueued_twice_is_one_request(client: Client) -> None:
    first, second = client.enqueue(**HELLO, id="mine"), client.enqueue(**HELLO, id="mine")
    assert (first.entry, second.new) == (second.entry, False)


def test_many_requests_get_their_tickets_in_order(client: Client, store: Store) -> None:
    tickets = client.enqueue_many(({**HELLO, "id": f"r{n}"} for n in range(1_203)), reply_to="app")
    assert [ticket.id for ticket in tickets] == [f"r{n}" for n in range(1_203)]
    assert {ticket.reply_to for ticket in tickets} == {"app"}
    assert store.ledger.depths()[0].owed == 1_203


def test_an_endless_iterator_is_enqueued_as_far_as_tickets_are_asked_for(client: Client, store: Store) -> None:
    tickets = list(islice(client.enqueue_iter({**HELLO, "id": str(n)} for n in count()), 1_001))
    assert len(tickets) == 1_001
    assert store.ledger.depths()[0].owed == 1_500


def test_a_bad_request_among_many_is_named_by_its_index(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="request 1: body asks for a stream"):
        client.enqueue_many([HELLO, {**HELLO, "stream": True}])


def test_what_is_no_mapping_among_many_is_named_by_its_index(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="request 1: "):
        client.enqueue_many([HELLO, "hello"])  # type: ignore[list-item]


def test_waiting_for_a_reply_does_not_take_it_away(client: Client, store: Store) -> None:
    ticket = client.enqueue(**HELLO)
    push(store, keys.reply_default(LANE, ticket.id), ticket.id)
    assert ticket.wait(timeout=1).id == ticket.wait(timeout=1).id == "made-0"


def test_a_ticket_can_be_made_again_from_lane_and_id(client: Client, store: Store) -> None:
    push(store, keys.reply_default(LANE, "https://x"), "https://x")
    assert client.ticket(LANE, "https://x").wait(timeout=1).id == "https://x"


def test_waiting_in_vain_ends_with_a_timeout(client: Client) -> None:
    ticket = client.enqueue(**HELLO)
    with pytest.raises(TimeoutError, match="still owed"):
        ticket.wait(timeout=0)


def test_a_request_with_a_shared_queue_cannot_be_waited_for(client: Client) -> None:
    with pytest.raises(UsageError, match=r"client\.replies\('app'\)"):
        client.enqueue(**HELLO, reply_to="app").wait()


def test_replies_come_in_order_and_end_after_silence(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), "a", "b", "c")
    assert [reply.id for reply in client.replies("app", timeout=0)] == ["a", "b", "c"]


def test_a_reply_is_acknowledged_when_the_next_is_asked_for(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), "a", "b")
    replies = client.replies("app", timeout=0, reader="me")
    next(replies)
    before = taken(store, "app", "me")
    list(replies)
    assert (before, taken(store, "app", "me")) == (1, 0)


def test_a_reader_that_comes_back_gets_what_it_had_not_acknowledged(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), "a", "b", "c")
    first = client.replies("app", timeout=0, reader="me")
    assert [next(first).id, next(first).id] == ["a", "b"]
    del first
    assert [reply.id for reply in client.replies("app", timeout=0, reader="me")] == ["b", "c"]


def test_a_client_that_breaks_off_and_goes_on_reads_everything(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), *"abcdefgh")
    for reply in client.replies("app", timeout=0):
        if reply.id == "d":
            break
    assert [reply.id for reply in client.replies("app", timeout=0)] == list("defgh")


def test_two_readers_of_one_client_share_the_queue(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), "a", "b", "c")
    first, second = client.replies("app", timeout=0), client.replies("app", timeout=0)
    ids = [next(first).id, next(second).id, *(reply.id for reply in first)]
    assert sorted(ids) == ["a", "b", "c"]


def test_one_readers_name_cannot_be_used_twice_at_once(client: Client, store: Store) -> None:
    push(store, keys.reply_list("app"), "a", "b")
    first = client.replies("app", timeout=0, reader="me")
    next(first)
    with pytest.raises(UsageError, match="reading already"):
        next(client.replies("app", timeout=0, reader="me"))


def test_what_is_no_reply_is_named_and_does_not_block_the_queue(client: Client, store: Store) -> None:
    store.connection.run("RPUSH", keys.reply_list("app"), "junk")
    push(store, keys.reply_list("app"), "a")
    with pytest.raises(UsageError, match="no reply of batchline"):
        list(client.replies("app", timeout=0))
    assert [reply.id for reply in client.replies("app", timeout=0)] == ["a"]


@pytest.mark.parametrize("name", ["stream:app", "a:b", ""])
def test_only_lists_can_be_read(client: Client, name: str) -> None:
    with pytest.raises(UsageError):
        next(client.replies(name, timeout=0))


def test_a_failed_reply_raises_its_reason() -> None:
    error = ReplyError(code="expired", message="the window passed", retryable=True)
    with pytest.raises(RequestFailed, match="request 'a' failed: expired: the window passed") as caught:
        Reply(wire("a", status="failed", error=error)).raise_for_status()
    assert caught.value.reply.error is error


def test_a_reply_shows_no_answer_in_its_repr() -> None:
    assert repr(Reply(wire("a"))) == "Reply(id='a', status='succeeded')"
