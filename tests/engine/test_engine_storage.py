"""Files at the providers: added up by the audit, told as figures, and gone after settling, Gemini's as well."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import Response
from structlog.testing import capture_logs
from tests.engine.test_engine_figures import scrape, total

from batchline.errors import Retryable
from batchline.store import keys

GENERATE = "gemini:generate:gemini-2.5-flash"
HAIKU = "anthropic:messages:claude-haiku-4-5"
HOUR, DAY = 3600, 86_400
FILES, BYTES = "batchline_provider_storage_files", "batchline_provider_storage_bytes"


def due(bench: Any) -> list[str]:
    return [file.decode() for file in bench.run("ZRANGE", keys.FILES, 0, -1)]


def refuse(status: int) -> Any:
    """Answer every deletion with this status."""
    return lambda method, _: Response(status_code=status) if method == "DELETE" else None


# --- storage in use ---


def test_the_audit_adds_up_the_files_of_an_account(bench: Any) -> None:
    bench.ask("hello")
    bench.drain()
    bench.first.audit("openai")
    (facts,) = bench.store.accounts.facts(["openai"], now_ms=bench.now_ms)
    there = [file.bytes for file in bench.emulator.files.listed()]
    assert (facts.storage.files, facts.storage.bytes, facts.storage.at_ms) == (2, sum(there), bench.now_ms)
    samples = scrape(bench)
    assert total(samples, FILES, "openai") == 2
    assert total(samples, BYTES, "openai") == sum(there) > 0
    assert total(samples, FILES, "openai", "ours") == facts.storage.ours


def test_an_audit_asks_once_for_what_is_stored(bench: Any) -> None:
    bench.first.audit("openai")
    assert bench.first.openai.calls["storage"] == 1


def test_the_limit_is_told_where_it_is_known(bench: Any) -> None:
    samples = scrape(bench)
    name = "batchline_provider_storage_limit_bytes"
    assert total(samples, name, "gemini") == 20_000_000_000
    assert total(samples, name, "openai") == 2_500_000_000_000
    assert not [key for key in samples if key.startswith((name, FILES)) and "anthropic" in key]


def test_a_compatible_service_has_files_and_no_known_limit(bench: Any) -> None:
    accounts = dict(bench.settings.accounts)
    accounts["openai"] = accounts["openai"].model_copy(update={"preset": "groq"})
    bench.settings = bench.settings.model_copy(update={"accounts": accounts})
    samples = scrape(bench)
    assert [key for key in samples if key.startswith("batchline_provider_storage_limit")] == [
        "batchline_provider_storage_limit_bytes gemini"
    ]
    assert any(key.startswith(FILES) and "openai" in key for key in samples)


def test_an_account_whose_provider_has_no_files_forgets_what_it_had(bench: Any) -> None:
    bench.run("HSET", keys.account("anthropic"), *(f"{name}" for pair in STORED.items() for name in pair))
    bench.first.audit("anthropic")
    (facts,) = bench.store.accounts.facts(["anthropic"], now_ms=bench.now_ms)
    assert facts.storage is None


STORED = {"storage_files": 1, "storage_bytes": 1, "storage_ours": 1, "storage_our_bytes": 1, "storage_ms": 1}


def test_storage_that_cannot_be_asked_for_does_not_stop_the_audit(bench: Any) -> None:
    error = Retryable("no", account="openai", call="storage", code="503")
    bench.first.openai.break_before("storage", error)
    with capture_logs() as logs:
        bench.first.audit("openai")
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["account.files_not_counted"]
    assert bench.first.openai.calls["uploads"] == 1


def test_an_audit_that_fails_does_not_stop_the_count(bench: Any) -> None:
    bench.first.openai.break_before("recent", Retryable("no", account="openai", call="recent", code="503"))
    bench.first.audit("openai")
    (facts,) = bench.store.accounts.facts(["openai"], now_ms=bench.now_ms)
    assert facts.storage.files == 0


def test_trouble_that_is_over_leaves_what_is_stored(bench: Any) -> None:
    bench.first.audit("openai")
    more: dict[str, Any] = {"min_s": 1, "max_s": 2, "asked_s": None, "call": "poll", "code": "503", "message": "no"}
    bench.store.accounts.note_outage("openai", now_ms=bench.now_ms, **more)
    bench.store.accounts.clear_outage("openai")
    (facts,) = bench.store.accounts.facts(["openai"], now_ms=bench.now_ms)
    assert facts.storage is not None
    assert bench.store.accounts.outage("openai").failures == 0


# --- what is deleted after settling ---


def test_geminis_input_file_is_deleted_and_its_file_of_results_left_to_it(bench: Any) -> None:
    bench.ask("hello", GENERATE)
    bench.drain()
    (batch,) = bench.batches()
    assert f"gemini|{batch.input_ref}" in due(bench)
    assert len(bench.emulator.gemini_files.listed()) == 1
    bench.advance(HOUR)
    with capture_logs() as logs:
        bench.tick()
    assert due(bench) == []
    assert [each for each in logs if each["event"].startswith("file.") and each["log_level"] != "debug"] == []
    assert bench.emulator.gemini_files.listed() == []


def test_an_inline_batch_is_deleted_with_the_answers_in_it(bench: Any) -> None:
    bench.set("account", inline=True)
    bench.ask("hello", GENERATE)
    bench.drain()
    (batch,) = bench.batches()
    assert (batch.input_ref, due(bench)) == ("", [f"gemini|{batch.provider_id}"])
    bench.advance(HOUR)
    bench.tick()
    assert due(bench) == []
    assert batch.provider_id not in {listed.provider_id for listed in bench.providers["gemini"].recent(0)}
    assert bench.bill()["violations"] == []


def test_an_expired_batch_leaves_no_file_behind(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    bench.start(gemini_expire_rate=1.0)
    bench.ask("hello", GENERATE)
    bench.drain(rounds=200, step_s=HOUR)
    bench.advance(2 * HOUR)
    bench.tick()
    assert due(bench) == []


def test_a_file_that_the_provider_refuses_to_delete_is_left_to_it_in_the_end(bench: Any) -> None:
    bench.ask("hello")
    bench.drain()
    bench.wire.fault = refuse(400)
    events: list[str] = []
    for _ in range(60):
        bench.advance(HOUR)
        with capture_logs() as logs:
            bench.tick()
        events += [entry["event"] for entry in logs if entry["event"].startswith("file.")]
    assert due(bench) == []
    assert not bench.run("EXISTS", keys.FILES_FAILED)
    assert (events.count("file.left"), events[-1]) == (2, "file.left")
    assert events.count("file.not_deleted") <= 20


@pytest.mark.parametrize("status", [401, 403, 500], ids=["key", "right", "their trouble"])
def test_what_may_be_set_right_is_never_given_up(bench: Any, status: int) -> None:
    bench.ask("hello")
    bench.drain()
    bench.wire.fault = refuse(status)
    for _ in range(20):
        bench.advance(DAY)
        bench.tick()
    assert len(due(bench)) == 2
    bench.wire.fault = None
    bench.advance(DAY)
    bench.tick()
    assert due(bench) == []
