"""The emulator as a process, and what it may import."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from batchline.emulator import Options, running
from batchline.emulator.__main__ import main

LISTENING = "emulator listening on http://127.0.0.1:"


def test_the_process_says_where_it_listens_and_leaves_nothing_when_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "batchline.emulator", "--port", "0", "--latency", "1"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(LISTENING)
            url = line.removeprefix("emulator listening on ").strip()
            assert httpx2.get(f"{url}/_emulator/health").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
    assert process.returncode in (0, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault-hang", "2"], "fault_rates"),
        (["--latency", "-1"], "latency_s is -1.0"),
        (["--port", "99999"], "'99999' is no port"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_is_said_with_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with running(Options()) as server, pytest.raises(SystemExit) as left:
        main(["--port", server.url.rpartition(":")[2]])
    assert left.value.code == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_a_batch_ends_by_itself_while_nobody_asks() -> None:
    with running(Options(latency_s=0, validation_delay_s=0)) as server, httpx2.Client(base_url=server.url) as client:
        headers = {"authorization": "Bearer k"}
        body = {"completion_window": "24h", "endpoint": "/v1/responses", "input_file_id": "file-1"}
        client.post("/v1/batches", json=body, headers=headers)
        while server.emulator.jobs.unfinished("openai"):
            client.get("/_emulator/health")  # which brings nothing forward
        (batch,) = client.get("/v1/batches", headers=headers).json()["data"]
    assert batch["status"] == "failed"


def test_it_imports_nothing_of_the_rest_of_batchline() -> None:
    code = (
        "import sys, json, batchline.emulator.app, batchline.emulator.__main__;"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('batchline.'))))"
    )
    before = (
        "import sys, json, batchline; print(json.dumps(sorted(n for n in sys.modules if n.startswith('batchline.'))))"
    )
    loaded, package = (
        json.loads(subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout)
        for text in (code, before)
    )
    assert [name for name in loaded if not name.startswith("batchline.emulator") and name not in package] == []


@pytest.mark.parametrize("arguments", [["--enqueued-token-limit", "gpt-5-mini"], ["--port", "x"]])
def test_a_bad_argument_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [{"latency_s": -1}, {"error_rate": 1.5}, {"error_rate": 0.6, "expire_rate": 0.6}], ids=str
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"rate|latency"):
        Options(**options)  # type: ignore[arg-type]  # numbers for number fields


def test_a_client_that_goes_away_in_the_middle_of_an_upload_leaves_nothing(tmp_path: Path) -> None:
    head = (
        b"POST /v1/messages/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
        b"anthropic-version: 2023-06-01\r\nContent-Length: 1000000\r\n\r\n"
    )
    with running(Options(state_dir=tmp_path)) as server, httpx2.Client(base_url=server.url) as client:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
            connection.sendall(head + b'{"requests":[')
        while not server.emulator.bill.calls or list(server.emulator.scratch.iterdir()):
            client.get("/_emulator/health")
        assert client.get("/_emulator/bill").json()["batches_created"] == {}
