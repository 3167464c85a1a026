"""Calls that end badly on the way: the connection, the status, the delay, and what happened at the provider all the same."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import openai
import pytest

from batchline.emulator import Options
from batchline.emulator.hangup import HangUp
from batchline.emulator.options import ACTIONS
from batchline.emulator.transport_faults import TransportFaults

CHAT = "/v1/chat/completions"


def arm(sim: Any, route: str, action: str, **more: Any) -> None:
    answer = sim.call("POST", "/_emulator/faults", json={"route": route, "action": action, **more})
    assert answer.status_code == 200, answer.text


def faults(sim: Any) -> Any:
    return sim.call("GET", "/_emulator/faults").json()


def disarm(sim: Any) -> None:
    assert sim.call("DELETE", "/_emulator/faults").json()["armed"] == []


def create(sim: Any, file_id: str = "file-x") -> Any:
    return sim.openai.batches.create(completion_window="24h", endpoint=CHAT, input_file_id=file_id)


def count(sim: Any) -> int:
    return len(sim.openai.batches.list().data)


@contextmanager
def meanwhile(call: Any) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(call)


@pytest.mark.parametrize(("action", "batches"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_create_has_no_answer_and_its_effect_or_none(sim: Any, action: str, batches: int) -> None:
    arm(sim, "openai.batches.create", action)
    with pytest.raises(openai.APIConnectionError) as dropped:
        create(sim)
    assert isinstance(dropped.value.__cause__, httpx2.RemoteProtocolError)
    assert count(sim) == sim.bill()["batches_created"].get("openai", 0) == batches
    assert sim.bill()["calls"]["POST /v1/batches"] == 1


@pytest.mark.parametrize(("action", "batches"), [("error_before", 0), ("error_after", 1)])
def test_an_error_comes_without_the_effect_or_after_it(sim: Any, action: str, batches: int) -> None:
    arm(sim, "openai.batches.create", action, status=503)
    with pytest.raises(openai.InternalServerError) as failed:
        create(sim)
    assert failed.value.status_code == 503
    assert count(sim) == batches


@pytest.mark.parametrize(("action", "batches"), [("drop_before", 0), ("drop_after", 1), ("error_after", 1)])
def test_a_create_of_messages_breaks_in_the_same_ways(sim: Any, message: Any, action: str, batches: int) -> None:
    arm(sim, "anthropic.batches.create", action)
    with pytest.raises((anthropic.APIConnectionError, anthropic.InternalServerError)):
        sim.anthropic.messages.batches.create(requests=[message("a", "a")])
    assert len(sim.anthropic.messages.batches.list().data) == batches


def test_an_upload_whose_answer_was_dropped_is_an_orphan_file(sim: Any) -> None:
    arm(sim, "openai.files.create", "drop_after")
    with pytest.raises(openai.APIConnectionError):
        sim.openai.files.create(file=("a.jsonl", io.BytesIO(b"{}\n")), purpose="batch")
    assert [file.filename for file in sim.openai.files.list()] == ["a.jsonl"]


@pytest.mark.parametrize("status", [500, 504, 529])
def test_an_anthropic_error_has_the_type_of_its_status(sim: Any, status: int) -> None:
    arm(sim, "anthropic.batches.list", "error_before", status=status)
    with pytest.raises(anthropic.InternalServerError) as failed:
        sim.anthropic.messages.batches.list()
    kinds = {500: "api_error", 504: "timeout_error", 529: "overloaded_error"}
    assert (failed.value.status_code, failed.value.type) == (status, kinds[status])


def test_a_rate_limit_says_when_to_come_again(sim: Any, message: Any) -> None:
    arm(sim, "*.batches.create", "rate_limit", retry_after=7, times=2)
    with pytest.raises(openai.RateLimitError) as refused:
        create(sim)
    assert refused.value.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.RateLimitError) as refused_too:
        sim.anthropic.messages.batches.create(requests=[message("a", "a")])
    assert refused_too.value.response.headers["retry-after"] == "7"
    assert sim.bill()["batches_created"] == {}


def test_a_call_that_hangs_had_its_effect_at_once(sim: Any) -> None:
    arm(sim, "openai.batches.create", "hang")
    with meanwhile(lambda: create(sim)) as call:
        while not faults(sim)["hanging"]:
            assert not call.done()
        assert count(sim) == 1
        disarm(sim)
        assert call.result().status == "validating"
    assert faults(sim)["hanging"] == 0


def test_a_call_that_hangs_before_its_effect_has_it_though_the_caller_is_gone(sim: Any) -> None:
    arm(sim, "openai.batches.create", "hang_before")
    url = urlsplit(sim.url)
    body = json.dumps({"completion_window": "24h", "endpoint": CHAT, "input_file_id": "file-x"})
    head = f"POST {url.path}/v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
    with socket.create_connection((url.hostname or "", url.port or 0)) as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        while not faults(sim)["hanging"]:
            assert count(sim) == 0
    disarm(sim)
    while not count(sim):
        pass
    assert sim.bill()["batches_created"] == {"openai": 1}


def stream_into(got: bytearray, sim: Any, file_id: str) -> None:
    with sim.openai.files.with_streaming_response.content(file_id) as response:
        for piece in response.iter_bytes():
            got.extend(piece)


@pytest.mark.parametrize(
    ("after_bytes", "read"),
    [
        pytest.param(0, lambda _: 0, id="nothing"),
        pytest.param(100, lambda _: 100, id="100 bytes"),
        pytest.param(None, lambda length: length // 2, id="half unless told"),
        pytest.param(10**9, lambda length: length - 1, id="all but the last byte"),
    ],
)
def test_a_result_stream_breaks_after_so_many_bytes(sim: Any, chat: Any, after_bytes: int | None, read: Any) -> None:
    file_id = sim.run([chat(str(n)) for n in range(20)]).output_file_id
    whole = sim.openai.files.content(file_id).content
    arm(sim, "openai.files.content", "cut_stream", after_bytes=after_bytes)
    got = bytearray()
    with pytest.raises(httpx2.RemoteProtocolError):
        stream_into(got, sim, file_id)
    assert got == whole[: read(len(whole))]
    assert sim.openai.files.content(file_id).content == whole


def test_a_result_stream_of_messages_breaks_too(sim: Any, message: Any) -> None:
    created = sim.anthropic.messages.batches.create(requests=[message(str(n), str(n)) for n in range(5)])
    sim.pass_time(10)
    arm(sim, "anthropic.batches.results", "cut_stream", after_bytes=10)
    with pytest.raises(httpx2.RemoteProtocolError):
        list(sim.anthropic.messages.batches.results(created.id))
    assert len(list(sim.anthropic.messages.batches.results(created.id))) == 5


@pytest.mark.parametrize(
    ("route", "call"),
    [
        ("openai.files.list", lambda sim: sim.openai.files.list()),
        ("openai.files.retrieve", lambda sim: sim.openai.files.retrieve("x")),
        ("openai.files.delete", lambda sim: sim.openai.files.delete("x")),
        ("openai.files.content", lambda sim: sim.openai.files.content("x")),
        ("openai.batches.list", lambda sim: sim.openai.batches.list()),
        ("openai.batches.retrieve", lambda sim: sim.openai.batches.retrieve("x")),
        ("openai.batches.cancel", lambda sim: sim.openai.batches.cancel("x")),
        ("anthropic.batches.list", lambda sim: sim.anthropic.messages.batches.list()),
        ("anthropic.batches.retrieve", lambda sim: sim.anthropic.messages.batches.retrieve("x")),
        ("anthropic.batches.cancel", lambda sim: sim.anthropic.messages.batches.cancel("x")),
        ("anthropic.batches.delete", lambda sim: sim.anthropic.messages.batches.delete("x")),
    ],
)
def test_every_route_can_be_dropped_by_its_name(sim: Any, route: str, call: Any) -> None:
    arm(sim, route, "drop_before")
    with pytest.raises((openai.APIConnectionError, anthropic.APIConnectionError)):
        call(sim)
    assert faults(sim)["fired"] == [{"route": route, "action": "drop_before", "times": 1}]


def test_what_is_armed_is_listed_counts_down_and_can_be_disarmed(sim: Any) -> None:
    arm(sim, "openai.batches.list", "error_before", times=3)
    with pytest.raises(openai.InternalServerError):
        count(sim)
    report = faults(sim)
    assert [(row["route"], row["action"], row["times"]) for row in report["armed"]] == [
        ("openai.batches.list", "error_before", 2)
    ]
    assert report["fired"] == [{"route": "openai.batches.list", "action": "error_before", "times": 1}]
    disarm(sim)
    assert count(sim) == 0
    assert faults(sim)["fired"] == report["fired"]


def test_faults_fire_in_the_order_of_arming_and_on_their_own_route_only(sim: Any) -> None:
    arm(sim, "openai.batches.list", "error_before", status=502)
    arm(sim, "openai.batches.*", "error_before", status=503)
    statuses = []
    for _ in range(2):
        assert sim.call("GET", "/v1/files").status_code == 200
        statuses.append(sim.call("GET", "/v1/batches").status_code)
    assert statuses == [502, 503]
    assert sim.call("GET", "/v1/batches").status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"route": "openai.batches.creat", "action": "drop_after"},
        {"route": "openai.batches.create", "action": "explode"},
        {"route": "openai.batches.create", "action": "drop_after", "times": 0},
        {"route": "openai.batches.create", "action": "drop_after", "timse": 1},
        {"action": "drop_after"},
    ],
    ids=str,
)
def test_a_fault_that_cannot_be_meant_is_refused(sim: Any, fault: Any) -> None:
    answer = sim.call("POST", "/_emulator/faults", json=fault)
    assert (answer.status_code, faults(sim)["armed"]) == (400, [])
    assert answer.json()["error"]


def test_the_control_endpoints_are_never_broken(start: Any) -> None:
    sim = start(fault_rates={"error_before": 1.0}, fault_routes=("*",))
    assert sim.call("GET", "/v1/batches").status_code == 500
    assert sim.call("GET", "/_emulator/bill").status_code == faults_status(sim) == 200


def faults_status(sim: Any) -> int:
    return int(sim.call("GET", "/_emulator/faults").status_code)


def drawn(seed: int, route: str = "openai.batches.create") -> list[str]:
    faults = TransportFaults(Options(seed=seed, fault_rates={"drop_after": 0.1, "hang": 0.2}))
    return [fault.action if (fault := faults.take(route)) else "" for _ in range(1_000)]


def test_rates_are_met_and_repeat_with_the_seed() -> None:
    first = drawn(1)
    assert 60 < first.count("drop_after") < 140
    assert 150 < first.count("hang") < 250
    assert drawn(1) == first
    assert drawn(2) != first
    assert drawn(1, "openai.files.create") != first


def test_rates_leave_the_realtime_routes_alone_unless_told() -> None:
    rates: Any = {"drop_after": 1.0}
    assert TransportFaults(Options(fault_rates=rates)).take("openai.chat.completions.create") is None
    everywhere = TransportFaults(Options(fault_rates=rates, fault_routes=("*",)))
    assert everywhere.take("openai.chat.completions.create") is not None


@pytest.mark.parametrize(
    "rates", [{"hang": 1.1}, {"hang": -0.1}, {"hang": 0.6, "drop_after": 0.6}, {"explode": 0.1}], ids=str
)
def test_rates_that_cannot_be_meant_are_refused(rates: Any) -> None:
    with pytest.raises(ValueError, match="fault_rates"):
        Options(fault_rates=rates)


def test_every_action_has_a_flag() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "batchline.cli", "emulator", "--help"], capture_output=True, text=True, check=True
    ).stdout
    flags = [f"--fault-{action.replace('_', '-')}" for action in ACTIONS]
    for flag in [
        *flags,
        "--fault-route",
        "--fault-seconds",
        "--listing-lag",
        "--missing-file-delay",
        "--cancel-delay",
        "--gemini-file-delay",
    ]:
        assert f"{flag} " in shown


async def nothing(*_: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize("scope", [{}, {"extensions": {}}], ids=str)
def test_a_server_that_cannot_hang_up_says_so(scope: Any) -> None:
    with pytest.raises(RuntimeError, match="own server"):
        asyncio.run(HangUp()(scope, nothing, nothing))
