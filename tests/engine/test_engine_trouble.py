"""When the provider fails, nothing is lost, nothing is cut, and the account says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from batchline.engine import cancelling
from batchline.errors import Ambiguous, Retryable
from batchline.providers import make_provider
from batchline.providers.protocol import AccountAccess
from batchline.store import keys

CHAT = "openai:chat:gpt-5-mini"
HAIKU = "anthropic:messages:claude-haiku-4-5"
FILES, BATCHES, MESSAGES = "/v1/files", "/v1/batches", "/v1/messages/batches"
LANES = [CHAT, HAIKU]


def failing(status: int, *paths: str, times: int = 1_000, code: str = "overloaded", **headers: str) -> Any:
    """Let POST calls of these paths fail so many times."""
    left = [times]

    def fault(method: str, path: str) -> Response | None:
        if method != "POST" or path not in paths or left[0] == 0:
            return None
        left[0] -= 1
        body = {"type": "error", "error": {"type": code, "code": code, "message": "please wait"}}
        return JSONResponse(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return fault


@pytest.mark.parametrize("lane", LANES)
def test_a_wrong_key_loses_nothing_and_works_once_it_is_right(bench: Any, keyring: dict[str, str], lane: str) -> None:
    account = lane.split(":", 1)[0]
    bench.start(api_key="sk-right")
    request_id = bench.ask("hello", lane)
    bench.tick()
    trouble = bench.store.accounts.outage(account)
    assert trouble.failures == 1
    assert "401" in trouble.message
    assert "key" in trouble.message
    assert "sk-test" not in trouble.message
    assert bench.owed() == 1
    keyring[account] = "sk-right"
    try:
        bench.drain()
    finally:
        keyring[account] = "sk-test"
    assert (bench.reply(request_id, lane).status, bench.reply(request_id, lane).attempts) == ("succeeded", 1)
    assert bench.store.accounts.outage(account).failures == 0


@pytest.mark.parametrize(("lane", "path"), [(CHAT, BATCHES), (HAIKU, MESSAGES)])
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_at_the_create_refuses_no_request(bench: Any, lane: str, path: str, status: int) -> None:
    bench.ask("while the key was right", lane)
    bench.drain()
    bench.wire.fault = failing(status, path, times=1)
    bench.ask("hello", lane)
    bench.tick()
    assert [batch.state for batch in bench.open_batches()] == ["cut"]
    bench.drain()
    assert bench.statuses() == {"succeeded": 2}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}


def test_an_account_without_a_key_waits_for_one(bench: Any, keyring: dict[str, str]) -> None:
    bench.ask("hello")
    keyring["openai"] = ""
    try:
        bench.tick()
    finally:
        keyring["openai"] = "sk-test"
    assert "key" in bench.store.accounts.outage("openai").message
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_an_upload_that_fails_goes_again(bench: Any, status: int) -> None:
    bench.wire.fault = failing(status, FILES, times=2)
    bench.ask("hello")
    bench.tick()
    assert bench.store.accounts.outage("openai").call == "upload"
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}
    assert bench.created() == 1


@pytest.mark.parametrize(("lane", "path"), [(CHAT, BATCHES), (HAIKU, MESSAGES)])
def test_a_create_that_is_throttled_waits_as_long_as_the_provider_asks(bench: Any, lane: str, path: str) -> None:
    bench.wire.fault = failing(429, path, times=1, retry_after="100")
    request_id = bench.ask("hello", lane)
    bench.tick()
    trouble = bench.store.accounts.outage(lane.split(":", 1)[0])
    assert (trouble.down_until, trouble.code, trouble.call) == (bench.now_ms + 100_000, "overloaded", "create")
    assert [batch.state for batch in bench.batches()] == ["cut"]
    bench.advance(99)
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["cut"]
    bench.advance(1)
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["submitted"]
    bench.drain()
    assert (bench.reply(request_id, lane).attempts, bench.created(lane.split(":", 1)[0])) == (1, 1)


@pytest.mark.parametrize(("lane", "path"), [(CHAT, BATCHES), (HAIKU, MESSAGES)])
def test_a_create_that_is_throttled_waits_five_minutes_at_most(bench: Any, lane: str, path: str) -> None:
    bench.wire.fault = failing(429, path, times=1, retry_after="86400")
    bench.ask("hello", lane)
    bench.tick()
    assert bench.store.accounts.outage(lane.split(":", 1)[0]).down_until == bench.now_ms + 300_000


@pytest.mark.parametrize(("asked_s", "wait_s"), [(299.0, 299), (301.0, 300), (86_400.0, 300), (1.0, 10), (None, 10)])
def test_a_poll_that_is_throttled_waits_as_asked_but_five_minutes_at_most(
    bench: Any, asked_s: float | None, wait_s: int
) -> None:
    busy = Retryable("busy", account="openai", call="poll", retry_after_s=asked_s)
    bench.ask("hello")
    bench.tick()
    bench.first.openai.break_before("poll", busy)
    bench.advance(10)
    with capture_logs() as logs:
        bench.tick()
    assert [event["again_in_s"] for event in logs if event["event"] == "batch.poll_failed"] == [wait_s]
    assert bench.batches()[0].next_ms == bench.now_ms + wait_s * 1000


def test_the_uploaded_file_of_a_create_that_was_refused_is_deleted(bench: Any) -> None:
    bench.wire.fault = failing(429, BATCHES, times=1)
    bench.ask("hello")
    bench.tick()
    assert bench.first.openai.calls["delete_file"] == 1


@pytest.mark.parametrize("account", ["openai", "anthropic"])
def test_a_provider_that_cannot_be_reached_is_named_and_waited_for(bench: Any, account: str) -> None:
    lane = CHAT if account == "openai" else HAIKU
    access = AccountAccess(name=account, key=lambda: "sk-test", base_url="http://127.0.0.1:9/v1")
    real = bench.providers[account]
    unreachable = make_provider(account, access)
    getattr(bench.first, account)._real = unreachable
    bench.ask("hello", lane)
    bench.tick()
    assert "no connection to the provider" in bench.store.accounts.outage(account).message
    getattr(bench.first, account)._real = real
    bench.drain()
    assert bench.statuses() == {"succeeded": 1}


def test_while_an_account_is_down_nothing_is_cut_and_its_range_grows(bench: Any) -> None:
    bench.wire.fault = failing(503, FILES, times=1)
    bench.ask_many(2)
    bench.tick()
    for _ in range(4):
        bench.advance(1)
        bench.ask_many(3)
        bench.tick()
    assert [batch.requests for batch in bench.batches()] == [2]
    assert bench.run("HGET", keys.walk(CHAT), "requests") == b"12"
    bench.drain()
    assert [batch.requests for batch in bench.batches()] == [2, 12]


def test_trouble_of_one_account_does_not_touch_another(bench: Any) -> None:
    bench.wire.fault = failing(503, FILES)
    bench.ask("hello")
    request_id = bench.ask("hello", HAIKU)
    for _ in range(5):
        bench.tick()
        bench.advance(10)
    assert bench.reply(request_id, HAIKU).status == "succeeded"
    assert bench.owed() == 1


def test_each_failure_in_a_row_doubles_the_wait_up_to_five_minutes(bench: Any) -> None:
    bench.wire.fault = failing(503, FILES)
    bench.ask("hello")
    waits = []
    for _ in range(9):
        bench.tick()
        until = bench.store.accounts.outage("openai").down_until
        waits.append((until - bench.now_ms) / 1000)
        bench.advance(waits[-1])
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize("lane", LANES)
def test_a_failing_poll_changes_nothing_and_goes_again(bench: Any, lane: str) -> None:
    worker = bench.first
    provider = worker.openai if lane == CHAT else worker.anthropic
    provider.break_before("poll", *[Retryable("no answer", account="a", call="poll", retry_after_s=50.0)] * 3)
    bench.ask("hello", lane)
    bench.drain(step_s=50)
    assert bench.statuses() == {"succeeded": 1}
    assert provider.calls["poll"] == 4


def test_a_failing_poll_is_made_again_when_the_provider_asks_for_it(bench: Any) -> None:
    bench.first.openai.break_before("poll", Retryable("no answer", account="a", call="poll", retry_after_s=200.0))
    bench.ask("hello")
    bench.tick()
    polls = []
    for seconds in (10, 199, 1):
        bench.advance(seconds)
        bench.tick()
        polls.append(bench.first.openai.calls["poll"])
    assert polls == [1, 1, 2]


def test_a_results_stream_that_breaks_off_is_read_again_and_nothing_comes_twice(bench: Any) -> None:
    whole = [False]

    def cut_off(results: Any, progress: Any, _sent: Any) -> Any:
        for number, result in enumerate(results(progress)):
            if number == 700 and not whole[0]:
                whole[0] = True
                raise Retryable("the stream broke off", account="openai", call="results")
            yield result

    bench.first.openai.replace("results", cut_off)
    bench.ask_many(1_000)
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.owed() == 300
    assert [batch.state for batch in bench.batches()] == ["ended"]
    bench.drain()
    assert bench.statuses() == {"succeeded": 1_000}
    assert bench.ledger()["settled:succeeded:batch"] == 1_000
    assert bench.batches()[0].waste_nano == 0


def test_results_are_read_again_after_the_poll_interval(bench: Any) -> None:
    bench.first.openai.break_before("results", Retryable("no answer", account="openai", call="results"))
    bench.ask("hello")
    bench.tick()
    bench.advance(10)
    bench.tick()
    assert bench.owed() == 1
    bench.advance(10)
    bench.tick()
    assert bench.owed() == 0


@pytest.mark.parametrize("state", ["submitted", "reconciling"])
def test_a_batch_whose_account_was_taken_out_of_the_settings_is_held_until_it_is_back(bench: Any, state: str) -> None:
    if state == "reconciling":
        bench.first.openai.break_after("create", Ambiguous("lost", account="openai", call="create"))
    bench.ask_many(3)
    bench.tick()
    whole = bench.settings
    bench.settings = whole.model_copy(update={"accounts": {"anthropic": whole.accounts["anthropic"]}})
    with capture_logs() as logs:
        for _ in range(3):
            bench.advance(60)
            bench.tick()
    assert [batch.state for batch in bench.batches()] == [state]
    assert {event["event"] for event in logs} == {"batch.held"}
    assert "no account 'openai'" in logs[0]["reason"]
    bench.settings = whole
    bench.drain(step_s=300)
    assert bench.statuses() == {"succeeded": 3}
    assert bench.created() == 1


def test_a_batch_cancelled_while_its_account_is_out_of_the_settings_is_answered_once_that_is_back(bench: Any) -> None:
    bench.start(latency_s=4 * 3600)
    bench.ask_many(3)
    bench.tick()
    (batch,) = bench.batches()
    whole = bench.settings
    bench.settings = whole.model_copy(update={"accounts": {"anthropic": whole.accounts["anthropic"]}})
    cancelling.cancel_batch(bench.first.context, batch.id)
    for _ in range(3):
        bench.advance(600)
        bench.tick()
    assert bench.owed() == 3
    bench.settings = whole
    bench.drain(step_s=300)
    assert bench.statuses() == {"cancelled": 3}
