"""``batchline cancel``: what it says, and its exit codes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.cli.kit import CHAT, Command, chat_line, written

from batchline.budgets import Pool
from batchline.lanes import parse_lane
from batchline.store import Store, keys


def enqueued(batchline: Command, *ids: str) -> None:
    batchline("enqueue", written(Path("in.jsonl"), *map(chat_line, ids)), "--reply-to", "out")


def cut(store: Store) -> None:
    now_ms = time.time_ns() // 1_000_000
    limits = {"max_requests": 100, "max_bytes": 10**6, "max_tokens": None, "row_bytes": 150, "bytes_per_token": 4.0}
    seen = store.intake.walk(CHAT, now_ms=now_ms, **limits)  # type: ignore[arg-type]
    store.batches.cut(
        parse_lane(CHAT), seen, "age", batch_id="b1", now_ms=now_ms, max_open=9, max_creates=9, pool=Pool(name="m")
    )


def replies(store: Store) -> list[bytes]:
    found: list[bytes] = store.connection.run("LRANGE", keys.reply_list("out"), 0, -1)
    return found


def test_a_pending_request_is_answered_as_cancelled(batchline: Command, store: Store) -> None:
    enqueued(batchline, "a", "b")
    done = batchline("cancel", "request", CHAT, "a")
    assert (done.code, done.out) == (0, "1 cancelled and answered\n")
    (reply,) = replies(store)
    assert b'"cancelled"' in reply


def test_a_request_that_is_owed_nothing_is_exit_code_1(batchline: Command, store: Store) -> None:
    enqueued(batchline, "a")
    batchline("cancel", "request", CHAT, "a")
    for request_id in ("a", "nothing"):
        done = batchline("cancel", "request", CHAT, request_id)
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1
    assert len(replies(store)) == 1


def test_a_batch_in_cut_is_cancelled(batchline: Command, store: Store) -> None:
    enqueued(batchline, "a", "b")
    cut(store)
    done = batchline("cancel", "batch", "b1")
    assert (done.code, done.out.splitlines()[1][:12]) == (0, "2 in batches")
    batch = store.batches.get("b1")
    assert batch is not None
    assert batch.cancel_ms > 0


def test_a_settled_batch_is_exit_code_1(batchline: Command, store: Store) -> None:
    enqueued(batchline, "a")
    cut(store)
    store.connection.run("HSET", keys.batch("b1"), "state", "settled")
    assert batchline("cancel", "batch", "b1").code == 1


def test_a_lane_is_cancelled(batchline: Command, store: Store) -> None:
    enqueued(batchline, "a", "b")
    cut(store)
    enqueued(batchline, "c")
    done = batchline("cancel", "lane", CHAT)
    assert [line[:12] for line in done.out.splitlines()] == ["1 cancelled ", "2 in batches"]


@pytest.mark.parametrize(
    "arguments", [("batch", "nothing"), ("lane", "a:chat:typo"), ("request", "a:chat:typo", "a"), ("nothing",)]
)
def test_what_is_not_there_is_exit_code_2(batchline: Command, arguments: tuple[str, ...]) -> None:
    assert batchline("cancel", *arguments).code == 2


def test_an_unreachable_store_is_exit_code_3(command: Command) -> None:
    assert command("cancel", "lane", CHAT).code == 3
