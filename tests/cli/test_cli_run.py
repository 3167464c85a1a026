"""``batchline run``: every reply once in the output, whatever happens in between."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.kit import CHAT, MESSAGES, Command, Workers, answer, chat_line, failure, written

from batchline.cli import run as run_module
from batchline.cli.inputs import Input, check_input
from batchline.requests import Reply, encode_reply
from batchline.store import Store, keys

Start = Callable[..., Workers]


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "WAKE_S", 0.02)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    lines = [chat_line(f"o{n}") for n in range(3)]
    lines += [chat_line(f"a{n}", model="claude-haiku-4-5", max_tokens=9) for n in range(2)]
    return written(tmp_path / "in.jsonl", *lines)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def ids(path: Path) -> list[str]:
    return sorted(json.loads(line)["id"] for line in path.read_bytes().splitlines())


def run_id(out: Path) -> str:
    return str(json.loads(out.with_name(out.name + ".run").read_text())["run"])


ALL = ["a0", "a1", "o0", "o1", "o2"]


def test_every_reply_stands_once_in_the_output_under_its_own_id(
    batchline: Command, workers: Start, source: Path, out: Path
) -> None:
    workers()
    done = batchline("run", source, "-o", out)
    assert (done.code, ids(out)) == (0, ALL)
    assert not out.with_name("out.jsonl.part").exists()


def test_the_settlement_stands_on_stdout_and_the_progress_on_stderr(
    batchline: Command, workers: Start, source: Path, out: Path
) -> None:
    workers()
    done = batchline("run", source, "-o", out)
    assert [line.split()[0] for line in done.out.splitlines() if line] == ["lane", MESSAGES, CHAT, "total"] * 2
    assert "$0.00001 " in done.out
    assert "answered: 5 of 5" in done.err


def test_some_failures_are_exit_code_1(batchline: Command, workers: Start, source: Path, out: Path) -> None:
    workers(lambda _, request_id: failure(request_id) if request_id.endswith("o1") else answer(request_id))
    done = batchline("run", source, "-o", out)
    assert (done.code, ids(out)) == (1, ALL)
    assert "errors: 1 expired" in done.out


def test_requests_that_come_through_a_pipe_are_run_once_however_often(
    batchline: Command, workers: Start, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = workers()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
        assert (batchline("run", "-", "-o", out).code, ids(out), len(seen.seen)) == (0, ALL, 5)


def test_a_file_that_changes_while_it_is_run_is_refused_and_can_be_put_back(
    batchline: Command, workers: Start, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = workers()
    before = source.read_bytes()

    def check(*given: Any, **named: Any) -> Input:
        checked = check_input(*given, **named)
        source.write_bytes(before + chat_line("more").encode())
        return checked

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "check_input", check)
        done = batchline("run", source, "-o", out)
    assert (done.code, done.out, out.exists()) == (2, "", False)
    assert "changed while it was read" in done.err
    source.write_bytes(before)
    assert (batchline("run", source, "-o", out).code, ids(out), len(seen.seen)) == (0, ALL, 5)


def test_a_finished_run_is_not_run_again(batchline: Command, workers: Start, source: Path, out: Path) -> None:
    seen = workers()
    first = batchline("run", source, "-o", out)
    second = batchline("run", source, "-o", out)
    assert (second.code, second.out, len(seen.seen)) == (0, first.out, 5)


def test_a_response_with_line_breaks_stays_one_line(
    batchline: Command, workers: Start, source: Path, out: Path
) -> None:
    raw = b'{\n "text": "a\xe2\x80\xa8b\xc2\x85c"\n}'
    workers(lambda _, request_id: answer(request_id, response=msgspec.Raw(raw)))
    batchline("run", source, "-o", out)
    replies = [json.loads(line) for line in out.read_bytes().split(b"\n") if line]
    assert [reply["response"] for reply in replies] == [{"text": "a\u2028b\x85c"}] * 5


def test_nothing_is_enqueued_when_a_line_is_bad(batchline: Command, store: Store, tmp_path: Path, out: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), "{")
    done = batchline("run", source, "-o", out)
    assert (done.code, store.ledger.depths(), out.exists()) == (2, [], False)
    assert done.err.startswith(f"batchline: {source}:2: ")


def test_an_unreachable_store_is_exit_code_3_and_names_the_setting(command: Command, source: Path, out: Path) -> None:
    done = command("run", source, "-o", out)
    assert done.code == 3
    assert "BATCHLINE_REDIS_URL" in done.err


def test_a_refused_key_is_exit_code_3_and_the_run_can_be_resumed(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    def respond(stream: str, request_id: str) -> Reply | None:
        account = "openai" if "openai" in stream else "anthropic"
        message = f"create on account '{account}': the provider answered 401; requests wait until then"
        trouble: dict[str, Any] = {
            "min_s": 5,
            "max_s": 300,
            "asked_s": None,
            "call": "create",
            "code": "invalid_api_key",
        }
        store.accounts.note_outage(account, now_ms=1_700_000_000_000, message=message, **trouble)
        return answer(request_id) if account == "openai" else None

    workers(respond)
    done = batchline("run", source, "-o", out)
    assert done.code == 3
    assert "create on account 'anthropic': the provider answered 401" in done.err
    assert "nothing is lost. 2 of 5 replies are still to come" in done.err
    for each in ("a0", "a1"):
        push(store, out, answer(f"{run_id(out)}:{each}"))
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)


def push(store: Store, out: Path, *replies: Reply) -> None:
    for reply in replies:
        store.connection.run("RPUSH", keys.reply_list(f"run-{run_id(out)}"), encode_reply(reply))


def begun(out: Path, source: Path, *lines: bytes) -> None:
    """Leave the files of a run that was killed after it had written these lines."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    out.with_name("out.jsonl.run").write_text(json.dumps({"run": "0badcafe", "sha256": digest}))
    out.with_name("out.jsonl.part").write_bytes(b"".join(lines))


