"""Dead letters: what is given up after its last attempt is kept whole; sent again, it is a request like any other."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from batchline.engine.entries import read_history
from batchline.exporter import StoreCollector
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"


def letters(bench: Any) -> list[Any]:
    return list(bench.store.dead.letters(bench.store.dead.newest(100), bodies=True))


def redrive(bench: Any) -> int:
    moved: int = bench.store.dead.redrive(bench.store.dead.newest(100))
    return moved


def counted(bench: Any) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings))
    return {
        sample.labels["model"]: sample.value
        for family in registry.collect()
        if family.name == "batchline_dead_letters"
        for sample in family.samples
    }


def test_a_request_out_of_attempts_is_kept_with_its_fields_and_every_error(bench: Any) -> None:
    request_id = bench.ask("one [[fail]]", metadata='{"k": 1}', reply_to="out")
    bench.drain(rounds=200)
    (letter,) = letters(bench)
    assert (letter.lane, letter.fields[b"id"], letter.fields[b"reply_to"]) == (CHAT, request_id.encode(), b"out")
    assert letter.fields[b"metadata"] == b'{"k": 1}'
    assert b"one [[fail]]" in letter.fields[b"body"]
    history = read_history(letter.attempts)
    assert (history.used, len(history.errors)) == (3, 3)
    assert len({error.batch for error in history.errors}) == 3
    (reply,) = bench.queue(keys.reply_list("out"))
    assert reply.attempts == 3


@pytest.mark.parametrize("marker", ["", "[[reject]]", "[[fail-once]]"])
def test_what_was_answered_or_refused_leaves_no_dead_letter(bench: Any, marker: str) -> None:
    bench.ask(f"one {marker}")
    bench.drain(rounds=200)
    assert letters(bench) == []


def test_a_cancelled_request_leaves_no_dead_letter(bench: Any) -> None:
    request_id = bench.ask("one [[fail]]")
    bench.tick()
    bench.store.intake.cancel(CHAT, bench.entry_of(request_id))
    bench.drain()
    assert letters(bench) == []


def test_a_redriven_request_is_answered_again_under_the_same_id_with_all_attempts_before_it(bench: Any) -> None:
    request_id = bench.ask("one [[fail]]", reply_to="out")
    bench.drain(rounds=200)
    assert redrive(bench) == 1
    bench.drain(rounds=200)
    replies = bench.queue(keys.reply_list("out"))
    assert [(reply.id, reply.status, reply.attempts) for reply in replies] == [(request_id, "failed", 3)] * 2
    assert len(letters(bench)) == 1


def test_a_redriven_request_that_is_answered_now_is_no_dead_letter_any_more(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    request_id = bench.ask("one [[fail-once]]", reply_to="out")
    bench.drain(rounds=200)
    redrive(bench)
    bench.drain(rounds=200)
    replies = bench.queue(keys.reply_list("out"))
    assert [(reply.id, reply.status) for reply in replies] == [(request_id, "failed"), (request_id, "succeeded")]
    assert letters(bench) == []


def test_a_worker_that_dies_after_giving_up_leaves_one_letter_and_one_reply(bench: Any, death: Any) -> None:
    bench.set("retry", max_attempts=1)
    bench.ask("one [[fail]]")
    bench.first.settling.break_after("settle", death())
    with pytest.raises(death):
        bench.drain()
    bench.lapse()
    bench.drain(bench.worker("second"))
    assert len(letters(bench)) == 1
    assert bench.statuses() == {"failed": 1}


def test_dead_letters_are_a_metric_that_begins_at_zero(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    bench.ask("one")
    bench.tick()
    assert counted(bench) == {"gpt-5-mini": 0}
    bench.ask("two [[fail]]")
    bench.drain()
    assert counted(bench) == {"gpt-5-mini": 1}
    bench.store.dead.drop([place for page in bench.store.dead.scan(until_ms=time.time_ns()) for place in page])
    assert counted(bench) == {"gpt-5-mini": 0}
