"""What is made durable before money is spent, and how a store that was replaced is recognised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchline.local.store_process import StoreProcess
from batchline.store import Store
from batchline.store.durability import Durability


def test_an_intent_that_is_fsynced_is_durable(scene: Any) -> None:
    assert scene.intent(scene.batch("r1")) == "durable"


def test_an_intent_that_no_replica_acknowledged_is_not_durable(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.store.batches._durability = Durability(scene.store.connection, replicas=1, timeout_s=0.01)
    assert scene.intent(batch) == "not_durable"
    assert scene.get().state == "submitting"


def test_a_restarted_store_has_another_identity_and_a_running_one_the_same(tmp_path: Path) -> None:
    process = StoreProcess(tmp_path).start()
    store = Store(process.url)
    try:
        first = store.durability.identity()
        assert store.durability.identity() == first
        process.kill()
        process.start()
        assert store.durability.identity() != first
    finally:
        store.close()
        process.kill()