def test_a_resumed_run_enqueues_only_what_is_not_there(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    begun(out, source, encode_reply(answer("o0")) + b"\n", encode_reply(answer("a1")) + b"\n")
    push(store, out, answer("0badcafe:o1"))
    seen = workers()
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)
    assert sorted(seen.seen) == ["0badcafe:a0", "0badcafe:o2"]


def test_a_reply_that_was_written_but_not_acknowledged_is_not_written_again(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    begun(out, source, encode_reply(answer("o0")) + b"\n")
    store.connection.run("RPUSH", keys.reading("run-0badcafe", "run"), encode_reply(answer("0badcafe:o0")))
    workers()
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)


def test_a_line_that_was_not_written_whole_is_cut_off(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    torn = encode_reply(answer("o1"))[:40]
    begun(out, source, encode_reply(answer("o0")) + b"\n", torn)
    store.connection.run("RPUSH", keys.reading("run-0badcafe", "run"), encode_reply(answer("0badcafe:o1")))
    seen = workers()
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)
    assert "0badcafe:o1" not in seen.seen


def test_strange_replies_in_the_queue_are_passed_over(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    begun(out, source)
    push(store, out, answer("somebody:else"), answer("0badcafe:o0"), answer("0badcafe:o0"))
    store.connection.run("RPUSH", keys.reply_list("run-0badcafe"), "junk")
    workers()
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)


def test_an_output_of_something_else_is_not_overwritten(batchline: Command, source: Path, out: Path) -> None:
    out.write_text("precious")
    done = batchline("run", source, "-o", out)
    assert (done.code, out.read_text()) == (2, "precious")


def test_an_output_of_another_input_is_not_continued(
    batchline: Command, workers: Start, source: Path, out: Path
) -> None:
    workers()
    batchline("run", source, "-o", out)
    with source.open("a") as file:
        file.write(chat_line("more") + "\n")
    done = batchline("run", source, "-o", out)
    assert done.code == 2
    assert "belongs to another input" in done.err


def test_replies_that_were_removed_are_not_paid_for_again_unasked(batchline: Command, source: Path, out: Path) -> None:
    begun(out, source)
    out.with_name("out.jsonl.part").unlink()
    done = batchline("run", source, "-o", out)
    assert done.code == 2
    assert "is gone" in done.err


def started(store: Store, source: Path, out: Path) -> subprocess.Popen[str]:
    """Start a real run and return when its first requests are in the store."""
    environment = os.environ | {"BATCHLINE_REDIS_URL": store.connection.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "batchline.cli", "run", str(source), "-o", str(out)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    store.connection.blocking(timeout_s=30).xread({keys.requests(MESSAGES): "0-0"}, block=30_000)
    return process


def test_a_second_run_on_the_same_output_is_refused(batchline: Command, store: Store, source: Path, out: Path) -> None:
    with started(store, source, out) as first:
        done = batchline("run", source, "-o", out)
        first.kill()
    assert done.code == 2
    assert "another batchline run" in done.err


def test_a_killed_run_is_completed_by_the_same_command(
    batchline: Command, store: Store, workers: Start, source: Path, out: Path
) -> None:
    with started(store, source, out) as first:
        first.kill()
    seen = workers()
    assert (batchline("run", source, "-o", out).code, ids(out)) == (0, ALL)
    assert len(seen.seen) == 5


def test_an_interrupted_run_says_how_to_go_on(store: Store, source: Path, out: Path) -> None:
    with started(store, source, out) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "5 of 5 replies are still to come: run the same command again" in err
