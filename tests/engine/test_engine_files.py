"""A provider's files are deleted once nobody can need them any more, an hour after settling at the earliest."""

from __future__ import annotations

import io
from typing import Any

import pytest
from starlette.responses import Response
from structlog.testing import capture_logs

from batchline.engine import auditor
from batchline.errors import Ambiguous
from batchline.store import keys

HAIKU = "anthropic:messages:claude-haiku-4-5"
HOUR = 3600
DAY = 24 * HOUR
OLD_ENOUGH = HOUR + 30 + 120
"""Files are kept for an hour; a lease and a create call come on top."""
OURS = "batchline-b0000000000000000abcde-abcdefghij.jsonl"


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


@pytest.mark.usefixtures("unchecked")
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


def upload(bench: Any, name: str = OURS) -> str:
    """Upload a file as another process would, under a key that is also ours; returns its id."""
    with bench.providers["openai"]._calling("upload") as client:
        rows = io.BytesIO(b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}')
        return str(client.files.create(file=(name, rows), purpose="batch").id)


def there(bench: Any) -> set[str]:
    """Return the files that the provider has."""
    return {file.id for file in bench.emulator.files.listed()}


def audit(bench: Any) -> None:
    """Let a turn of the audit come, and delete what is due."""
    auditor.audit_in_turn(bench.first.context, "openai")
    bench.tick()


def test_an_upload_whose_step_was_broken_off_is_deleted(bench: Any, death: Any) -> None:
    bench.first.openai.break_after("upload", death())
    bench.ask("hello")
    with pytest.raises(death):
        bench.tick()
    (stray,) = there(bench)
    bench.lapse()
    bench.advance(60)
    bench.drain()
    bench.advance(OLD_ENOUGH)
    with capture_logs() as logs:
        audit(bench)
    assert stray not in there(bench)
    assert [(event["log_level"], event["files"]) for event in logs if event["event"] == "files.stray"] == [
        ("warning", 1)
    ]


def test_an_upload_whose_create_may_still_come_is_left(bench: Any) -> None:
    young = upload(bench)
    bench.advance(OLD_ENOUGH)
    audit(bench)
    assert there(bench) == {young}
    bench.advance(1)
    audit(bench)
    assert there(bench) == set()


@pytest.mark.parametrize(
    "name", ["input.jsonl", "batchline.jsonl", f"my-{OURS}", f"{OURS}.gz", OURS.replace("-b", "-c")]
)
def test_a_file_without_our_mark_is_left(bench: Any, name: str) -> None:
    foreign = upload(bench, name)
    bench.advance(DAY)
    audit(bench)
    assert there(bench) == {foreign}


def test_a_file_from_which_a_batch_was_made_that_the_store_does_not_know_is_left(bench: Any) -> None:
    file = upload(bench)
    with bench.providers["openai"]._calling("create") as client:
        client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file)
    for _ in range(2):  # while it runs, and when it has ended
        bench.advance(OLD_ENOUGH + 1)
        audit(bench)
        assert file in there(bench)


def test_the_file_of_an_attempt_that_is_not_resolved_is_left(bench: Any) -> None:
    bench.first.openai.break_before("create", Ambiguous("lost", account="openai", call="create"))
    bench.ask("hello")
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.state == "reconciling"
    bench.advance(OLD_ENOUGH + 1)
    auditor.audit_in_turn(bench.first.context, "openai")
    assert (due(bench), there(bench)) == ([], {batch.input_ref})


def test_the_files_of_an_orphan_are_left_to_whoever_may_still_want_them(bench: Any) -> None:
    """Another installation that shares the key has the same mark, and has perhaps not read its results yet."""
    bench.ask("hello")
    bench.tick()
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    audit(bench)
    bench.advance(60)
    bench.tick()
    (orphan,) = bench.batches()
    assert (orphan.orphan, orphan.state, len(there(bench))) == (True, "settled", 2)
    bench.advance(DAY)
    audit(bench)
    assert (due(bench), len(there(bench))) == ([], 2)


def test_a_file_older_than_the_list_of_batches_goes_back_is_left_to_the_provider(bench: Any) -> None:
    old = upload(bench)
    bench.advance(3 * DAY + 1)
    audit(bench)
    assert there(bench) == {old}


def test_a_stray_file_that_waits_to_be_deleted_again_waits_on(bench: Any) -> None:
    file = f"openai|{upload(bench)}"
    bench.run("ZADD", keys.FILES, bench.now_ms + DAY * 1000, file)
    bench.advance(OLD_ENOUGH + 1)
    with capture_logs() as logs:
        audit(bench)
    assert (due(bench), deletes(bench)) == ([file], 0)
    assert not [event for event in logs if event["event"] == "files.stray"]


def test_files_that_cannot_be_listed_are_reported_and_asked_for_again(bench: Any) -> None:
    file = upload(bench)
    bench.advance(OLD_ENOUGH + 1)
    bench.wire.fault = lambda method, path: (
        Response(status_code=503) if (method, path) == ("GET", "/v1/files") else None
    )
    with capture_logs() as logs:
        audit(bench)
    assert [event["call"] for event in logs if event["event"] == "account.not_audited"] == ["uploads"]
    bench.wire.fault = None
    audit(bench)
    assert file not in there(bench)


def test_the_audit_before_a_create_does_not_look_for_files(bench: Any) -> None:
    auditor.before_create(bench.first.context, "openai")
    assert bench.first.openai.calls["uploads"] == 0


def test_a_provider_without_files_has_no_strays(bench: Any) -> None:
    auditor.audit_in_turn(bench.first.context, "anthropic")
    assert due(bench) == []
