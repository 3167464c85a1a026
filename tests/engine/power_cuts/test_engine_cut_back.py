"""A power cut takes back the end of the append-only file: no paid batch is lost, and what is paid twice is on record.

The store is killed, its append-only file is cut back to where it ended at a moment of the test's choice, and the store is
started over what is left. That is what a power cut leaves with ``appendfsync everysec``, which takes a second at most;
here it may take more: what lies before an intent is lost by a failover to a replica that lagged, or by a disk that lied.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from tests.engine.power_cuts.power import Power, before, go_on, known_store

from batchline.engine import auditor
from batchline.errors import Retryable, StoreError
from batchline.requests import Request
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
CLAUDE = "anthropic:messages:claude-haiku-4-5"
ASKED = 3


def check_paid_once(bench: Any, kind: str, lane: str) -> None:
    assert bench.created(kind) == 1
    assert bench.bill()["executions"] == {kind: ASKED}
    assert bench.bill()["double_executions"] == 0
    assert bench.ledger(lane)["settled:succeeded:batch"] == ASKED
    assert bench.ledger(lane)["wasted_nano:unmatched"] == 0


def billed(bench: Any) -> int:
    """Return what the emulator charged, in nano-dollars."""
    return sum(row["paid_nano_usd"] for row in bench.bill()["models"])


LANES = [("openai", CHAT), ("anthropic", CLAUDE)]
FORGOTTEN = ["cut", "intent"]


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_a_forgotten_end_of_the_create_is_found_at_the_provider(bench: Any, power: Power, kind: str, lane: str) -> None:
    kept = before(bench, power, "submitted")
    bench.ask_many(ASKED, lane)
    bench.tick()
    power.cut(kept[0])
    assert [batch.state for batch in bench.open_batches()] == ["submitting"]
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, kind, lane)


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_batch_with_a_tag_that_is_forgotten_whole_is_adopted(bench: Any, power: Power, forgotten: str) -> None:
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED)
    bench.tick()
    power.cut(kept[0])
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, "openai", CHAT)


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_batch_that_is_forgotten_with_its_answers_is_adopted(bench: Any, power: Power, forgotten: str) -> None:
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED)
    bench.drain()
    power.cut(kept[0])
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, "openai", CHAT)


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_batch_without_a_tag_that_has_ended_is_adopted_by_its_results(
    bench: Any, power: Power, forgotten: str
) -> None:
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED, CLAUDE)
    bench.drain()
    power.cut(kept[0])
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, "anthropic", CLAUDE)


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_batch_without_a_tag_that_still_runs_is_paid_beside_the_second_and_counted_as_waste(
    bench: Any, power: Power, forgotten: str
) -> None:
    bench.start(latency_s=600)
    kept = before(bench, power, forgotten)
    bench.ask_many(ASKED, CLAUDE)
    bench.tick()
    power.cut(kept[0])
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    assert bench.created("anthropic") == 2
    assert bench.bill()["double_executions"] == ASKED
    ledger = bench.ledger(CLAUDE)
    assert ledger["wasted_nano:unmatched"] == ledger["paid_nano:batch"] > 0
    assert ledger["wasted_nano:unmatched"] + ledger["paid_nano:batch"] == billed(bench)


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_a_reply_whose_settling_is_forgotten_comes_a_second_time_and_is_not_paid_again(
    bench: Any, power: Power, kind: str, lane: str
) -> None:
    bench.ask_many(ASKED, lane)
    bench.tick()
    kept = power.now()
    bench.drain()
    first = {name: reply.response for name, reply in bench.all_replies().items()}
    for name in bench.sent:
        assert bench.run("LPOP", keys.reply_default(lane, name))
    power.cut(kept)
    go_on(bench)
    assert {name: reply.response for name, reply in bench.all_replies().items()} == first
    check_paid_once(bench, kind, lane)


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_a_reply_whose_reading_is_forgotten_comes_a_second_time(bench: Any, power: Power, kind: str, lane: str) -> None:
    bench.ask_many(ASKED, lane)
    bench.drain()
    kept = power.now()
    for name in bench.sent:
        assert bench.run("LPOP", keys.reply_default(lane, name))
    power.cut(kept)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, kind, lane)


def test_half_of_the_answers_settled_and_half_forgotten_make_one_reply_each(bench: Any, power: Power) -> None:
    """A script stands in the file whole or not at all: what was settled by the last chunk is owed again, no more."""
    bench.ask_many(1000)
    bench.tick()
    sizes: list[int] = []

    def note(real: Any, *args: Any, **named: Any) -> Any:
        sizes.append(power.now())
        return real(*args, **named)

    bench.first.settling.replace("settle", note)
    bench.drain()
    assert len(sizes) > 1
    power.cut(sizes[1])
    assert 0 < bench.owed() < 1000
    go_on(bench)
    assert bench.statuses() == {"succeeded": 1000}
    assert bench.bill()["double_executions"] == 0


def test_a_batch_that_the_list_does_not_show_yet_is_waited_for(bench: Any, power: Power) -> None:
    bench.start(listing_lag_s=50)
    kept = known_store(bench, power)
    bench.ask_many(ASKED)
    bench.tick()
    power.cut(kept[-1])
    go_on(bench)
    assert bench.statuses() == {"succeeded": 1 + ASKED}
    assert bench.bill()["double_executions"] == 0
    assert bench.created() == 2


def test_what_a_worker_had_rendered_is_not_created_once_the_batch_is_found(bench: Any, power: Power) -> None:
    """It passed the audit before the provider listed the batch that the store forgot."""
    bench.start(listing_lag_s=50)
    kept = before(bench, power, "cut")
    bench.ask_many(ASKED)
    bench.tick()
    power.cut(kept[0])
    second, third = bench.worker("second"), bench.worker("third")

    def upload(real: Any, *args: Any, **named: Any) -> Any:
        bench.advance(60)
        auditor.audit_in_turn(third.context, "openai")
        return real(*args, **named)

    second.openai.replace("upload", upload)
    second.tick()
    assert second.lost
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, "openai", CHAT)


@pytest.mark.parametrize("which", ["first", "second"])
def test_two_workers_with_the_same_fence_create_one_batch(bench: Any, power: Power, which: str) -> None:
    """The first one's claim is forgotten while it uploads, so the second is given the same token."""
    known_store(bench, power)
    kept = before(bench, power, "claim")
    second = bench.worker("second")

    def upload(real: Any, *args: Any, **named: Any) -> Any:
        power.cut(kept[0])
        second.tick()
        bench.advance(300)
        if which == "second":
            second.tick()
        return real(*args, **named)

    bench.first.openai.replace("upload", upload)
    bench.ask_many(ASKED)
    with contextlib.suppress(StoreError):
        bench.tick()
    go_on(bench)
    assert bench.statuses() == {"succeeded": 1 + ASKED}
    assert bench.created() == 2
    assert bench.bill()["double_executions"] == 0


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_nothing_is_created_while_a_batch_was_found_and_its_requests_are_not_aboard(
    bench: Any, power: Power, monkeypatch: pytest.MonkeyPatch, kind: str, lane: str, death: Any
) -> None:
    kept = before(bench, power, "cut")
    bench.ask_many(ASKED, lane)
    bench.drain()
    power.cut(kept[0])

    def die(*_: Any, **__: Any) -> None:
        raise death

    monkeypatch.setattr(bench.first.store.orphans, "embark", die)
    with pytest.raises(death):
        bench.tick()
    (found,) = [batch for batch in bench.open_batches() if batch.orphan]
    second = bench.worker("second")
    bench.advance(60)
    second.tick()
    assert bench.created(kind) == 1, f"{found.id} is held by the worker that died, and may bring answers"
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    check_paid_once(bench, kind, lane)


