"""The tick of a worker: it outlives whatever a single tick meets."""

from __future__ import annotations

import random
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchline.errors import StoreUnreachable
from batchline.pulse import Pulse
from batchline.ticker import Ticker


@pytest.mark.parametrize("trouble", [StoreUnreachable("the store is restarting"), ValueError("a fault of one lane")])
def test_a_tick_that_fails_is_not_the_last(trouble: Exception) -> None:
    ticked, troubles = threading.Event(), [trouble]

    def tick(_: object) -> None:
        if troubles:
            raise troubles.pop()
        ticked.set()

    context: Any = SimpleNamespace(
        settings=SimpleNamespace(tick_interval=0.001),
        dice=random.Random(1),
        worker="w",
        clock=lambda: 0,
        pulse=Pulse(),
        store=SimpleNamespace(take_tick=lambda *_, **__: True, note_tick=lambda *_: None),
    )
    ticker = Ticker(lambda: context, {"poll": tick})
    with capture_logs() as logs:
        ticker.start()
        assert ticked.wait(5)
        ticker.stop()
        ticker.join(5)
    assert [entry["event"] for entry in logs] == ["tick.failed"]
