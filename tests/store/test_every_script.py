"""What holds for every script: it may be sent twice, a stale fence writes nothing, a full store stops no transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchline.errors import LeaseLost, StoreFull
from batchline.store import keys, scripts

FENCED = [name for name in scripts.names() if "LEASELOST" in scripts.source(name)]
RUN_WHEN_FULL = [name for name in scripts.names() if name != "enqueue"]


@pytest.mark.parametrize("script", scripts.names())
def test_a_script_sent_twice_leaves_what_it_left_when_sent_once(scene: Any, script: str) -> None:
    call = scene.prepare(script)
    call()
    once = scene.snapshot()
    call()
    assert scene.snapshot() == once


@pytest.mark.parametrize("script", FENCED)
def test_a_stale_fence_is_refused_and_nothing_is_written(scene: Any, script: str) -> None:
    call = scene.prepare(script)
    scene.run("HINCRBY", keys.batch("b1"), "fence", 1)
    before = scene.snapshot()
    with pytest.raises(LeaseLost):
        call()
    assert scene.snapshot() == before


def test_every_script_that_changes_a_claimed_batch_is_fenced() -> None:
    lanes = {"enqueue", "look", "walk", "cut", "cancel", "owed", "carried", "depths", "find", "revoke"}
    others = {
        "adopt",
        "claim",
        "ring",
        "outage",
        "reclaim",
        "take",
        "letters",
        "redrive",
        "drop",
        "tick",
        "ticked",
        "length",
        "deleted",
        "duplicate",
        "erred",
        "defer",
        "lower",
        "replaced",
        "prune",
        "discard",
        "expire",
    }
    assert set(scripts.names()) - lanes - others == set(FENCED)


@pytest.mark.parametrize("script", RUN_WHEN_FULL)
def test_a_full_store_runs_every_script_but_the_one_that_accepts_work(
    scene: Any, full: Callable[[], None], script: str
) -> None:
    call = scene.prepare(script)
    full()
    call()


def test_a_script_that_is_new_to_a_full_store_is_loaded_all_the_same(scene: Any, full: Callable[[], None]) -> None:
    call = scene.prepare("settle")
    scene.run("SCRIPT FLUSH")
    full()
    assert call() == [1]


def test_a_full_store_refuses_new_requests_by_name_and_keeps_what_it_holds(
    scene: Any, full: Callable[[], None]
) -> None:
    scene.enqueue("r1")
    before = scene.snapshot()
    full()
    with pytest.raises(StoreFull, match="maxmemory"):
        scene.enqueue("r2")
    assert scene.snapshot() == before
