"""A key that was used before, or is used by others too: nobody's batches hold up ours, and ours leave theirs alone."""

from __future__ import annotations

import io
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from batchline.emulator.foreign import Foreign, add_foreign
from batchline.engine import auditor, cancelling, orphans
from batchline.errors import Ambiguous
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
SECOND = "second:chat:gpt-5-mini"
CLAUDE = "anthropic:messages:claude-haiku-4-5"
HOUR = 3600
LANES = [("openai", CHAT), ("anthropic", CLAUDE)]


def empty_the_store(bench: Any) -> None:
    """Begin with a store that knows nothing, on a key that was used."""
    bench.run("FLUSHDB")
    bench.sent.clear()


def see_theirs(bench: Any) -> Any:
    """See a running batch that another installation made with the same key: found by its mark, nothing of it owed here."""
    bench.start(latency_s=20 * HOUR)
    bench.ask_many(3)
    bench.tick()
    empty_the_store(bench)
    auditor.audit_in_turn(bench.first.context, "openai")
    (theirs,) = bench.batches()
    assert (theirs.state, theirs.orphan, theirs.embarks, theirs.riders) == ("submitted", True, False, 0)
    return theirs


def rename_the_account(bench: Any, **values: Any) -> None:
    """Call the account `openai` `second` in the settings; its key stays."""
    accounts = dict(bench.settings.accounts)
    accounts["second"] = accounts.pop("openai").model_copy(update=values)
    bench.settings = bench.settings.model_copy(update={"accounts": accounts})


def gone(path: str) -> Any:
    """Answer 404 where the path ends so."""
    error = {"error": {"message": "no such thing", "type": "not_found_error"}}
    return lambda _, asked: JSONResponse(error, status_code=404) if asked.endswith(path) else None


def keep_ticking(bench: Any, *, times: int, step_s: float) -> None:
    for _ in range(times):
        bench.tick()
        bench.advance(step_s)
        bench.lapse()


# --- a store that starts empty ---


@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_a_store_that_starts_empty_creates_at_once_where_a_batch_was_settled_and_its_files_deleted(
    bench: Any, kind: str, lane: str
) -> None:
    bench.ask_many(3, lane)
    bench.drain()
    bench.advance(HOUR)
    bench.tick()  # its files are deleted
    empty_the_store(bench)
    bench.ask("new", lane, id="new")
    bench.tick()
    assert bench.created(kind) == 2
    bench.drain()
    assert bench.reply("new", lane).status == "succeeded"


def test_what_was_found_and_carries_nothing_is_let_go_once_its_results_are_gone(bench: Any) -> None:
    bench.ask_many(3)
    bench.drain()
    bench.advance(HOUR)
    bench.tick()
    empty_the_store(bench)
    auditor.audit_in_turn(bench.first.context, "openai")
    with capture_logs() as logs:
        bench.tick()
    assert [batch.state for batch in bench.batches()] == ["settled"]
    assert [event["event"] for event in logs if event["event"].startswith("batch.")] == [
        "batch.ended",
        "batch.let_go",
        "batch.ended",
        "batch.settled",
    ]


def test_an_orphan_whose_requests_are_owed_is_not_let_go_when_its_results_are_gone(bench: Any) -> None:
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id), keys.walk(CHAT))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    auditor.audit_in_turn(bench.first.context, "openai")
    bench.advance(60)
    bench.wire.fault = gone("/content")
    keep_ticking(bench, times=5, step_s=HOUR)
    assert [each.state for each in bench.batches() if each.orphan] == ["ended"]
    assert bench.created() == 1
    bench.wire.fault = None
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}


def test_where_the_file_is_gone_the_requests_come_aboard_by_the_results(bench: Any) -> None:
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    bench.advance(60)
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id), keys.walk(CHAT))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    bench.providers["openai"].delete_file(batch.input_ref)
    auditor.audit_in_turn(bench.first.context, "openai")
    assert [each.riders for each in bench.batches()] == [3]
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


