"""The audit of the kill matrix can fail: each promise, broken by hand after a trip without trouble, is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from tests.crash import audit
from tests.crash.rehearsal import close, trip
from tests.crash.scenarios import CHAT, HAIKU, Ask, Scenario, body
from tests.crash.waiting import until

from batchline import runtime
from batchline.emulator import Options
from batchline.emulator.serve import running
from batchline.local.environment import at_emulator
from batchline.settings import load_settings
from batchline.store import Store, keys

PLAN = Scenario(
    asks=tuple(Ask(lane=lane, id=f"r{n}", body=body(lane, f"{lane} {n}")) for lane in (CHAT, HAIKU) for n in (1, 2))
)
REPLY = keys.reply_default(HAIKU, "r1")
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "0.01",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.01",
    "BATCHLINE_POLL__MAX_INTERVAL": "0.02",
}


@dataclass
class After:
    """All that a trip left behind: the store, and the emulator that has its bill."""

    store: Store
    url: str

    def problems(self, plan: Scenario = PLAN) -> list[str]:
        return audit.problems(self.store, self.url, plan)

    def run(self, command: str, *arguments: str) -> None:
        self.store.connection.run(command, *arguments)

    def execute(self, text: str) -> None:
        """Have a batch of one row executed beside those of the trip."""
        row = {"custom_id": "again", "params": json.loads(body(HAIKU, text))}
        audit.fetch(f"{self.url}/v1/messages/batches", {"requests": [row]})
        assert until(lambda: not audit.unfinished(self.url), 20)

    def repeat(self, queue: str) -> None:
        """Push once more what is in a queue."""
        [reply] = self.store.connection.run("LRANGE", queue, 0, -1)
        self.store.connection.run("RPUSH", queue, reply)


@pytest.fixture
def after(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[After]:
    with running(Options(latency_s=0.0, validation_delay_s=0.0)) as emulator:
        environ = SETTINGS | {"BATCHLINE_REDIS_URL": store.connection.url} | at_emulator(emulator.url)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        context = runtime.build(load_settings(environ))
        trip(context, PLAN.asks)
        close(context)
        yield After(store, emulator.url)


def test_a_trip_without_trouble_has_no_problems(after: After) -> None:
    assert after.problems() == []


BREAKS: dict[str, tuple[Callable[[After], None], str]] = {
    "lost reply": (lambda it: it.run("DEL", REPLY), f"no reply in {REPLY}"),
    "double reply": (lambda it: it.repeat(REPLY), f"2 replies in {REPLY}"),
    "reply that nobody asked for": (lambda it: it.run("COPY", REPLY, "batchline:reply:nobody"), "where none was asked for"),
    "double execution": (lambda it: it.execute(f"{HAIKU} 1"), "double executions"),
    "charge without a reply": (lambda it: it.execute("another"), "charged instead of"),
    "reply that the ledger has not": (lambda it: it.run("HINCRBY", _ledger(it), "settled:succeeded:batch", "-1"), "the ledger has"),
    "payment that the ledger has not": (lambda it: it.run("HINCRBY", _ledger(it), "paid_nano:batch", "-1"), "nano-dollars paid"),
    "waste": (lambda it: it.run("HINCRBY", _ledger(it), "wasted_nano:unmatched", "1"), "wasted:"),
    "key without owner": (lambda it: it.run("SET", "batchline:stray", "1"), "left without owner or expiry: batchline:stray"),
    "batch that is never forgotten": (lambda it: it.run("HSET", keys.batch("b1"), "id", "b1"), "left without owner or expiry"),
    "entry that is still owed": (lambda it: it.run("XADD", keys.requests(HAIKU), "*", "id", "r9"), f"1 entries left in lane {HAIKU}"),
}  # fmt: skip


def _ledger(it: After) -> str:
    return keys.ledger(HAIKU)


@pytest.mark.parametrize("what", sorted(BREAKS))
def test_the_audit_reports_a(after: After, what: str) -> None:
    spoil, told = BREAKS[what]
    spoil(after)
    assert any(told in problem for problem in after.problems()), after.problems()


def test_the_audit_reports_a_request_that_ended_otherwise_than_planned(after: After) -> None:
    asks = [replace(ask, status="failed") for ask in PLAN.asks]
    assert any("succeeded instead of failed" in problem for problem in after.problems(Scenario(asks=tuple(asks))))


def test_the_audit_reports_an_execution_that_was_not_planned(after: After) -> None:
    asks = (replace(PLAN.asks[0], errors=1), *PLAN.asks[1:])
    assert any("4 executed instead of 5" in problem for problem in after.problems(Scenario(asks=asks)))