def test_a_batch_that_was_found_and_is_refused_before_its_requests_are_aboard_goes_again(
    bench: Any, power: Power
) -> None:
    bench.start(validation_delay_s=60, missing_file_delay_s=60)
    kept = before(bench, power, "intent")
    bench.ask_many(ASKED)
    bench.tick()
    (batch,) = bench.open_batches()
    bench.providers["openai"].delete_file(batch.input_ref)
    power.cut(kept[0])
    bench.lapse()
    second = bench.worker("second")
    second.openai.break_before("sent", Retryable("away", account="openai", call="sent"))
    second.tick()
    assert [(batch.state, batch.embarks) for batch in bench.open_batches()] == [("submitted", True)]
    bench.lapse()
    bench.advance(90)
    third = bench.worker("third")

    def refused_first(real: Any, *args: Any, **named: Any) -> Any:
        """Another worker is quicker than this one, which has seen the batch as it was before."""
        second.poll(batch.id)
        return real(*args, **named)

    third.batches.replace("claim", refused_first)
    auditor.audit_in_turn(third.context, "openai")
    assert [(batch.state, batch.embarks) for batch in bench.open_batches()] == [("cut", False)]
    go_on(bench)
    assert bench.statuses() == {"succeeded": ASKED}
    assert bench.bill()["executions"] == {"openai": ASKED}


