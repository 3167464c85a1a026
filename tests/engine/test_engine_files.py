"""A provider's files are deleted once nobody can need them any more, an hour after settling at the earliest."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from structlog.testing import capture_logs

from batchline.store import keys

HAIKU = "anthropic:messages:claude-haiku-4-5"
HOUR = 3600


def due(bench: Any) -> list[str]:
    return [file.decode() for file in bench.run("ZRANGE", keys.FILES, 0, -1)]


def deletes(bench: Any) -> int:
    return int(bench.first.openai.calls["delete_file"])


def settle(bench: Any, count: int = 3) -> None:
    bench.ask_many(count)
    bench.drain()


def refuse(status: int) -> Any:
    """Answer every deletion with this status."""
    return lambda method, _: Response(status_code=status) if method == "DELETE" else None


def test_input_and_results_are_deleted_an_hour_after_settling(bench: Any) -> None:
    settle(bench)
    (batch,) = bench.batches()
    assert f"openai|{batch.input_ref}" in due(bench)
    assert len(due(bench)) == 2
    bench.advance(HOUR - 1)
    bench.tick()
    assert deletes(bench) == 0
    bench.advance(1)
    bench.tick()
    assert (deletes(bench), due(bench)) == (2, [])


def test_output_and_error_file_are_both_deleted(bench: Any) -> None:
    bench.set("retry", max_attempts=1)
    bench.ask("good")
    bench.ask("bad [[fail-once]]")
    bench.drain()
    assert len(due(bench)) == 3


def test_a_provider_without_files_has_none_to_delete(bench: Any) -> None:
    bench.ask("hello", HAIKU)
    bench.drain()
    assert due(bench) == []


def test_a_file_that_is_gone_already_is_no_failure(bench: Any) -> None:
    settle(bench)
    bench.wire.fault = refuse(404)
    bench.advance(HOUR)
    bench.tick()
    assert (deletes(bench), due(bench)) == (2, [])


def test_a_file_that_cannot_be_deleted_waits_longer_each_time(bench: Any) -> None:
    settle(bench)
    bench.wire.fault = refuse(503)
    bench.advance(HOUR)
    with capture_logs() as logs:
        bench.tick()
    assert [entry["again_in_s"] for entry in logs if entry["event"] == "file.not_deleted"] == [600, 600]
    bench.advance(600)
    with capture_logs() as logs:
        bench.tick()
    assert [entry["again_in_s"] for entry in logs if entry["event"] == "file.not_deleted"] == [1200, 1200]
    bench.wire.fault = None
    bench.advance(1199)
    bench.tick()
    assert len(due(bench)) == 2
    bench.advance(1)
    bench.tick()
    assert due(bench) == []
    assert not bench.run("EXISTS", keys.FILES_FAILED)


def test_files_of_an_account_that_is_not_set_up_any_more_wait(bench: Any) -> None:
    settle(bench)
    accounts = {name: each for name, each in bench.settings.accounts.items() if name != "openai"}
    bench.settings = bench.settings.model_copy(update={"accounts": accounts})
    bench.advance(HOUR)
    bench.tick()
    assert (deletes(bench), len(due(bench))) == (0, 2)


def test_a_tick_rings_for_a_bounded_number_of_files(bench: Any) -> None:
    bench.run("ZADD", keys.FILES, *(part for n in range(25) for part in (1, f"openai|file-{n:02}")))
    bench.wire.fault = refuse(404)
    bench.tick()
    assert (deletes(bench), len(due(bench))) == (10, 15)


def test_a_lost_doorbell_rings_again_after_a_lease(bench: Any) -> None:
    settle(bench)
    bench.advance(HOUR)
    bench.first.deaf = True
    bench.tick()
    bench.first.deaf = False
    bench.tick()
    assert deletes(bench) == 0
    bench.advance(30)
    bench.tick()
    assert (deletes(bench), due(bench)) == (2, [])


def test_the_input_file_of_a_refused_attempt_is_deleted_later(bench: Any) -> None:
    bench.add("openai:chat:gpt-5-mini", id="wrong", body='{"model": "gpt-5-mini"}')
    bench.ask("good")
    bench.tick()
    (before,) = bench.batches()
    bench.advance(10)
    bench.tick()
    (batch,) = bench.batches()
    assert batch.again == 1
    assert due(bench) == [f"openai|{before.input_ref}"]
