"""The store is replaced in the middle of a submit: what was looked at in the old one says nothing about the new one."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.engine.power_cuts.power import Power, before, go_on, known_store

from batchline.store import keys


def cut_once(power: Power, kept: list[int]) -> Any:
    """Return a stand-in for a method: the first call is answered by a store that came back with the last of these sizes."""
    done: list[bool] = []

    def call(real: Any, *args: Any, **named: Any) -> Any:
        if not done:
            done.append(True)
            power.cut(kept[-1])
        return real(*args, **named)

    return call


def test_between_the_look_and_the_claim(bench: Any, power: Power) -> None:
    known_store(bench, power)
    intents = before(bench, power, "intent")
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.state == "submitted"
    second = bench.worker("second")
    lose = cut_once(power, intents)

    def claim(real: Any, *args: Any, **named: Any) -> Any:
        lose(lambda: bench.run("HSET", keys.batch(batch.id), "lease_until", 1))
        return real(*args, **named)

    second.batches.replace("claim", claim)
    second.submit(batch.id)
    bench.lapse()
    bench.advance(60)
    go_on(bench)
    assert bench.created("openai") == 2
    assert bench.bill()["double_executions"] == 0


def test_inside_the_intent(bench: Any, power: Power) -> None:
    """The client sends the call again to the new store, which has forgotten that a retry rides along."""
    known_store(bench, power)
    bench.ask("again [[fail-once]]")
    bench.tick()
    bench.advance(10)
    bench.tick()
    rides = before(bench, power, "ride")
    bench.first.batches.replace("intent", cut_once(power, rides))
    jobs = bench.emulator.jobs
    jobs._options = dataclasses.replace(jobs._options, latency_s=3600)
    bench.ask("fresh")
    bench.advance(180)
    bench.tick()
    assert not bench.first.lost
    bench.set("reconcile", audit_every=0.001)
    bench.lapse()
    bench.advance(5)
    bench.drain(bench.worker("second"), rounds=300)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.bill()["double_executions"] == 0
