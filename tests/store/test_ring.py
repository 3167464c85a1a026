"""ring, outage: what is due, and when an account is down."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.store import keys
from batchline.store.records import Outage

POLL = keys.AGENDA_POLL


def test_due_batches_ring_longest_due_first_and_no_more_than_asked_for(scene: Any) -> None:
    scene.run("ZADD", POLL, scene.now, "c", scene.now - 2, "a", scene.now - 1, "b", scene.now + 1, "d")
    assert scene.store.batches.ring(POLL, now_ms=scene.now, most=2) == ["a", "b"]
    assert scene.store.batches.ring(POLL, now_ms=scene.now) == ["c"]


def test_a_lost_doorbell_rings_again_after_a_lease(scene: Any) -> None:
    scene.run("ZADD", POLL, scene.now, "a")
    ring = scene.store.batches.ring
    answers = [ring(POLL, now_ms=scene.now + later) for later in (0, 0, 29_999, 30_000)]
    assert answers == [["a"], [], [], ["a"]]


def test_an_account_without_trouble_is_up(scene: Any) -> None:
    assert scene.store.accounts.outage("openai") == Outage(account="openai")


def test_trouble_is_noted_with_call_code_and_message(scene: Any) -> None:
    until = scene.outage()
    assert scene.store.accounts.outage("openai") == Outage(
        account="openai", down_until=until, since=scene.now, failures=1, call="create", code="503", message="overloaded"
    )


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_the_most(scene: Any) -> None:
    waits, now = [], scene.now
    for _ in range(5):
        until = scene.outage(now_ms=now)
        waits.append(until - now)
        now = until
    assert waits == [10_000, 20_000, 40_000, 60_000, 60_000]
    assert scene.store.accounts.outage("openai").since == scene.now


def test_calls_that_fail_while_the_account_is_down_are_the_same_failure(scene: Any) -> None:
    assert [scene.outage(now_ms=scene.now + later) - scene.now for later in (0, 0, 1_000)] == [10_000, 10_000, 11_000]
    assert scene.store.accounts.outage("openai").failures == 1


@pytest.mark.parametrize(("asked_s", "wait_ms"), [(3.0, 10_000), (25.5, 25_500), (900.0, 60_000)])
def test_the_provider_may_ask_for_a_longer_wait_up_to_the_most(scene: Any, asked_s: float, wait_ms: int) -> None:
    assert scene.outage(asked_s=asked_s) - scene.now == wait_ms


def test_a_shorter_wait_never_brings_an_account_back_early(scene: Any) -> None:
    until = scene.outage(asked_s=50)
    assert scene.outage(now_ms=scene.now + 1) == until


def test_an_account_that_answers_again_begins_anew(scene: Any) -> None:
    scene.outage()
    scene.store.accounts.clear_outage("openai")
    assert scene.store.accounts.outage("openai") == Outage(account="openai")
    assert scene.outage(now_ms=scene.now + 1) == scene.now + 10_001


def test_ambiguous_creates_outlast_an_outage(scene: Any) -> None:
    scene.store.batches.ambiguous(scene.submitting("r1"), look_ms=0)
    scene.store.accounts.clear_outage("openai")
    assert scene.run("HGETALL", keys.account("openai")) == {b"ambiguous": b"1"}
