"""settle adds up what can be added up: it looks at all counts before its first write, and no counter ever grows too large."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.requests import Cost, Usage
from batchline.store import keys

MOST = 9 * 10**18
FREE = Cost(list_nano=0, paid_nano=0)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_tokens=2**64 - 1), FREE),
        (Usage(output_tokens=-1), FREE),
        (Usage(), Cost(list_nano=2**53, paid_nano=0)),
    ],
)
def test_a_count_that_cannot_be_added_up_is_refused_with_nothing_written(scene: Any, usage: Usage, cost: Cost) -> None:
    batch = scene.ended("r1", "r2")
    first, second = scene.carried(batch)
    before = scene.snapshot()
    with pytest.raises(StoreError, match="BADCOUNT"):
        scene.settle(scene.answer(first), scene.answer(second, "r2", usage=usage, cost=cost), batch=batch)
    assert scene.snapshot() == before


@pytest.mark.parametrize("command", [("HSET", "settled:succeeded:batch", "many"), ("HSET", "unpriced", "1.5")])
def test_a_ledger_that_cannot_be_counted_in_is_told_before_anything_is_written(scene: Any, command: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    scene.run(command[0], keys.ledger(scene.lane.base), *command[1:])
    before = scene.snapshot()
    with pytest.raises(StoreError, match=f"BADCOUNT .*{command[1]} is no integer"):
        scene.settle(scene.answer(entry), batch=batch)
    assert scene.snapshot() == before


def test_a_ledger_of_another_type_is_told_before_anything_is_written(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    scene.run("DEL", keys.ledger(scene.lane.base))
    scene.run("SET", keys.ledger(scene.lane.base), "mine")
    before = scene.snapshot()
    with pytest.raises(StoreError):
        scene.settle(scene.answer(entry), batch=batch)
    assert scene.snapshot() == before


def test_sums_of_a_batch_that_cannot_be_counted_in_are_told_before_anything_is_written(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    scene.run("HSET", keys.batch(batch.id), "paid_nano", "much")
    before = scene.snapshot()
    with pytest.raises(StoreError, match=r"BADCOUNT .*paid_nano is no integer"):
        scene.settle(scene.answer(entry), batch=batch)
    assert scene.snapshot() == before


def test_a_counter_stops_at_its_most_and_the_others_count_on(scene: Any) -> None:
    batch = scene.ended("r1", "r2")
    cost = Cost(list_nano=20_000, paid_nano=10_000)
    scene.run("HSET", keys.ledger(scene.lane.base), "paid_nano:batch", MOST - 5_000)
    scene.run("HSET", keys.batch(batch.id), "paid_nano", MOST - 5_000)
    for entry, name in zip(scene.carried(batch), ("r1", "r2"), strict=True):
        assert scene.settle(scene.answer(entry, name, cost=cost), batch=batch) == [1]
    ledger = scene.ledger()
    assert MOST - 5_000 <= ledger["paid_nano:batch"] <= MOST + 5_000
    assert MOST - 5_000 <= scene.get().paid_nano <= MOST + 5_000
    assert (ledger["list_nano:batch"], ledger["settled:succeeded:batch"], scene.get().succeeded) == (40_000, 2, 2)


def test_500_answers_at_the_most_that_one_may_cost_are_added_up_exactly(scene: Any) -> None:
    entries = scene.add_many(500)
    most = Cost(list_nano=10**13, paid_nano=10**13 - 1)
    usage = Usage(input_tokens=10**12 - 1, output_tokens=10**12 - 1)
    answers = [scene.answer(entry, f"r{n}", usage=usage, cost=most) for n, entry in enumerate(entries)]
    assert scene.settle(*answers) == [1] * 500
    ledger = scene.ledger()
    assert (ledger["list_nano:batch"], ledger["paid_nano:batch"]) == (500 * 10**13, 500 * (10**13 - 1))
    assert ledger["tokens:output"] == ledger["tokens:input_uncached"] == 500 * (10**12 - 1)
