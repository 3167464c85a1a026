"""Reading callback queues: with acknowledgement, given back when a reader stays silent, and on a full store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.store import keys

OUT = keys.reply_list("out")
DEFAULT = keys.reply_default("openai:chat:gpt-5-mini", "r1")


def push(scene: Any, *replies: str, key: str = OUT) -> None:
    scene.run("RPUSH", key, *replies)


@pytest.fixture
def me(scene: Any) -> Iterator[Any]:
    reader = scene.reader()
    yield reader
    reader.close()


def test_peek_leaves_the_reply_where_it_is(scene: Any) -> None:
    push(scene, "one", key=DEFAULT)
    assert [scene.store.callbacks.peek(DEFAULT, timeout_s=0) for _ in range(2)] == [b"one", b"one"]
    assert scene.replies(DEFAULT) == [b"one"]


def test_peek_renews_the_expiry(scene: Any) -> None:
    push(scene, "one", key=DEFAULT)
    scene.store.callbacks.peek(DEFAULT, timeout_s=0)
    assert 604_000 < scene.run("TTL", DEFAULT) <= 604_800


def test_peek_returns_none_when_no_reply_comes(scene: Any) -> None:
    assert scene.store.callbacks.peek(DEFAULT, timeout_s=0.01) is None
    assert scene.key_names() == set()


def test_peek_at_a_key_of_another_type_is_an_error(scene: Any) -> None:
    scene.run("SET", DEFAULT, "x")
    with pytest.raises(StoreError):
        scene.store.callbacks.peek(DEFAULT, timeout_s=0.01)


def test_replies_are_taken_in_their_order(scene: Any, me: Any) -> None:
    push(scene, "one", "two")
    assert [me.take(timeout_s=0.01) for _ in range(3)] == [b"one", b"two", None]


def test_many_replies_are_taken_at_once(scene: Any, me: Any) -> None:
    push(scene, "one", "two", "three")
    assert (me.take_many(2), me.take_many(2), me.take_many(2)) == ([b"one", b"two"], [b"three"], [])


def test_what_was_taken_and_not_acknowledged_is_read_again(scene: Any, me: Any) -> None:
    push(scene, "one", "two", "three")
    me.take_many(3)
    me.acknowledge(1)
    assert scene.reader().resume() == [b"two", b"three"]


def test_what_was_acknowledged_is_gone(scene: Any, me: Any) -> None:
    push(scene, "one")
    me.take(timeout_s=0)
    me.acknowledge(1)
    assert me.resume() == []
    assert scene.key_names() == {keys.readers("out")}


def test_everything_a_reader_touches_expires(scene: Any, me: Any) -> None:
    push(scene, "one", "two", "three")
    me.take(timeout_s=0)
    assert all(scene.run("TTL", key) > 0 for key in scene.key_names())
    me.acknowledge(1)
    me.take_many(1)
    assert all(scene.run("TTL", key) > 0 for key in scene.key_names())


def test_a_reply_that_is_taken_when_it_comes_expires_too(scene: Any, me: Any) -> None:
    me.take_many = lambda _: []  # nothing there yet: the reader has to wait
    push(scene, "one")
    assert me.take(timeout_s=0.01) == b"one"
    assert scene.run("TTL", keys.reading("out", "me")) > 0


def test_two_readers_share_a_queue(scene: Any, me: Any) -> None:
    push(scene, "one", "two")
    you = scene.reader("you")
    assert (me.take(timeout_s=0), you.take(timeout_s=0)) == (b"one", b"two")
    you.close()
    assert me.resume() == [b"one"]


def test_replies_of_a_silent_reader_go_back_to_the_front_in_their_order(scene: Any, me: Any) -> None:
    scene.silent_reader("one", "two")
    push(scene, "three")
    assert me.take(timeout_s=0) == b"one"
    assert me.take_many(9) == [b"two", b"three"]
    assert scene.run("ZRANGE", keys.readers("out"), 0, -1) == [b"me"]


def test_a_reader_that_acknowledges_is_not_silent(scene: Any, me: Any) -> None:
    push(scene, "one", "two")
    me.take_many(2)
    scene.run("ZADD", keys.readers("out"), 0, "me")
    me.acknowledge(1)
    you = scene.reader("you")
    assert you.take(timeout_s=0) is None
    you.close()
    assert me.resume() == [b"two"]


def test_a_reader_does_not_give_back_what_it_took_itself(scene: Any, me: Any) -> None:
    push(scene, "one")
    me.take(timeout_s=0)
    scene.run("ZADD", keys.readers("out"), 0, "me")
    assert me.take(timeout_s=0) is None
    assert me.resume() == [b"one"]


def test_a_late_acknowledgement_drops_nothing_that_was_given_back(scene: Any, me: Any) -> None:
    push(scene, "one")
    me.take(timeout_s=0)
    scene.run("ZADD", keys.readers("out"), 0, "me")
    you = scene.reader("you")
    assert you.take(timeout_s=0) == b"one"
    me.acknowledge(1)
    assert you.resume() == [b"one"]
    you.close()


def test_replies_can_be_read_from_a_full_store(scene: Any, me: Any, full: Callable[[], None]) -> None:
    push(scene, "one", "two", "three")
    push(scene, "mine", key=DEFAULT)
    full()
    assert scene.store.callbacks.peek(DEFAULT, timeout_s=0.01) == b"mine"
    assert me.take(timeout_s=0.01) == b"one"
    assert me.take_many(9) == [b"two", b"three"]
    me.acknowledge(3)
    assert me.resume() == []


def test_waiting_at_a_full_store_finds_nothing_and_is_no_error(scene: Any, me: Any, full: Callable[[], None]) -> None:
    full()
    assert scene.store.callbacks.peek(DEFAULT, timeout_s=0.01) is None
    assert me.take(timeout_s=0.01) is None


def test_a_queue_of_another_type_is_an_error(scene: Any, me: Any) -> None:
    scene.run("SET", OUT, "x")
    with pytest.raises(StoreError):
        me.take(timeout_s=0)
