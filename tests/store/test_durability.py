"""What is made durable before money is spent, and how a store that was replaced is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batchline.local.store_process import StoreProcess
from batchline.store import Store
from batchline.store.durability import Durability, Identity


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


class Wire:
    """A connection to a server of which only what it says of itself counts; it answers every wait in one way."""

    def __init__(self, acknowledged: object, **info: object) -> None:
        self.sent: list[Sequence[Any]] = []
        self._acknowledged = acknowledged
        self._info = info

    def run(self, *_: object) -> dict[str, object]:
        return self._info

    def call(self, *_: object) -> object:
        return b"1"

    def call_then(self, _: str, __: object, ___: object, command: Sequence[Any]) -> tuple[object, object]:
        self.sent.append(command)
        return b"1", self._acknowledged


def durable(wire: Any, *, replicas: int = 0) -> bool:
    """Send an intent; returns whether it counts as durable."""
    _, enough = Durability(wire, replicas=replicas, timeout_s=1).call("intent", [], [])
    return enough


@pytest.mark.parametrize("server", [{"redis_version": "7.2.0"}, {"redis_version": "7.0.0", "valkey_version": "8.0"}])
def test_an_intent_is_fsynced_and_acknowledged_before_it_counts(server: dict[str, str]) -> None:
    wire = Wire([1, 2], aof_enabled=1, **server)
    assert durable(wire, replicas=2)
    assert wire.sent == [["WAITAOF", 1, 2, 1000]]


@pytest.mark.parametrize(("acknowledged", "enough"), [([0, 2], False), ([1, 1], False), ([1, 2], True)])
def test_what_was_not_fsynced_or_not_acknowledged_is_not_durable(acknowledged: list[int], enough: bool) -> None:
    assert durable(Wire(acknowledged, aof_enabled=1, redis_version="7.4.1"), replicas=2) is enough


@pytest.mark.parametrize(
    "server", [{"aof_enabled": 0, "redis_version": "7.4.1"}, {"aof_enabled": 1, "redis_version": "7.0.15"}]
)
def test_where_no_fsync_can_be_waited_for_replicas_are(server: dict[str, Any]) -> None:
    wire = Wire(1, **server)
    assert durable(wire, replicas=1)
    assert not durable(wire, replicas=2)
    assert wire.sent == [["WAIT", 1, 1000], ["WAIT", 2, 1000]]


def test_another_run_id_or_replication_id_is_another_store() -> None:
    store = Identity(run_id="a", replication_id="b")
    others = [Identity(run_id="c", replication_id="b"), Identity(run_id="a", replication_id="c")]
    assert str(store) not in {str(other) for other in others}
