"""The store of these tests is their own, and can lose its power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.power_cuts.power import Power

from batchline.store import Store


@pytest.fixture
def power(store_folder: Path) -> Iterator[Power]:
    """The power of this test's own store."""
    power = Power(store_folder)
    yield power
    power.process.kill()


@pytest.fixture
def store(power: Power) -> Iterator[Store]:
    """A store that can lose its power, in place of the one that all tests share."""
    store = Store(power.process.url)
    yield store
    store.close()
