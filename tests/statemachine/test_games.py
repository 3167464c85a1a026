"""Games that were lost once, move by move: the accounts have no tags, and a create call's reply was lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from tests.statemachine.provider import Made
from tests.statemachine.world import CLAUDE, Bell, World

from batchline.local.store_process import StoreProcess


@pytest.fixture
def world(store_process: StoreProcess) -> Iterator[World]:
    world = World(store_process)
    yield world
    world.close()
    structlog.reset_defaults()


def go_on(world: World, seconds: float, times: int = 1) -> None:
    """Let time pass and do all that is due, so many times."""
    for _ in range(times):
        world.advance(seconds)
        world.tick()
        bells, world.bells = world.bells, []
        for bell in bells:
            world.answer(bell)
        world.check()


def sent_unheard(world: World, *, after: float = 6) -> Made:
    """Send two requests, so many seconds later, in a batch whose create call happens and whose reply is lost."""
    fake = world.fakes["anthropic"]
    before = set(fake.made)
    for _ in range(2):
        world.raw(CLAUDE, shared=False)
    world.tick()
    fake.moods = [("unheard", 0)]
    go_on(world, after)
    (made,) = (made for name, made in fake.made.items() if name not in before)
    return made


def test_a_batch_that_another_one_adopted_by_mistake_is_not_taken_for_absent(world: World) -> None:
    fake = world.fakes["anthropic"]
    foreign = fake.make(None, ["one", "two"])
    world.advance(70)
    first = sent_unheard(world)
    go_on(world, 6, 2)
    second = sent_unheard(world, after=50)  # when the first is listed, and the second is not yet
    go_on(world, 6)
    go_on(world, 65)
    fake.end(foreign, "completed", ["ok"])
    go_on(world, 30, 4)
    fake.end(first, "completed", ["ok"])
    go_on(world, 30, 12)
    assert set(fake.made) == {foreign.id, first.id, second.id}
    world.drain()


def test_the_audit_leaves_a_batch_to_the_reconciler_that_looks_for_it(world: World) -> None:
    fake = world.fakes["anthropic"]
    made = sent_unheard(world)
    world.advance(70)
    fake.end(made, "completed", ["ok"])
    world.answer(Bell("audit", "anthropic"))
    (batch,) = world.batches()
    for _ in range(8):
        world.advance(65)
        world.answer(Bell("submit", batch.id))
    assert set(fake.made) == {made.id}
    world.drain()