def test_a_batch_that_was_found_and_is_unknown_then_holds_up_creates_until_it_can_cost_nothing_more(bench: Any) -> None:
    bench.start(latency_s=HOUR)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    empty_the_store(bench)
    bench.wire.fault = gone(f"/batches/{batch.provider_id}")
    bench.ask("new", id="new")
    keep_ticking(bench, times=24, step_s=HOUR)
    assert bench.created() == 1
    keep_ticking(bench, times=3, step_s=HOUR)
    assert bench.created() == 2


# --- another installation's batches ---


def test_a_stuck_batch_of_another_installation_is_not_cancelled(bench: Any) -> None:
    see_theirs(bench)
    bench.set("stuck", action="cancel", after=HOUR)
    with capture_logs() as logs:
        keep_ticking(bench, times=6, step_s=1800)
    assert "batch.stuck" in [event["event"] for event in logs]
    assert bench.first.openai.calls["cancel"] == 0


def test_cancelling_a_lane_does_not_reach_another_installations_batch(bench: Any) -> None:
    see_theirs(bench)
    cancelling.cancel_lane(bench.first.context, CHAT)
    keep_ticking(bench, times=3, step_s=60)
    assert bench.first.openai.calls["cancel"] == 0


def test_cancelling_reaches_a_batch_that_was_found_with_requests_of_ours(bench: Any) -> None:
    bench.start(latency_s=20 * HOUR)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id), keys.walk(CHAT))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    auditor.audit_in_turn(bench.first.context, "openai")
    cancelling.cancel_lane(bench.first.context, CHAT)
    bench.tick()
    assert bench.first.openai.calls["cancel"] == 1


def test_another_installations_batches_take_none_of_the_accounts_room(bench: Any) -> None:
    see_theirs(bench)
    bench.set("account", max_open_batches=1)
    bench.ask("ours")
    bench.tick()
    assert bench.created() == 2


def test_a_batch_that_was_found_with_requests_of_ours_takes_room(bench: Any) -> None:
    bench.start(latency_s=20 * HOUR)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id), keys.walk(CHAT))
    bench.run("DEL", keys.account_open("openai"))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    auditor.audit_in_turn(bench.first.context, "openai")
    assert bench.run("HKEYS", keys.account_open("openai")) == [batch.id.encode()]
    bench.advance(21 * HOUR)
    bench.drain()
    assert bench.run("HKEYS", keys.account_open("openai")) == []


def test_the_same_entry_id_in_another_installation_is_another_request(bench: Any) -> None:
    bench.ask("theirs", id="their-request")
    bench.tick()
    empty_the_store(bench)
    bench._entries = 0
    bench.ask("ours", id="our-request")  # at the same time, with the same number
    auditor.audit_in_turn(bench.first.context, "openai")
    assert [batch.riders for batch in bench.batches()] == [0]
    bench.tick()
    assert bench.created() == 2
    bench.drain()
    assert bench.answers_itself(bench.reply("our-request"), "ours")


def test_a_file_that_became_a_batch_after_the_list_was_read_is_not_deleted(bench: Any) -> None:
    bench.start(latency_s=20 * HOUR)
    bench.ask("one")
    bench.tick()
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("openai", batch.provider_id))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    made: list[str] = []

    def sent(real: Any, provider_id: str) -> Any:
        """Let another installation upload and create meanwhile, and reading the file back take two hours."""
        row = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}'
        with bench.providers["openai"]._calling("upload") as client:
            name = "batchline-b0000000000000000abcde-abcdefghij.jsonl"
            file = client.files.create(file=(name, io.BytesIO(row)), purpose="batch").id
            client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file)
        made.append(file)
        bench.advance(2 * HOUR)
        return real(provider_id)

    bench.first.openai.replace("sent", sent)
    auditor.audit_in_turn(bench.first.context, "openai")
    bench.tick()
    assert made[0] in {file.id for file in bench.emulator.files.listed()}


# --- accounts ---


def test_a_batch_of_an_account_that_was_renamed_since_is_not_adopted_by_the_new_one(bench: Any) -> None:
    bench.start(latency_s=20 * HOUR)
    bench.ask_many(3)
    bench.tick()
    empty_the_store(bench)
    rename_the_account(bench, max_open_batches=1)
    bench.ask("new", SECOND, id="new")
    assert [(each.lane, each.action) for each in orphans.look(bench.first.context, "second")] == [
        (CHAT, "leave to the account of its lane")
    ]
    bench.tick()
    assert [batch.lane for batch in bench.batches()] == [SECOND]
    assert bench.created() == 2


