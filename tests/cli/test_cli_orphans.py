"""``batches --orphans``: every account is asked, what is found is shown, and nothing is changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cli.kit import CHAT, Command

from batchline import runtime
from batchline.errors import KeyRefused, ProviderError, Retryable
from batchline.providers.protocol import Listed
from batchline.store import Store, keys

NOW = time.time_ns() // 1_000_000
OURS = Listed(provider_id="batch_1", created_ms=NOW, total=7, running=True, batch_id="b9", nonce="n", lane=CHAT)


class Fake:
    """A provider that lists what it is told, or fails."""

    tagged = True

    def __init__(self, listed: list[Listed], error: ProviderError | None) -> None:
        self._listed, self._error = listed, error

    def recent(self, since_ms: int) -> Iterator[Listed]:  # noqa: ARG002
        if self._error:
            raise self._error
        yield from self._listed


Fakes = Callable[..., None]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Put fakes in the place of all providers: OpenAI lists these, or fails; Anthropic lists none, or fails."""

    def put(*listed: Listed, openai: ProviderError | None = None, anthropic: ProviderError | None = None) -> None:
        made: dict[str, Any] = {
            "openai": Fake([*listed], openai),
            "anthropic": Fake([], anthropic),
            "gemini": Fake([], None),
        }
        monkeypatch.setattr(runtime, "providers", lambda _, **__: made.__getitem__)

    return put


def test_without_orphans_it_says_so(batchline: Command, fakes: Fakes) -> None:
    fakes(Listed(provider_id="batch_2", created_ms=NOW))
    done = batchline("batches", "--orphans")
    assert (done.code, done.out) == (0, "no orphans\n")
    assert json.loads(batchline("batches", "--orphans", "--json").out) == []


def test_an_orphan_is_shown_with_what_the_audit_does(batchline: Command, fakes: Fakes, store: Store) -> None:
    fakes(OURS)
    done = batchline("batches", "--orphans", "--json")
    assert (done.code, json.loads(done.out)) == (
        0,
        [
            {
                "account": "openai",
                "provider_id": "batch_1",
                "batch": "b9",
                "lane": CHAT,
                "state": "running",
                "rows": 7,
                "created_ms": NOW,
                "action": "adopt",
            }
        ],
    )
    shown = batchline("batches", "--orphans").out
    assert all(part in shown for part in ("batch_1", "running", "b9", CHAT, "adopt", "7"))
    assert not store.connection.run("KEYS", "*")


def test_a_provider_that_cannot_be_asked_hides_no_other_and_is_exit_code_3(batchline: Command, fakes: Fakes) -> None:
    fakes(OURS, anthropic=Retryable("recent on account 'anthropic': away", account="anthropic", call="recent"))
    done = batchline("batches", "--orphans")
    assert (done.code, "batch_1" in done.out, "away" in done.err) == (3, True, True)


@pytest.mark.parametrize(("used", "code"), [(False, 0), (True, 3)])
def test_an_account_without_a_key_is_left_out_unless_it_ever_created(
    batchline: Command, fakes: Fakes, store: Store, used: bool, code: int
) -> None:
    fakes(anthropic=KeyRefused("no key", account="anthropic", call="key", code="no_key"))
    if used:
        store.connection.run("HSET", keys.AUDITED, "anthropic", "some store")
    done = batchline("batches", "--orphans")
    assert (done.code, "no key" in done.err) == (code, used)


def test_a_key_that_is_refused_is_exit_code_3(batchline: Command, fakes: Fakes) -> None:
    fakes(openai=KeyRefused("wrong key", account="openai", call="recent", code="401"))
    assert batchline("batches", "--orphans").code == 3


def test_an_unreachable_store_is_exit_code_3(command: Command, fakes: Fakes) -> None:
    fakes(OURS)
    assert command("batches", "--orphans").code == 3
