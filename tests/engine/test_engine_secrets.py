"""No prompt and no answer gets into logs, errors, batch records, the ledger or the metrics."""

from __future__ import annotations

import json
from typing import Any

from structlog.testing import capture_logs

from batchline.exporter import StoreCollector

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
CANARY = "canary-51ab"
MARKERS = ["", "[[reject]]", "[[fail]]", "[[expire-once]]", "[[missing-once]]", "[[duplicate]]"]


def run(bench: Any) -> list[Any]:
    """Send requests of every fate, all with the canary in them; returns all log events."""
    with capture_logs() as logs:
        for lane in (CHAT, HAIKU):
            for marker in MARKERS:
                bench.ask(f"{CANARY} {marker}", lane, reply_to="out")
        for n, raw in enumerate([f'"{CANARY}"', CANARY, f'{{"model":"gpt-5","x":"{CANARY}"}}', f'{{"x":"{CANARY}"']):
            bench.add(CHAT, id=f"bad{n}", body=raw, reply_to="out")
        bench.add(CHAT, id="meta", body="{}", metadata=CANARY, reply_to="out")
        bench.add(CHAT, id="deadline", body="{}", deadline=CANARY, reply_to="out")
        bench.add(CHAT, id="guilty", body=json.dumps({"model": "gpt-5-mini", "x": CANARY}), reply_to="out")
        bench.drain(rounds=200)
    return logs


def test_no_log_line_quotes_a_prompt(bench: Any) -> None:
    logs = run(bench)
    assert len(logs) > 10
    assert CANARY not in repr(logs)
    assert "sha256:" not in repr(logs)


def test_no_failed_reply_quotes_the_prompt(bench: Any) -> None:
    run(bench)
    failed = [reply for reply in bench.queue("batchline:reply:out") if reply.error]
    assert len(failed) >= 9
    assert CANARY not in repr([reply.error for reply in failed])


def test_nothing_of_a_prompt_is_left_in_the_store_but_the_reply(bench: Any) -> None:
    run(bench)
    bench.run("DEL", "batchline:reply:out")
    dump = [bench.run("DUMP", key) for key in bench.run("KEYS", "*")]
    assert CANARY.encode() not in b"".join(dump)


def test_no_metric_quotes_a_prompt(bench: Any) -> None:
    run(bench)
    assert CANARY not in repr(list(StoreCollector(bench.store, bench.settings).collect()))