def test_a_retry_that_rode_along_is_not_sent_by_another_batch_when_its_ride_is_forgotten(
    bench: Any, power: Power
) -> None:
    bench.ask("again [[fail-once]]")
    kept = before(bench, power, "ride")
    bench.tick()
    bench.advance(60)
    bench.tick()
    bench.ask("new")
    bench.tick()
    (batch,) = bench.open_batches()
    assert (batch.state, batch.riders, batch.requests) == ("submitted", 1, 1)
    power.cut(kept[-1])
    go_on(bench)
    assert bench.statuses() == {"succeeded": 2}
    assert bench.created() == 2
    assert bench.bill()["double_executions"] == 0


def test_what_was_rendered_from_a_store_that_forgot_it_is_not_created(bench: Any, power: Power) -> None:
    """A worker uploads for minutes; the retry that it let ride is back in the pool when the store comes back."""
    bench.ask("again [[fail-once]]")
    bench.tick()
    bench.advance(60)
    bench.tick()
    kept = before(bench, power, "ride")

    def upload(real: Any, *args: Any, **named: Any) -> Any:
        power.cut(kept[0])
        return real(*args, **named)

    bench.first.openai.replace("upload", upload)
    bench.ask("new")
    bench.tick()
    assert bench.created() == 1
    go_on(bench)
    assert bench.statuses() == {"succeeded": 2}
    assert bench.bill()["double_executions"] == 0


def test_a_request_accepted_in_the_lost_second_is_gone_and_its_producer_believes_it_accepted(
    bench: Any, power: Power
) -> None:
    bench.ask("kept", id="kept")
    kept = power.now()
    bench.ask("lost", id="lost")
    power.cut(kept)
    bench.sent.remove("lost")
    go_on(bench)
    assert bench.statuses() == {"succeeded": 1}
    assert bench.bill()["executions"] == {"openai": 1}


def test_a_lost_request_that_is_asked_again_is_accepted_as_if_it_were_new(bench: Any, power: Power) -> None:
    request = Request(id="lost", lane=CHAT, body=b'{"model":"gpt-5-mini","messages":[{"role":"user","content":"x"}]}')
    kept = power.now()
    for _ in range(2):
        (first,) = bench.store.intake.enqueue([(request, 86_400_000)])
    assert not first.new
    power.cut(kept)
    (accepted,) = bench.store.intake.enqueue([(request, 86_400_000)])
    assert accepted.new
    bench.drain(step_s=60)
    assert bench.reply("lost").status == "succeeded"


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_what_was_paid_for_requests_that_are_gone_is_counted_as_waste(
    bench: Any, power: Power, kind: str, lane: str
) -> None:
    bench.ask("kept", lane)
    bench.drain()
    kept = power.now()
    for text in ("lost one", "lost two"):
        bench.ask(text, lane, id=text)
    bench.drain()
    power.cut(kept)
    bench.sent = bench.sent[:1]
    go_on(bench)
    bench.ask("another", lane)
    bench.drain()
    assert bench.statuses() == {"succeeded": 2}
    ledger = bench.ledger(lane)
    assert ledger["wasted_nano:unmatched"] > 0
    assert ledger["wasted_nano:unmatched"] + ledger["paid_nano:batch"] == billed(bench)