def test_a_running_batch_of_an_account_that_was_renamed_is_no_duplicate(bench: Any) -> None:
    bench.start(latency_s=20 * HOUR)
    bench.ask_many(3)
    bench.tick()
    rename_the_account(bench)
    auditor.audit_in_turn(bench.first.context, "second")
    assert bench.first.openai.calls["cancel"] == 0
    assert len(bench.batches()) == 1


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_what_one_of_two_accounts_with_one_key_has_claimed_is_no_orphan_of_the_other(bench: Any, kind: str) -> None:
    bench.ask_many(3, dict(LANES)[kind])
    bench.drain()
    accounts = dict(bench.settings.accounts)
    accounts["second"] = accounts[kind].model_copy()
    bench.settings = bench.settings.model_copy(update={"accounts": accounts})
    bench.first.openai = getattr(bench.first, kind)  # the account `second` is dealt this one
    assert orphans.look(bench.first.context, "second") == []
    assert auditor.audit(bench.first.context, "second") == 0


# --- other applications' results ---


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"type": "error", "error": {"type": "not_found_error", "message": "gone"}}, status_code=404),
        JSONResponse({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, status_code=400),
        Response(b"not json\n", media_type="application/binary"),
    ],
    ids=["gone", "refused", "unreadable"],
)
def test_another_applications_results_that_cannot_be_read_hold_up_nobody(bench: Any, answer: Response) -> None:
    add_foreign(bench.emulator, Foreign(provider="anthropic", count=1, total=2))
    bench.advance(60)
    bench.wire.fault = lambda _, path: answer if path.endswith("/results") else None
    bench.ask("hello", CLAUDE)
    with capture_logs() as logs:
        bench.tick()
    assert bench.created("anthropic") == 1
    assert {event["log_level"] for event in logs if event["event"] == "batch.not_identified"} == {"warning"}


@pytest.mark.parametrize("status", [500, 503, 529, 401])
def test_results_that_cannot_be_had_now_do_hold_up_creates(bench: Any, status: int) -> None:
    bench.ask_many(3, CLAUDE)
    bench.tick()
    bench.advance(60)
    (batch,) = bench.batches()
    bench.run("DEL", keys.batch(batch.id), keys.provider_batch("anthropic", batch.provider_id), keys.walk(CLAUDE))
    bench.run("ZREM", keys.AGENDA_POLL, batch.id)
    bench.run("HDEL", keys.AUDITED, "anthropic")
    bench.wire.fault = lambda _, path: Response(status_code=status) if path.endswith("/results") else None
    bench.tick()
    assert bench.created("anthropic") == 1
    bench.wire.fault = None
    bench.advance(600)
    bench.drain()
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created("anthropic") == 1


# --- two batches of one attempt, one of them dead ---


def test_a_batch_of_the_attempt_that_was_refused_as_a_whole_does_not_take_the_place_of_the_one_that_runs(
    bench: Any,
) -> None:
    bench.start(latency_s=HOUR)

    def create(real: Any, rows: Any, job: Any, *, timeout_s: float) -> Any:
        """Let a gateway send the create twice: the first is refused in validation."""
        tag = {"batchline_batch": job.batch_id, "batchline_nonce": job.nonce, "batchline_lane": job.lane}
        with bench.providers["openai"]._calling("create") as client:
            client.batches.create(
                completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-none", metadata=tag
            )
        bench.advance(2)
        real(rows, job, timeout_s=timeout_s)
        raise Ambiguous("lost", account="openai", call="create")

    bench.first.openai.replace("create", create)
    bench.ask_many(3)
    bench.tick()
    bench.advance(30)
    bench.drain(step_s=600)
    assert bench.first.openai.calls["cancel"] == 0
    assert bench.bill()["executions"] == {"openai": 3}
    assert bench.statuses() == {"succeeded": 3}
