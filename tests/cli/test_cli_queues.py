"""``batchline enqueue`` and ``batchline collect``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.kit import CHAT, Command, answer, chat_line, failure, written

from batchline import client
from batchline.cli import queues
from batchline.cli.inputs import Input, check_input
from batchline.requests import encode_reply
from batchline.store import Store, keys


def fill(store: Store, *lines: bytes) -> None:
    for line in lines:
        store.connection.run("RPUSH", keys.reply_list("app"), line)


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def test_a_file_is_enqueued_once_however_often_it_is_asked(batchline: Command, store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"))
    first, second = (batchline("enqueue", source, "--reply-to", "app") for _ in range(2))
    assert (first.code, first.out) == (0, "2 requests enqueued\n")
    assert second.out == "0 requests enqueued, 2 had been enqueued before\n"
    assert [(depth.lane, depth.owed) for depth in store.ledger.depths()] == [(CHAT, 2)]


def test_what_had_been_enqueued_before_is_what_the_store_says(batchline: Command, store: Store, tmp_path: Path) -> None:
    batchline("enqueue", written(tmp_path / "in.jsonl", chat_line("a")))
    done = batchline("enqueue", written(tmp_path / "in.jsonl", *map(chat_line, "abc")))
    assert done.out == "2 requests enqueued, 1 had been enqueued before\n"


def test_requests_that_come_through_a_pipe_are_enqueued(
    batchline: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"{chat_line('a')}\n{chat_line('b')}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    done = batchline("enqueue", "-", "--reply-to", "app")
    assert (done.code, done.out) == (0, "2 requests enqueued\n")
    assert [(depth.lane, depth.owed) for depth in store.ledger.depths()] == [(CHAT, 2)]


@pytest.mark.parametrize(
    ("after", "enqueued"),
    [
        pytest.param([chat_line("a")], 1, id="it shrank"),
        pytest.param([chat_line(each) for each in "abc"], 2, id="it grew"),
    ],
)
def test_a_file_that_changes_while_it_is_enqueued_is_no_success(
    batchline: Command,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: list[str],
    enqueued: int,
) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"))

    def check(*given: Any, **named: Any) -> Input:
        checked = check_input(*given, **named)
        written(source, *after)
        return checked

    monkeypatch.setattr(queues, "check_input", check)
    monkeypatch.setattr(client, "MOST", 1)
    done = batchline("enqueue", source)
    assert (done.code, done.out) == (2, "")
    assert "in.jsonl: it was changed while it was read, and does not hold the 2 requests any more" in done.err
    assert f"{enqueued} are enqueued, and are not taken twice" in done.err
    assert [depth.owed for depth in store.ledger.depths()] == [enqueued]


@pytest.mark.parametrize("queue", ["a:b", "https://example.com"])
def test_a_queue_that_cannot_be_is_exit_code_2(batchline: Command, tmp_path: Path, queue: str) -> None:
    done = batchline("enqueue", written(tmp_path / "in.jsonl", chat_line("a")), "--reply-to", queue)
    assert done.code == 2
    assert "--reply-to" in done.err


def test_collect_ends_after_so_many_replies(batchline: Command, store: Store, tmp_path: Path) -> None:
    fill(store, *(encode_reply(answer(each)) for each in "abc"))
    done = batchline("collect", "app", "-o", tmp_path / "out.jsonl", "--count", "2")
    assert (done.code, lines(tmp_path / "out.jsonl")) == (0, ["a", "b"])


def test_collect_goes_on_where_it_ended(batchline: Command, store: Store, tmp_path: Path) -> None:
    fill(store, *(encode_reply(answer(each)) for each in "abc"))
    out = tmp_path / "out.jsonl"
    batchline("collect", "app", "-o", out, "--count", "2")
    assert (batchline("collect", "app", "-o", out, "--count", "1").code, lines(out)) == (0, ["a", "b", "c"])


def test_collect_ends_after_silence(batchline: Command, store: Store, tmp_path: Path) -> None:
    fill(store, encode_reply(answer("a")))
    done = batchline("collect", "app", "-o", tmp_path / "out.jsonl", "--timeout", "0")
    assert (done.code, lines(tmp_path / "out.jsonl")) == (0, ["a"])


def test_fewer_replies_than_asked_for_are_exit_code_1(batchline: Command, store: Store, tmp_path: Path) -> None:
    done = batchline("collect", "app", "-o", tmp_path / "out.jsonl", "--count", "1", "--timeout", "0")
    assert done.code == 1
    assert "only 0 of 1" in done.err


def test_a_failed_reply_is_exit_code_1(batchline: Command, store: Store, tmp_path: Path) -> None:
    fill(store, encode_reply(failure("a")))
    assert batchline("collect", "app", "-o", tmp_path / "out.jsonl", "--count", "1").code == 1


def test_a_collected_reply_is_taken_off_the_queue(batchline: Command, store: Store, tmp_path: Path) -> None:
    fill(store, encode_reply(answer("a")))
    batchline("collect", "app", "-o", tmp_path / "out.jsonl", "--count", "1")
    assert (
        store.connection.run("KEYS", "batchline:rep*:app") + store.connection.run("KEYS", "batchline:reading:*") == []
    )


def test_collect_mends_a_line_that_a_crash_left_unfinished(batchline: Command, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(encode_reply(answer("a")) + b'\n{"v":1,"id":"b')
    fill(store, encode_reply(answer("b")))
    batchline("collect", "app", "-o", out, "--count", "1")
    assert lines(out) == ["a", "b"]


@pytest.mark.parametrize("queue", ["stream:app", "a:b"])
def test_what_is_no_list_cannot_be_collected(batchline: Command, tmp_path: Path, queue: str) -> None:
    assert batchline("collect", queue, "-o", tmp_path / "out.jsonl", "--count", "1").code == 2
