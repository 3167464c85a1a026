"""Wherever a worker dies, another one goes on, each request is answered once and nothing is paid for twice."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import LeaseLost, StoreError
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LANES = [CHAT, HAIKU]
ASKED = 600
"""More than one chunk of results."""

# Where the first worker dies: (object, method), before or after the call took effect.
STORE_POINTS = ["cut", "ride", "claim", "intent", "submitted", "ended", "settled"]
PROVIDER_POINTS = ["create", "poll", "results"]


def go_on(bench: Any) -> None:
    """Let all leases lapse and a second worker take over, until nothing is owed."""
    bench.lapse()
    bench.advance(60)
    bench.drain(bench.worker("second"), step_s=60)


def die(bench: Any, death: Any) -> None:
    """Tick with the first worker until it dies."""

    def ticks() -> None:
        for _ in range(3):
            bench.tick()
            bench.advance(10)

    with pytest.raises(death):
        ticks()


def check(bench: Any, asked: int = ASKED) -> None:
    assert bench.statuses() == {"succeeded": asked}
    assert bench.bill()["double_executions"] == 0
    assert bench.owed() == 0
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("when", ["break_before", "break_after"])
@pytest.mark.parametrize("point", STORE_POINTS)
def test_a_death_at_a_transition_costs_nothing(bench: Any, death: Any, lane: str, when: str, point: str) -> None:
    bench.ask_many(20, lane)
    getattr(bench.first.batches, when)(point, death())
    die(bench, death)
    go_on(bench)
    check(bench, 20)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("when", ["break_before", "break_after"])
@pytest.mark.parametrize("point", PROVIDER_POINTS)
def test_a_death_at_a_providers_call_costs_nothing(bench: Any, death: Any, lane: str, when: str, point: str) -> None:
    bench.ask_many(20, lane)
    provider = bench.first.openai if lane == CHAT else bench.first.anthropic
    getattr(provider, when)(point, death())
    die(bench, death)
    go_on(bench)
    check(bench, 20)


@pytest.mark.parametrize("when", ["break_before", "break_after"])
def test_a_death_at_the_upload_costs_nothing(bench: Any, death: Any, when: str) -> None:
    bench.ask_many(20)
    getattr(bench.first.openai, when)("upload", death())
    die(bench, death)
    go_on(bench)
    check(bench, 20)
    assert bench.created() == 1


@pytest.mark.parametrize("when", ["break_before", "break_after"])
@pytest.mark.parametrize("chunk", [0, 1])
def test_a_death_in_the_middle_of_settling_costs_nothing(bench: Any, death: Any, when: str, chunk: int) -> None:
    bench.ask_many(ASKED)
    bench.tick()
    bench.advance(10)
    calls = [0]

    def settle(real: Any, lane: Any, found: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == chunk + 1 and when == "break_before":
            raise death
        codes = real(lane, found, **named)
        if calls[0] == chunk + 1:
            raise death
        return codes

    bench.first.settling.replace("settle", settle)
    with pytest.raises(death):
        bench.tick()
    go_on(bench)
    check(bench)
    assert bench.batches()[0].waste_nano == 0


@pytest.mark.parametrize("when", ["break_before", "break_after"])
def test_a_death_while_retries_are_noted_uses_one_attempt(bench: Any, death: Any, when: str) -> None:
    asked = [bench.ask(f"{n} [[fail-once]]") for n in range(5)]
    getattr(bench.first.settling, when)("retry", death())
    die(bench, death)
    go_on(bench)
    assert {bench.reply(request_id).attempts for request_id in asked} == {2}
    assert bench.ledger()["retries:provider_error"] == 5


def test_a_death_while_the_unsendable_are_settled_answers_them_once(bench: Any, death: Any) -> None:
    for n in range(5):
        bench.add(CHAT, id=f"bad{n}", body="[]")
        bench.sent.append(f"bad{n}")
    bench.ask_many(5)
    bench.first.settling.break_after("settle", death())
    die(bench, death)
    go_on(bench)
    assert bench.statuses() == {"failed": 5, "succeeded": 5}


def test_a_store_that_fails_for_a_while_loses_nothing(bench: Any) -> None:
    bench.ask_many(5)
    bench.first.batches.break_before("intent", StoreError("gone"))
    bench.tick()
    bench.lapse()
    bench.advance(60)
    bench.drain()
    check(bench, 5)


def test_until_its_lease_lapses_a_dead_workers_batch_is_left_alone(bench: Any, death: Any) -> None:
    bench.ask("hello")
    bench.first.openai.break_before("upload", death())
    die(bench, death)
    second = bench.worker("second")
    bench.advance(60)
    bench.tick(second)
    assert second.openai.calls["upload"] == 0
    bench.lapse()
    bench.advance(60)
    bench.tick(second)
    assert second.openai.calls["upload"] == 1


# --- two workers ---


def test_two_workers_that_poll_one_batch_give_one_answer_each(bench: Any) -> None:
    bench.ask_many(20)
    bench.tick()
    bench.advance(10)
    second = bench.worker("second")
    (batch,) = bench.batches()

    def meanwhile(real: Any, provider_id: str) -> Any:
        second.poll(batch.id)
        return real(provider_id)

    bench.first.openai.replace("poll", meanwhile)
    bench.first.poll(batch.id)
    assert second.openai.calls["poll"] == 0
    check(bench, 20)


def test_a_worker_that_wakes_up_late_changes_nothing(bench: Any) -> None:
    bench.ask_many(ASKED)
    bench.tick()
    bench.advance(10)
    second = bench.worker("second")
    (batch,) = bench.batches()

    def frozen(real: Any, progress: Any, _sent: Any) -> Any:
        yield from list(real(progress))[:500]
        bench.lapse()
        bench.advance(60)
        second.poll(batch.id)
        yield from list(real(progress))[500:]

    bench.first.openai.replace("results", frozen)
    bench.first.poll(batch.id)
    assert bench.first.lost
    check(bench)
    assert bench.batches()[0].succeeded == ASKED


def test_a_worker_that_wakes_up_before_its_create_does_not_create(bench: Any) -> None:
    bench.ask_many(5)
    second = bench.worker("second")

    def frozen(real: Any, rows: Any, job: Any) -> Any:
        uploaded = real(rows, job)
        bench.lapse()
        bench.advance(60)
        second.submit(bench.batches()[0].id)
        return uploaded

    bench.first.openai.replace("upload", frozen)
    bench.tick()
    assert bench.first.lost
    assert bench.first.openai.calls["create"] == 0
    bench.drain(second)
    check(bench, 5)
    assert bench.created() == 1


def test_a_worker_that_comes_late_with_its_new_batch_leaves_it_to_the_reconciler(bench: Any) -> None:
    bench.ask_many(5)
    second = bench.worker("second")

    def frozen(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        created = real(rows, job, timeout_s=timeout_s)
        bench.lapse()
        bench.advance(60)
        second.submit(bench.batches()[0].id)
        return created

    bench.first.openai.replace("create", frozen)
    bench.tick()
    assert bench.first.lost
    bench.drain(second)
    check(bench, 5)
    assert bench.created() == 1


def test_two_workers_that_tick_at_once_cut_a_range_once(bench: Any) -> None:
    bench.ask_many(5)
    second = bench.worker("second")

    def meanwhile(real: Any, *args: Any, **named: Any) -> Any:
        bench.first.batches.replace("cut", lambda real, *args, **named: real(*args, **named))
        second.tick()
        return real(*args, **named)

    bench.first.batches.replace("cut", meanwhile)
    bench.tick()
    bench.drain()
    check(bench, 5)
    assert len(bench.batches()) == 1


def test_a_lost_doorbell_rings_again_after_a_lease(bench: Any) -> None:
    bench.first.deaf = True
    bench.ask("hello")
    bench.tick()
    bench.first.deaf = False
    bench.advance(29)
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["cut"]
    bench.advance(1)
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["submitted"]


def test_a_doorbell_that_rings_twice_does_nothing(bench: Any) -> None:
    bench.ask("hello")
    bench.tick()
    (batch,) = bench.batches()
    for _ in range(3):
        bench.first.submit(batch.id)
        bench.first.poll(batch.id)
        bench.first.poll("no-such-batch")
    bench.drain()
    check(bench, 1)
    bench.first.poll(batch.id)
    bench.first.submit(batch.id)
    check(bench, 1)


def test_a_keeper_tells_that_its_lease_is_gone(bench: Any) -> None:
    from batchline.engine.leases import LeaseKeeper  # noqa: PLC0415

    bench.ask("hello")
    bench.first.deaf = True
    bench.tick()
    batch = bench.store.batches.claim(bench.batches()[0].id, holder="me", now_ms=bench.now_ms)
    bench.run("HINCRBY", keys.batch(batch.id), "fence", 1)
    keeper = LeaseKeeper(bench.store, batch, lease_s=0.003)
    with keeper:
        keeper._thread.join(timeout=10)
        with pytest.raises(LeaseLost):
            keeper.check()
