"""expire: replies that nobody reads in time are counted, and nothing that was read is."""

from __future__ import annotations

from typing import Any

from batchline.store import Store, keys
from batchline.store.callbacks import LONGER_S
from batchline.store.settling import Queue

LANE = "openai:chat:gpt-5-mini"
OUT = keys.reply_list("out")
TTL = 604_800


def own(request_id: str) -> str:
    return keys.reply_default(LANE, request_id)


def reply(scene: Any, *ids: str, queue: str = OUT, kind: Any = "list") -> None:
    """Settle requests into a queue; '' for the default queue of each."""
    for each in ids:
        (entry,) = scene.add(each)
        where = Queue(kind=kind, key=queue or own(each), default=own(each))
        assert scene.settle(scene.answer(entry, each, queue=where)) == [1]


def expired(scene: Any) -> dict[str, int]:
    """Look once and return all that was ever counted."""
    scene.store.unread.expire()
    return dict(scene.store.unread.expired())


def test_replies_of_a_shared_list_are_counted_and_deleted(scene: Any) -> None:
    reply(scene, "r1", "r2")
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:list:expired": 2}
    assert OUT not in scene.key_names()
    assert scene.waiting() == []


def test_the_reply_in_a_requests_own_queue_is_counted_and_deleted(scene: Any) -> None:
    reply(scene, "r1", queue="")
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:list:expired": 1}
    assert own("r1") not in scene.key_names()


def test_nothing_expires_before_its_time(scene: Any) -> None:
    reply(scene, "r1")
    reply(scene, "r2", queue="")
    scene.let_pass(TTL - 5)
    assert expired(scene) == {}
    assert scene.waiting() == sorted([OUT, own("r2")])


def test_a_push_prolongs_a_shared_list(scene: Any) -> None:
    reply(scene, "r1")
    scene.let_pass(TTL - 5)
    reply(scene, "r2")
    scene.let_pass(10)
    assert expired(scene) == {}
    scene.let_pass(TTL)
    assert expired(scene) == {"callbacks:list:expired": 2}


def test_a_reader_that_takes_prolongs_what_is_left(scene: Any) -> None:
    reply(scene, "r1", "r2")
    scene.let_pass(TTL - 5)
    reader = scene.reader()
    reader.take(timeout_s=0)
    reader.acknowledge(1)
    scene.let_pass(10)
    assert expired(scene) == {}
    scene.let_pass(TTL)
    assert expired(scene) == {"callbacks:list:expired": 1}


def test_a_reply_that_its_request_waited_for_was_read(scene: Any) -> None:
    reply(scene, "r1", queue="")
    scene.let_pass(3600)
    assert scene.store.callbacks.peek(own("r1"), timeout_s=0) == b"reply r1"
    scene.let_pass(TTL - 3600 + 1)
    assert expired(scene) == {}
    assert scene.waiting() == []
    assert 0 < scene.run("TTL", own("r1")) <= TTL


def test_a_second_reply_to_a_request_that_read_its_first_counts_again(scene: Any) -> None:
    reply(scene, "r1", queue="")
    scene.let_pass(3600)
    scene.store.callbacks.peek(own("r1"), timeout_s=0)
    reply(scene, "r1", queue="")
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:list:expired": 2}


def test_a_queue_that_was_read_empty_is_forgotten_at_once(scene: Any) -> None:
    reply(scene, "r1", queue="")
    scene.run("BLPOP", own("r1"), 1)
    assert expired(scene) == {}
    assert scene.waiting() == []


def test_a_list_whose_readers_hold_everything_is_not_forgotten(scene: Any) -> None:
    reply(scene, "r1")
    reader = scene.reader()
    reader.take(timeout_s=0)
    assert expired(scene) == {}
    assert scene.waiting() == [OUT]
    scene.let_pass(TTL + 1)
    assert expired(scene) == {}
    assert scene.waiting() == [OUT]
    scene.let_pass(LONGER_S)
    assert expired(scene) == {}
    assert scene.waiting() == []


def test_what_a_reader_gave_back_is_counted(scene: Any) -> None:
    reply(scene, "r1")
    scene.reader("dead").take(timeout_s=0)
    expired(scene)
    scene.run("ZADD", keys.readers("out"), 1, "dead")
    scene.reader("other").acknowledge(1)
    assert scene.replies() == [b"reply r1"]
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:list:expired": 1}


