"""The HTTP endpoints of a process: what they answer, and what becomes of a port that is taken."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.crash.waiting import until

from batchline.endpoints import MOST_CALLERS, Endpoints
from batchline.errors import StoreUnreachable, UsageError

Get = Callable[[str], tuple[int, str]]


def away() -> str:
    raise StoreUnreachable("cannot reach the store")


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    checks = {"/livez": lambda: "", "/readyz": lambda: "not yet", "/away": away}
    endpoints = Endpoints(0, CollectorRegistry(), checks)
    yield endpoints
    endpoints.stop()


@pytest.fixture
def get(endpoints: Endpoints) -> Get:
    def get(path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", endpoints.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return get


def test_all_well_is_200_and_ok(get: Get) -> None:
    assert get("/livez") == (200, "ok\n")


def test_something_wrong_is_503_and_what_it_is(get: Get) -> None:
    assert get("/readyz") == (503, "not yet\n")


def test_an_error_of_ours_is_something_wrong(get: Get) -> None:
    assert get("/away") == (503, "cannot reach the store\n")


def test_a_query_changes_nothing(get: Get) -> None:
    assert get("/livez?verbose") == (200, "ok\n")


def test_any_other_path_says_what_there_is(get: Get) -> None:
    assert get("/") == (404, "there are /metrics, /livez, /readyz, /away\n")


def test_metrics_are_served(get: Get) -> None:
    assert get("/metrics")[0] == 200


def test_a_caller_that_sends_nothing_holds_up_nobody(endpoints: Endpoints, get: Get) -> None:
    with socket.create_connection(("127.0.0.1", endpoints.port)):
        assert get("/livez") == (200, "ok\n")


def test_a_port_that_is_taken_is_an_error_that_names_it(endpoints: Endpoints) -> None:
    with pytest.raises(UsageError, match=rf"cannot listen on port {endpoints.port}: Address already in use"):
        Endpoints(endpoints.port, CollectorRegistry(), {})


def test_a_port_is_free_again_after_the_end() -> None:
    first = Endpoints(0, CollectorRegistry(), {})
    first.stop()
    second = Endpoints(first.port, CollectorRegistry(), {})
    assert second.port == first.port
    second.stop()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_callers_come_by_ipv6_too(endpoints: Endpoints) -> None:
    with socket.create_connection(("::1", endpoints.port)) as caller:
        caller.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b"200 OK" in caller.makefile("rb").read()


def test_answers_of_different_lengths_follow_each_other(get: Get) -> None:
    assert [get(path) for path in ("/", "/livez", "/readyz", "/livez")] == [
        (404, "there are /metrics, /livez, /readyz, /away\n"),
        (200, "ok\n"),
        (503, "not yet\n"),
        (200, "ok\n"),
    ]


def test_callers_beyond_the_most_are_turned_away_and_those_who_wait_are_answered(
    endpoints: Endpoints, get: Get
) -> None:
    idle = [socket.create_connection(("127.0.0.1", endpoints.port)) for _ in range(MOST_CALLERS)]
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        get("/livez")
    for each in idle:
        each.close()
    assert until(lambda: _answered(get), 10)


def _answered(get: Get) -> bool:
    try:
        return get("/livez") == (200, "ok\n")
    except (RemoteDisconnected, ConnectionResetError):
        return False


def test_a_caller_who_takes_too_long_is_hung_up_on(get: Get, endpoints: Endpoints, monkeypatch: Any) -> None:
    monkeypatch.setattr("batchline.endpoints.SLOW_CALLER_S", 0.05)
    with socket.create_connection(("127.0.0.1", endpoints.port), timeout=10) as slow:
        slow.sendall(b"GET /livez")
        assert slow.recv(100) == b""
    assert get("/livez") == (200, "ok\n")
