"""The connection and the figures: errors are translated, reading takes a bounded number of commands."""

from __future__ import annotations

import socket
from typing import Any
from unittest.mock import patch

import pytest
import redis

from batchline.errors import LeaseLost, StoreError, StoreFull, StoreUnreachable
from batchline.store import Store, keys
from batchline.store.connection import _client, translate
from batchline.store.ledger import LaneDepth, size_bucket, time_bucket


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.ResponseError("LEASELOST somebody else"), LeaseLost),
        (redis.exceptions.OutOfMemoryError("command not allowed"), StoreFull),
        (redis.ResponseError("Command # 1 caused error: OOM command not allowed when used memory"), StoreFull),
        (redis.ConnectionError("redis://:secret@host refused"), StoreUnreachable),
        (redis.TimeoutError("redis://:secret@host"), StoreUnreachable),
        (redis.ResponseError("WRONGTYPE"), StoreError),
    ],
)
def test_store_errors_are_ours_and_never_quote_the_url(error: redis.RedisError, kind: type[Exception]) -> None:
    ours = translate(error, "script settle")
    assert type(ours) is kind
    assert "script settle" in str(ours)
    assert "secret" not in str(ours)


@pytest.mark.parametrize(
    "read",
    [
        lambda s: s.ping(),
        lambda s: s.ledger.accounts(),
        lambda s: s.server.facts(),
        lambda s: s.batches.records(["b1"]),
        lambda s: s.batches.get("b1"),
        lambda s: s.intake.look(0, max_lanes=1),
        lambda s: s.callbacks.peek("k", timeout_s=0.01),
        lambda s: s.callbacks.reader("out", "me").acknowledge(1),
    ],
)
def test_a_store_out_of_reach_is_a_store_error(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchline.store.connection.RETRIES", 0)
    store = Store("redis://127.0.0.1:1/0")
    with pytest.raises(StoreError, match="cannot reach the store"):
        read(store)
    store.close()


def test_scripts_that_the_store_forgot_are_loaded_again(scene: Any) -> None:
    scene.enqueue("r1")
    scene.run("SCRIPT FLUSH")
    scene.enqueue("r2")
    scene.look()
    assert len(scene.entries()) == 2


def test_the_depth_of_a_lane_is_what_is_owed_and_what_was_ever_added(scene: Any) -> None:
    first, _ = scene.add("r1", "r2")
    scene.settle(scene.answer(first))
    scene.walk()
    assert scene.store.ledger.depths() == [
        LaneDepth(lane=scene.lane.name, owed=1, added=2, since_ms=scene.now - 10_000, dead=0)
    ]


def test_what_a_lane_took_in_counts_from_its_first_walk(scene: Any) -> None:
    scene.add("r1", "r2")
    assert [(depth.owed, depth.added) for depth in scene.store.ledger.depths()] == [(2, 0)]
    scene.walk()
    assert [(depth.owed, depth.added) for depth in scene.store.ledger.depths()] == [(2, 2)]


def test_an_entry_that_no_worker_has_walked_yet_is_as_old_as_it_is(scene: Any) -> None:
    scene.add("r1", ms=scene.now - 9_000)
    assert [depth.since_ms for depth in scene.store.ledger.depths()] == [scene.now - 9_000]


def test_an_unwalked_entry_behind_carried_ones_counts_from_the_last_that_was_walked(scene: Any) -> None:
    scene.add("r1", ms=scene.now - 90_000)
    scene.batch("r2")
    scene.add("r3", ms=scene.now - 2_000)
    assert [depth.since_ms for depth in scene.store.ledger.depths()] == [scene.now - 10_000]


def test_nothing_is_pending_where_all_that_is_there_is_carried(scene: Any) -> None:
    scene.batch("r1")
    (gone,) = scene.add("r2", ms=scene.now - 2_000)
    scene.run("XDEL", keys.requests(scene.lane.name), gone)
    assert [depth.since_ms for depth in scene.store.ledger.depths()] == [0]


def test_lanes_without_a_stream_have_no_depth(scene: Any) -> None:
    scene.run("SADD", "batchline:lanes", "a:chat:idle", "a:chat:broken")
    scene.run("SET", "batchline:{a:chat:broken}:requests", "x")
    assert scene.store.ledger.depths() == []


def test_a_walk_key_of_another_type_does_not_hide_the_depth_of_the_lanes(scene: Any) -> None:
    scene.add("r1")
    scene.run("SET", f"batchline:{{{scene.lane.name}}}:walk", "x")
    assert [depth.owed for depth in scene.store.ledger.depths()] == [1]


def test_accounts_are_read_in_the_order_in_which_they_were_first_used(scene: Any) -> None:
    scene.run("ZADD", "batchline:ledgers", 1, "b:chat:m", 2, "a:chat:m")
    scene.run("HSET", "batchline:ledger:b:chat:m", "retries:expired", 2, "retries:overloaded", 3)
    first, second = scene.store.ledger.accounts()
    assert (second.base, second.fields) == ("a:chat:m", {})
    assert (first.get("retries:expired"), first.get("batches")) == (2, 0)
    assert first.having("retries:") == {"expired": 2, "overloaded": 3}


@pytest.mark.parametrize(("seconds", "index"), [(0, 0), (1, 0), (1.001, 1), (90_000, 18), (90_001, 19)])
def test_a_time_counts_in_the_bucket_whose_upper_bound_it_does_not_pass(seconds: float, index: int) -> None:
    assert time_bucket(seconds) == index


@pytest.mark.parametrize(("requests", "index"), [(1, 0), (2, 1), (50_000, 7), (100_001, 9)])
def test_a_size_counts_in_the_bucket_whose_upper_bound_it_does_not_pass(requests: int, index: int) -> None:
    assert size_bucket(requests) == index


def test_a_store_that_never_answers_is_waited_for_once_for_each_repeat() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        asked: list[str] = []
        client = _client(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout_s=0.01, retries=2)
        waits = client.connection_pool.connection_class._connect

        def counted(self: Any) -> Any:
            asked.append("once more")
            return waits(self)

        with (
            patch.object(client.connection_pool.connection_class, "_connect", counted),
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
        client.close()
    assert len(asked) == 3


def test_connecting_takes_no_longer_than_an_answer_may() -> None:
    assert (
        _client("redis://127.0.0.1:1/0", timeout_s=1.5, retries=1).connection_pool.connection_kwargs[
            "socket_connect_timeout"
        ]
        == 1.5
    )
