"""What tests of the command line share: lines, replies, a command run in this process, and a stand-in for workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from batchline.cli import main
from batchline.requests import BatchRef, CostUsd, Reply, ReplyError, Timing, Usage, encode_reply
from batchline.store import Store, keys

CHAT = "openai:chat:gpt-5-mini"
MESSAGES = "anthropic:messages:claude-haiku-4-5"


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


class Command:
    """Runs the command line in this process and returns how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Done:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Done(left.value.code if isinstance(left.value.code, int) else 0, captured.out, captured.err)


def chat_line(request_id: str, **more: Any) -> str:
    """Return a line of an input file."""
    return json.dumps({"id": request_id, "model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}]} | more)


def written(path: Path, *lines: str) -> Path:
    """Write an input file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def answer(request_id: str, **given: Any) -> Reply:
    """Return a succeeded reply that cost 2 µ$ at list price and half of it as paid."""
    usual: dict[str, Any] = {
        "id": request_id,
        "status": "succeeded",
        "response": msgspec.Raw(b'{"object":"chat.completion","choices":[]}'),
        "usage": Usage(input_tokens=10, output_tokens=5),
        "cost": CostUsd(list_usd="0.000002", paid_usd="0.000001", saved_usd="0.000001"),
        "attempts": 1,
        "batch": BatchRef(id="b1", provider_id="batch_1"),
        "timing": Timing(enqueued=1_000, submitted=2_000, ended=3_000, settled=4_000),
    }
    return Reply(**(usual | given))


def failure(request_id: str) -> Reply:
    """Return a failed reply."""
    error = ReplyError(code="expired", message="the window passed")
    return answer(request_id, status="failed", response=None, usage=None, cost=None, error=error)


class Workers:
    """Answers whatever is enqueued, in a thread, as ``respond`` says (None: no answer); counts what it saw."""

    def __init__(self, store: Store, respond: Callable[[str, str], Reply | None]) -> None:
        self.seen: list[str] = []
        self._store = Store(store.connection.url)
        self._respond = respond
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client: Any = self._store.connection.redis
        last: dict[str, Any] = {keys.requests(lane): "0-0" for lane in (CHAT, MESSAGES)}
        while not self._over.is_set():
            for stream, entries in client.xread(last, block=50) or ():
                for entry, fields in entries:
                    last[stream.decode()] = entry
                    self._answer(stream.decode(), fields)

    def _answer(self, stream: str, fields: dict[bytes, bytes]) -> None:
        request_id = fields[b"id"].decode()
        self.seen.append(request_id)
        reply = self._respond(stream, request_id)
        if reply is not None:
            self._store.connection.run("RPUSH", keys.reply_list(fields[b"reply_to"].decode()), encode_reply(reply))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._store.close()
