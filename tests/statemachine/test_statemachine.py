"""Whatever happens in whatever order: every accepted request is answered exactly once, and nothing is paid for twice.

Hypothesis plays producers, workers, two providers, the store and its clock against the real scripts and the real engine.
``STATE_MACHINE_EXAMPLES`` and ``STATE_MACHINE_STEPS`` say how much of it, ``STATE_MACHINE_SEED`` which; the same three
numbers play the same game.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pytest
import structlog
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.statemachine.faults import Action, Fault
from tests.statemachine.provider import Ending, Mood, Verdict
from tests.statemachine.world import CHAT, CLAUDE, GHOST, Bell, World

from batchline.engine import settler, submitter
from batchline.local.store_process import StoreProcess
from batchline.store import batches

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "20"))
STEPS = int(os.environ.get("STATE_MACHINE_STEPS", "40"))
SEED = int(os.environ.get("STATE_MACHINE_SEED", "1"))
SHRINK = os.environ.get("STATE_MACHINE_SHRINK") == "1"

NUMBER = st.integers(0, 30)
LANE = st.sampled_from((CHAT, CLAUDE, CHAT, CLAUDE, GHOST))
KIND = st.sampled_from(("openai", "anthropic"))
ACTIONS = ("die_before", "die_after", "lose_before", "lose_after", "freeze_before", "freeze_after", "twice")
FAULTY = st.builds(Fault, st.sampled_from(ACTIONS), st.integers(1, 16))
FAULT = st.none() | FAULTY
MOOD: st.SearchStrategy[Mood] = st.sampled_from(("unheard", "unheard", "lost", "late", "late", "limited", "refused"))
ENDING: st.SearchStrategy[Ending] = st.sampled_from(
    ("completed", "completed", "expired", "cancelled", "no_file", "refused", "busy")
)
VERDICT: st.SearchStrategy[Verdict] = st.sampled_from(
    ("ok", "ok", "twice", "missing", "error", "expired", "rejected", "stranger")
)


class Machine(RuleBasedStateMachine):
    """The rules; what is chosen among things that change is a number, taken modulo how many there are."""

    process: StoreProcess
    heard: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.restarts = 0

    @initialize(chats=st.integers(0, 6), messages=st.integers(0, 6))
    def begin(self, chats: int, messages: int) -> None:
        self.world = World(self.process)
        clock = mock.Mock(monotonic=lambda: self.world.now_ms / 1000)
        self.patches: list[Any] = [
            mock.patch.object(settler, "CHUNK_RESULTS", 2),
            mock.patch.object(batches, "MOST", 2),
            mock.patch.object(submitter, "time", clock),
        ]
        for patch in self.patches:
            patch.start()
        for lane in (*[CHAT] * chats, *[CLAUDE] * messages):
            self.world.raw(lane, shared=False)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.world.drain()
        finally:
            for patch in self.patches:
                patch.stop()
            self.world.close()
            self.heard.update(self.world.heard)

    @invariant()
    def all_is_well(self) -> None:
        self.world.check()

    @rule(lane=LANE, count=st.integers(1, 5), shared=st.booleans(), nonsense=st.booleans())
    def enqueue(self, lane: str, count: int, shared: bool, nonsense: bool) -> None:
        for _ in range(count):
            self.world.raw(lane, shared=shared)
        if nonsense:
            self.world.raw(lane, shared=True, body=b"{nonsense")

    @rule(lane=LANE, number=st.integers(0, 5), fault=FAULT)
    def enqueue_by_id(self, lane: str, number: int, fault: Fault | None) -> None:
        if fault is None or not fault.action.startswith("freeze"):
            self.world.windowed(lane, number, fault)

    @rule(fault=FAULT)
    def tick(self, fault: Fault | None) -> None:
        note(f"tick: {self.world.tick(fault)}")

    @precondition(lambda self: self.world.bells)
    @rule(number=NUMBER, fault=FAULT, again=st.booleans())
    def answer(self, number: int, fault: Fault | None, again: bool) -> None:
        bells = self.world.bells
        bell = bells[number % len(bells)] if again else bells.pop(number % len(bells))
        note(f"{bell}: {self.world.answer(bell, fault)}")

    @rule(seconds=st.sampled_from((6, 25, 65)), number=st.integers(0, 3), fault=FAULT | FAULTY, mood=st.none() | MOOD)
    def work_on(self, seconds: int, number: int, fault: Fault | None, mood: Mood | None) -> None:
        """All that is due is done and one step goes wrong at the most: not every game stays at its beginning."""
        for fake in self.world.fakes.values():
            fake.moods += [(mood, 1000 * (10 + 40 * number))] if mood else []
        self.world.advance(seconds)
        self.world.tick()
        bells, self.world.bells = self.world.bells, []
        for place, bell in enumerate(bells):
            note(f"{bell}: {self.world.answer(bell, fault if place == number else None)}")

    @rule(number=NUMBER, kind=st.sampled_from(("submit", "poll", "audit")), fault=FAULT)
    def answer_unasked(self, number: int, kind: str, fault: Fault | None) -> None:
        """A message of long ago: of a batch that may be in any state."""
        names = ["openai", "anthropic"] if kind == "audit" else [batch.id for batch in self.world.batches()]
        if names:
            bell = Bell(kind, names[number % len(names)])
            note(f"{bell}: {self.world.answer(bell, fault)}")

    @rule(number=NUMBER, nth=st.integers(1, 16), side=st.sampled_from(("freeze_before", "freeze_after")))
    def overtake(self, number: int, nth: int, side: Action) -> None:
        """A worker freezes in a step, another one does it in its place, and then it wakes up."""
        found = self.world.batches()
        if not found:
            return
        batch = found[number % len(found)]
        self.world.advance(max(0, batch.next_ms - self.world.now_ms) / 1000)
        bell = Bell("poll" if batch.state in {"submitted", "ended"} else "submit", batch.id)
        outcome = self.world.answer(bell, Fault(side, nth))
        self.world.lapse()
        note(f"{bell}: {outcome}; by another: {self.world.answer(bell)}")
        self.world.check()
        if outcome.startswith("frozen"):
            self.world.thaw(-1)

    @precondition(lambda self: self.world.frozen)
    @rule(number=NUMBER)
    def thaw(self, number: int) -> None:
        note(f"thawed: {self.world.thaw(number)}")

    @rule(seconds=st.sampled_from((1, 10, 25, 65, 130, 300, 4000)))
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule(what=st.sampled_from(("lapse", "deaf", "foreign", "cut", "restart")), kind=KIND, number=st.integers(0, 4))
    def mishap(self, what: str, kind: str, number: int) -> None:
        """Leases lapse, messages are lost, another application makes a batch, results break off, the store restarts."""
        fake = self.world.fakes[kind]
        if what == "lapse":
            self.world.lapse()
        elif what == "deaf":
            self.world.bells.clear()
        elif what == "foreign":
            # As many rows as a batch of ours that is looked for.
            rows = [batch.rows for batch in self.world.batches() if batch.account == kind and batch.rows]
            fake.make(None, [f"foreign-{row}" for row in range(rows[0] if rows else 1 + number)])
        elif what == "cut":
            fake.cut_at = number
        elif self.restarts < 1 and number == 0:
            self.restarts += 1
            self.world.restart()

    @rule(kind=KIND, mood=MOOD, delay=st.sampled_from((5, 60, 149, 220, 400)))
    def next_create(self, kind: str, mood: Mood, delay: int) -> None:
        # Where no file is behind it, a create call that comes after its time limit is a limit that we name.
        longest = 400 if kind == "openai" else 149
        self.world.fakes[kind].moods.append((mood, min(delay, longest) * 1000))

    @rule(kind=KIND, number=NUMBER, ending=ENDING, verdicts=st.lists(VERDICT, min_size=1, max_size=5))
    def provider_ends(self, kind: str, number: int, ending: Ending, verdicts: list[Verdict]) -> None:
        fake = self.world.fakes[kind]
        if running := fake.running():
            fake.end(running[number % len(running)], ending, verdicts)

    @rule(lane=LANE, number=NUMBER, kind=st.sampled_from(("request", "request", "batch", "lane")), fault=FAULT)
    def cancel(self, lane: str, number: int, kind: str, fault: Fault | None) -> None:
        found = self.world.batches()
        ids = [request_id for (of, _), request_id in self.world.accepted.items() if of == lane]
        request = ids[number % len(ids)] if ids else "?"
        name = found[number % len(found)].id if kind == "batch" and found else lane
        note(f"cancel: {self.world.cancel(kind, name, request, fault)}")


@pytest.fixture
def process(store_process: StoreProcess) -> Iterator[StoreProcess]:
    yield store_process
    structlog.reset_defaults()


@pytest.mark.timeout(max(60, EXAMPLES * 8))
def test_everything_is_answered_once_and_paid_for_once_whatever_happens(process: StoreProcess) -> None:
    heard: Counter[str] = Counter()
    print(f"STATE_MACHINE_SEED={SEED} STATE_MACHINE_EXAMPLES={EXAMPLES} STATE_MACHINE_STEPS={STEPS}")  # noqa: T201 - to play it again
    game = seed(SEED)(type("Game", (Machine,), {"process": process, "heard": heard}))
    rules = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(game, settings=rules)
    print("\n".join(f"{count:7} {event}" for event, count in heard.most_common()))  # noqa: T201
    assert heard["batch.settled"]
