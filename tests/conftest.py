"""What all tests share: a real store process for each test session, empty for each test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from tests.memory import quick_folder

from batchline.local.store_process import StoreProcess
from batchline.store import Store

# A shell lets what it starts in the background ignore Ctrl-C, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in [name for name in os.environ if name.startswith(("BATCHLINE_", "OPENAI_", "ANTHROPIC_", "GEMINI_"))]:
    del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the SDKs read one certificate and not all the world's: that takes longer than most tests, which speak plain HTTP."""
    end = "-----END CERTIFICATE-----\n"
    first, _, _ = Path(certifi.where()).read_text().partition(end)
    file: Path = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first + end)
    os.environ["SSL_CERT_FILE"] = str(file)


@pytest.fixture
def store_folder() -> Iterator[Path]:
    """A folder for a store of the test's own."""
    with quick_folder() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def store_process() -> Iterator[StoreProcess]:
    """One store process of this test session's own (TEST_STORE_SERVER names another server's binary)."""
    with quick_folder() as folder:
        process = StoreProcess(Path(folder), binary=os.environ.get("TEST_STORE_SERVER"), fsync="always").start()
        yield process
        process.kill()


@pytest.fixture
def store(store_process: StoreProcess) -> Iterator[Store]:
    """An empty store; the process belongs to the tests alone, so flushing it wipes nobody's data."""
    store = Store(store_process.url)
    store.connection.run("FLUSHALL")
    yield store
    store.close()