def test_a_stream_nobody_reads_is_counted_whole(scene: Any) -> None:
    stream = keys.reply_stream("out")
    reply(scene, "r1", "r2", queue=stream, kind="stream")
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:stream:expired": 2}
    assert stream not in scene.key_names()


def test_what_a_consumer_group_acknowledged_of_a_stream_was_read(scene: Any) -> None:
    stream = keys.reply_stream("out")
    reply(scene, "r1", "r2", "r3", queue=stream, kind="stream")
    scene.run("XGROUP CREATE", stream, "app", "0")
    scene.run("XREADGROUP", "GROUP", "app", "me", "COUNT", 2, "STREAMS", stream, ">")
    scene.run("XACK", stream, "app", scene.run("XRANGE", stream, "-", "+")[0][0])
    scene.let_pass(TTL + 1)
    assert expired(scene) == {"callbacks:stream:expired": 2}


def test_of_several_groups_the_one_that_read_most_counts(scene: Any) -> None:
    stream = keys.reply_stream("out")
    reply(scene, "r1", "r2", queue=stream, kind="stream")
    for group in ("one", "two"):
        scene.run("XGROUP CREATE", stream, group, "0")
    scene.run("XREADGROUP", "GROUP", "two", "me", "NOACK", "STREAMS", stream, ">")
    scene.let_pass(TTL + 1)
    assert expired(scene) == {}
    assert stream not in scene.key_names()


def test_a_queue_that_somebody_made_lasting_is_left_alone(scene: Any) -> None:
    reply(scene, "r1")
    scene.run("PERSIST", OUT)
    scene.let_pass(TTL + 1)
    assert expired(scene) == {}
    assert scene.replies() == [b"reply r1"]
    assert scene.waiting() == []


def test_nothing_but_a_callback_queue_is_ever_deleted(scene: Any) -> None:
    scene.add("r1")
    for key in (keys.requests(LANE), "batchline:reply:hash", "another:list"):
        scene.run("ZADD", keys.UNREAD, 1, key)
    scene.run("HSET", "batchline:reply:hash", "a", 1)
    scene.run("RPUSH", "another:list", 1)
    for key in (keys.requests(LANE), "batchline:reply:hash", "another:list"):
        scene.run("EXPIRE", key, 1000)
    before = scene.key_names() - {keys.UNREAD}
    assert expired(scene) == {}
    assert scene.key_names() == before


def test_the_store_expires_a_queue_a_day_later_by_itself(scene: Any) -> None:
    reply(scene, "r1")
    reply(scene, "r2", queue="")
    for queue in (OUT, own("r2")):
        assert TTL + LONGER_S - 5 < scene.run("TTL", queue) <= TTL + LONGER_S


def test_undelivered_replies_are_not_counted_twice(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("SET", OUT, "x")
    scene.run("SET", own("r1"), "x")
    assert scene.settle(scene.answer(entry)) == [3]
    assert scene.waiting() == []


def test_a_reply_at_the_default_queue_is_noted_there(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("SET", OUT, "x")
    assert scene.settle(scene.answer(entry)) == [2]
    assert scene.waiting() == [own("r1")]


def test_one_look_takes_so_many_and_says_whether_there_is_more(scene: Any) -> None:
    reply(scene, "r1", "r2", "r3", queue="")
    scene.let_pass(TTL + 1)
    looks = [scene.store.unread.expire(most=2) for _ in range(3)]
    assert [(look.lists, look.queues, look.more) for look in looks] == [(2, 2, True), (1, 1, False), (0, 0, False)]


def test_many_queues_that_were_read_empty_call_for_another_look(scene: Any) -> None:
    reply(scene, "r1", "r2", "r3", queue="")
    scene.run("DEL", own("r1"))
    assert scene.store.unread.expire().more
    assert not scene.store.unread.expire().more


def test_readers_and_settle_agree_on_how_much_later_the_store_expires(store: Store, scene: Any) -> None:
    reply(scene, "r1", "r2")
    scene.reader().take(timeout_s=0)
    ends = scene.run("PEXPIRETIME", OUT)
    (_, due), *_ = scene.run("ZRANGE", keys.UNREAD, 0, -1, "WITHSCORES")
    assert abs(ends - due - LONGER_S * 1000) < 60_000
