"""The soak's audit sees each kind of loss: what it passes is worth something only if it can fail."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gsm8k import digest
from soak_checks import Evidence, check, check_reached
from soak_load import Ask, Books
from soak_trouble import Trouble

from batchline.requests import Reply, decode_reply

LANE = "openai:chat:gpt-5-mini"
SUMS = {"settled": 2, "input_tokens": 20, "output_tokens": 8, "list_nano": 200, "paid_nano": 100}
QUEUE = "batchline:reply:out"


def ask(name: str, *, rejected: bool = False) -> Ask:
    return Ask(LANE, name, f"text of {name}", "out", rejected)


def reply(name: str, *, status: str = "succeeded", text: str | None = None) -> Reply:
    response = {"choices": [{"message": {"content": f"said {digest(text or f'text of {name}')}"}}]}
    timing = dict.fromkeys(("enqueued", "submitted", "ended", "settled"), 1)
    return decode_reply(json.dumps({"id": name, "status": status, "response": response, "timing": timing}).encode())


def bill(**changed: Any) -> dict[str, Any]:
    names = {"settled": "succeeded", "list_nano": "list_nano_usd", "paid_nano": "paid_nano_usd"}
    row = {names.get(name, name): figure for name, figure in SUMS.items()}
    models = [{"provider": "openai", "model": "gpt-5-mini", "route": "batch", **row}]
    return {"charges": {"openai": 2}, "double_executions": 0, "doubles": [], "models": models} | changed


@pytest.fixture
def good() -> Evidence:
    """Two requests, answered and paid once, in a soak too short to be measured by its numbers."""
    books = Books(accepted={name: ask(name) for name in ("a", "b")})
    replies = [(QUEUE, reply("a")), (QUEUE, reply("b"))]
    return Evidence(books=books, replies=replies, bill=bill(), booked={LANE: SUMS}, waste={LANE: {}}, seconds=0.1)


def found(evidence: Evidence, **changed: Any) -> list[str]:
    return check(replace(evidence, **changed))


def test_what_was_answered_and_paid_once_passes(good: Evidence) -> None:
    assert check(good) == []


def test_a_missing_reply_is_seen(good: Evidence) -> None:
    assert "LOST b: 0 replies" in found(good, replies=good.replies[:1])


def test_a_double_reply_is_seen(good: Evidence) -> None:
    assert "DOUBLE b: 2 replies" in found(good, replies=[*good.replies, good.replies[1]])


def test_a_double_reply_to_a_request_that_was_never_acknowledged_is_seen(good: Evidence) -> None:
    books = Books(accepted={"a": ask("a")}, doubtful={"b": ask("b")})
    assert found(good, books=books) == []
    twice = [*good.replies, good.replies[1]]
    assert "DOUBLE b (never acknowledged): 2 replies" in found(good, books=books, replies=twice)


def test_a_reply_to_nobody_is_seen(good: Evidence) -> None:
    assert "c: a reply in batchline:reply:out to a request that was never sent" in found(
        good, replies=[*good.replies, (QUEUE, reply("c"))]
    )


def test_a_reply_in_the_wrong_queue_is_seen(good: Evidence) -> None:
    (problem,) = found(good, replies=[("batchline:reply:in", good.replies[0][1]), good.replies[1]])
    assert problem == "a: its reply is in batchline:reply:in and not in batchline:reply:out"


def test_an_answer_to_another_request_is_seen(good: Evidence) -> None:
    (problem,) = found(good, replies=[(QUEUE, reply("a", text="text of b")), good.replies[1]])
    assert "another request" in problem


def test_a_request_that_failed_without_reason_is_seen(good: Evidence) -> None:
    problems = found(good, replies=[(QUEUE, reply("a", status="failed")), good.replies[1]])
    assert any(problem.startswith("a: failed") for problem in problems)


@pytest.mark.parametrize(
    "wrong",
    [
        {"charges": {"openai": 3}},
        {"double_executions": 1, "doubles": [{"sha256_prefix": "00"}]},
        {"models": [bill()["models"][0] | {"paid_nano_usd": 101}]},
        {"models": [bill()["models"][0] | {"output_tokens": 9}]},
        {"models": [*bill()["models"], bill()["models"][0] | {"route": "realtime"}]},
    ],
    ids=["one charge more", "paid twice", "dearer", "more tokens", "a lane nobody asked for"],
)
def test_a_bill_that_is_not_the_ledgers_is_seen(good: Evidence, wrong: dict[str, Any]) -> None:
    assert found(good, bill=bill(**wrong))


def test_waste_is_seen_with_its_cause_also_where_bill_and_ledger_agree(good: Evidence) -> None:
    waste = {LANE: {"unmatched": 40}}
    booked = {LANE: SUMS | {"paid_nano": 60}}
    (problem,) = found(good, waste=waste, booked=booked)
    assert problem == f"{LANE}: nothing was to be wasted, the ledger has {{'unmatched': 40}}"


def test_waste_that_is_not_on_the_bill_is_seen(good: Evidence) -> None:
    assert any("billed" in problem for problem in found(good, waste={LANE: {"unmatched": 40}}))


def test_a_key_without_owner_is_seen(good: Evidence) -> None:
    keys = ["batchline:batch:b1", "batchline:{openai:chat:gpt-5-mini}:requests"]
    assert found(good, unowned=keys) == ["left without owner or expiry: batchline:batch:b1"]


def test_an_event_without_reason_is_seen(good: Evidence) -> None:
    assert found(good, events=Counter({"result.mismatch": 2})) == ["2 times result.mismatch in the workers' logs"]


def test_a_worker_that_ended_by_itself_is_seen(good: Evidence) -> None:
    assert found(good, ends=["worker-0 ended by itself, with exit code -11"])


def test_a_long_soak_with_too_little_in_it_is_seen() -> None:
    enough = {"requests accepted": 10_000, "workers killed": 200, "store killed": 20}
    assert list(check_reached(enough, 900)) == []
    for name, least in enough.items():
        assert len(list(check_reached(enough | {name: least - 1}, 900))) == 1
    assert len(list(check_reached({}, 120))) == 3


class FakeWorker:
    """A worker that ends as it is told; ``killed`` is how it turns out to have ended when it is killed."""

    ripe = True
    log = ""

    def __init__(self, exit_code: int | None, killed: int) -> None:
        self.exit_code = exit_code
        self._killed = killed

    def kill(self) -> None:
        """End, if it has not."""
        self.exit_code = self._killed if self.exit_code is None else self.exit_code

    def follow(self) -> None:
        """Nothing is logged."""


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """Trouble with one worker that is no process."""
    made = object.__new__(Trouble)
    made.made, made.ends, made._frozen = Counter(), [], set()
    made._dice = cast("Any", SimpleNamespace(choice=lambda able: able[0]))
    monkeypatch.setattr(made, "_start", lambda _: worker(exit_code=None))
    return made


def worker(*, exit_code: int | None, killed: int = -signal.SIGKILL) -> Any:
    return FakeWorker(exit_code, killed)


def test_a_worker_that_dies_by_a_signal_that_nobody_sent_is_noted(trouble: Trouble) -> None:
    trouble._workers = [worker(exit_code=-signal.SIGSEGV)]
    trouble.follow()
    assert trouble.ends == ["worker-0 ended by itself, with exit code -11"]


def test_a_crash_just_before_our_kill_is_noted_and_our_kill_is_not(trouble: Trouble) -> None:
    trouble._workers = [worker(exit_code=None)]
    trouble._kill()
    assert trouble.ends == []
    trouble._workers = [worker(exit_code=None, killed=-signal.SIGSEGV)]
    trouble._kill()
    assert trouble.ends == ["worker-0 ended by itself, with exit code -11"]
