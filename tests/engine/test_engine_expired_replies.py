"""Replies that nobody reads in time are counted by the tick, and stand in the metrics."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batchline.engine import expiry
from batchline.exporter import StoreCollector
from batchline.store import keys

TTL = 604_800


def let_expire(bench: Any) -> None:
    """Let the time of every queue come."""
    ms = (TTL + 1) * 1000
    for queue, due in bench.run("ZRANGE", keys.UNREAD, 0, -1, "WITHSCORES"):
        bench.run("ZADD", keys.UNREAD, int(due) - ms, queue)
        bench.run("PEXPIREAT", queue, bench.run("PEXPIRETIME", queue) - ms)


def counted(bench: Any, kind: str, outcome: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings))
    return registry.get_sample_value("batchline_callbacks_total", {"kind": kind, "outcome": outcome})


def test_replies_that_expire_unread_are_counted_beside_those_delivered(bench: Any) -> None:
    bench.ask("one")
    bench.ask_many(2, reply_to="my-app")
    bench.ask_many(3, reply_to="stream:my-app")
    bench.drain()
    let_expire(bench)
    bench.tick()
    assert (counted(bench, "list", "delivered"), counted(bench, "stream", "delivered")) == (3, 3)
    assert (counted(bench, "list", "expired"), counted(bench, "stream", "expired")) == (3, 3)
    assert bench.run("KEYS", "batchline:repl*") == []
    assert bench.run("EXISTS", keys.UNREAD) == 0


def test_before_any_expired_both_kinds_stand_at_nothing(bench: Any) -> None:
    assert (counted(bench, "list", "expired"), counted(bench, "stream", "expired")) == (0, 0)


def test_a_tick_counts_nothing_twice_and_says_once_what_expired(bench: Any) -> None:
    bench.ask("one", reply_to="my-app")
    bench.drain()
    let_expire(bench)
    with capture_logs() as logs:
        bench.tick()
        bench.tick()
    assert [(each["replies"], each["queues"]) for each in logs if each["event"] == "replies.expired"] == [(1, 1)]
    assert counted(bench, "list", "expired") == 1


def test_one_tick_looks_so_often_at_most(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ask_many(3)
    bench.drain()
    let_expire(bench)
    monkeypatch.setattr(expiry, "LOOKS_PER_TICK", 1)
    monkeypatch.setattr("batchline.store.unread.Unread.expire.__kwdefaults__", {"most": 2})
    bench.tick()
    assert counted(bench, "list", "expired") == 2
    bench.tick()
    assert counted(bench, "list", "expired") == 3


def test_a_worker_that_dies_after_counting_leaves_nothing_to_count_again(bench: Any) -> None:
    bench.ask("one", reply_to="my-app")
    bench.drain()
    let_expire(bench)
    bench.first.store.unread.expire()  # its answer is lost with its worker
    bench.tick(bench.worker("second"))
    assert counted(bench, "list", "expired") == 1
