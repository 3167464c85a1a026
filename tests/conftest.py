"""What all tests share: a real store process for each test session, empty for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchline.local.store_process import StoreProcess
from batchline.store import Store

for name in [name for name in os.environ if name.startswith(("BATCHLINE_", "OPENAI_", "ANTHROPIC_", "GEMINI_"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def store_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """One store process of this test session's own (TEST_STORE_SERVER names another server's binary)."""
    folder: Path = tmp_path_factory.mktemp("store")
    process = StoreProcess(folder, binary=os.environ.get("TEST_STORE_SERVER"), fsync="always").start()
    yield process
    process.kill()


@pytest.fixture
def store(store_process: StoreProcess) -> Iterator[Store]:
    """An empty store; the process belongs to the tests alone, so flushing it wipes nobody's data."""
    store = Store(store_process.url)
    store.connection.run("FLUSHALL")
    yield store
    store.close()
