"""A store that fills up takes no new requests from the client, and says so by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from batchline import Client
from batchline.errors import StoreFull
from batchline.settings import load_settings
from batchline.store import Store
from batchline.store.memory import Memory

HELLO: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}


class Hand:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def client(store: Store, clock: Hand) -> Iterator[Client]:
    with Client(store.connection.url, settings=load_settings(environ={})) as client:
        client.store.memory = Memory(client.store.connection, clock=clock)
        yield client
    store.connection.run("CONFIG SET", "maxmemory", 0)


def limit(store: Store, share: float) -> None:
    """Set maxmemory so that this share of it is used."""
    used = store.server.facts().used
    store.connection.run("CONFIG SET", "maxmemory", int(used / share))


def test_a_store_without_a_limit_takes_everything(client: Client) -> None:
    assert client.enqueue(**HELLO).new


def test_above_the_share_new_requests_are_refused_and_nothing_is_enqueued(client: Client, store: Store) -> None:
    limit(store, 0.85)
    with pytest.raises(StoreFull, match=r"8\d% of its maxmemory .* 80% \(pressure.refuse_above\)"):
        client.enqueue(**HELLO)
    assert store.ledger.depths() == []


def test_below_the_share_they_are_taken(client: Client, store: Store) -> None:
    limit(store, 0.7)
    assert client.enqueue(**HELLO).new


def test_the_memory_is_asked_for_once_a_second(client: Client, store: Store, clock: Hand) -> None:
    assert client.enqueue(**HELLO).new
    limit(store, 0.85)
    clock.now += 0.9
    assert client.enqueue(**HELLO).new
    clock.now += 0.1
    with pytest.raises(StoreFull):
        client.enqueue(**HELLO)


def test_it_takes_requests_again_when_there_is_room(client: Client, store: Store, clock: Hand) -> None:
    limit(store, 0.85)
    with pytest.raises(StoreFull):
        client.enqueue(**HELLO)
    limit(store, 0.5)
    clock.now += 1
    assert client.enqueue(**HELLO).new


def test_a_stream_of_requests_is_cut_off_between_two_chunks(client: Client, store: Store, clock: Hand) -> None:
    def many() -> Iterator[dict[str, Any]]:
        for n in range(1_200):
            if n == 600:
                limit(store, 0.85)
                clock.now += 1
            yield HELLO

    with pytest.raises(StoreFull):
        client.enqueue_many(many())
    assert store.ledger.depths()[0].owed == 500
