"""The real Anthropic SDK against a loopback server: what goes out, and what comes of every way to fail."""

from __future__ import annotations

import io
import itertools
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchline.errors import Ambiguous, InvalidRequest, KeyRefused, Permanent, ProviderError, Retryable
from batchline.lanes import Lane
from batchline.providers.anthropic import LIMITS, AnthropicProvider
from batchline.providers.protocol import AccountAccess, DefaultBudget, Job, Limits, Options, Progress
from batchline.requests import Usage

if TYPE_CHECKING:
    from tests.providers.conftest import Pieces, Stage

JOB = Job(batch_id="b1", nonce="n1", endpoint="messages", model="m", rows=2, intent_ms=1_790_000_000_000)
ROWS = b'{"custom_id":"a","params":{}}\n{"custom_id":"b","params":{}}\n'
BODY = b'{"model":"m","max_tokens":5,"messages":[]}'
DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
"""Nested more deeply than anything reads."""
SUCCEEDED = (
    b'{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":1,"output_tokens":2}}}}\n'
)
EXPIRED = b'{"custom_id":"b","result":{"type":"expired"}}\n'


def lane(endpoint: str, *, beta: str | None = None) -> Lane:
    """Return a lane of the endpoint, as the realtime call takes it."""
    return Lane(name="", account="acme", endpoint=endpoint, model="m", beta=beta)


def batch(**fields: Any) -> dict[str, Any]:
    counts = {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": counts,
        "created_at": "2026-09-21T14:13:21Z",
        "expires_at": "2026-09-22T14:13:21Z",
    } | fields


@pytest.fixture
def provider(stage: Stage) -> AnthropicProvider:
    access = AccountAccess(name="acme", key=lambda: "sk-secret", base_url=stage.url)
    return AnthropicProvider(access, now=lambda: 0.0)


def ended(url: str) -> Progress:
    return Progress(provider_id="msgbatch_1", status="ended", outcome="completed", results=(url,))


def test_a_create_is_one_post_of_all_rows(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(batch())
    created = provider.create(io.BytesIO(ROWS), JOB, timeout_s=60)
    assert (created.provider_id, created.created_ms) == ("msgbatch_1", 1_790_000_001_000)
    (asked,) = stage.asked
    assert (asked.method, asked.path) == ("POST", "/v1/messages/batches")
    assert asked.json == {"requests": [{"custom_id": "a", "params": {}}, {"custom_id": "b", "params": {}}]}
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["content-length"] == str(len(asked.body))
    assert "transfer-encoding" not in asked.headers


def test_a_create_never_holds_the_whole_body(stage: Stage, provider: AnthropicProvider, big_rows: Pieces) -> None:
    stage.says(batch())
    provider.create(big_rows, JOB, timeout_s=60)
    assert len(stage.asked[0].json["requests"]) == 1000
    assert 0 < big_rows.largest <= 1_000_000


def test_every_call_says_the_version_that_takes_all_bodies(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(batch())
    provider.create(io.BytesIO(ROWS), JOB, timeout_s=60)
    provider.poll("msgbatch_1")
    assert {a.headers["anthropic-version"] for a in stage.asked} == {"2023-06-01"}
    assert {a.headers["authorization"] for a in stage.asked} == {"Bearer sk-secret"}


def test_the_lanes_beta_goes_with_the_create_and_the_realtime_call(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(batch())
    job = msgspec.structs.replace(JOB, beta="context-1m-2025-08-07")
    provider.create(io.BytesIO(ROWS), job, timeout_s=60)
    provider.call(lane("messages", beta="context-1m-2025-08-07"), BODY, timeout_s=60)
    provider.call(lane("messages"), BODY, timeout_s=60)
    assert [a.headers.get("anthropic-beta") for a in stage.asked] == ["context-1m-2025-08-07"] * 2 + [None]


def test_several_betas_go_as_one_header(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(batch())
    job = msgspec.structs.replace(JOB, beta="output-300k-2026-03-24,context-1m-2025-08-07")
    provider.create(io.BytesIO(ROWS), job, timeout_s=60)
    assert stage.asked[0].headers["anthropic-beta"] == "output-300k-2026-03-24,context-1m-2025-08-07"


@pytest.mark.parametrize("version", [None, "2026-10-21"])
def test_the_lanes_version_goes_with_the_create(stage: Stage, provider: AnthropicProvider, version: str | None) -> None:
    stage.says(batch())
    provider.create(io.BytesIO(ROWS), msgspec.structs.replace(JOB, version=version), timeout_s=60)
    provider.poll("msgbatch_1")
    assert [a.headers["anthropic-version"] for a in stage.asked] == [version or "2023-06-01", "2023-06-01"]


@pytest.mark.parametrize("beta", ["output-300k-2026-03-24", "context-1m-2025-08-07, output-300k-2026-03-24"])
def test_a_beta_that_only_batches_have_is_refused_before_any_call(
    stage: Stage, provider: AnthropicProvider, beta: str
) -> None:
    with pytest.raises(InvalidRequest, match="output-300k-2026-03-24 is for batches only"):
        provider.call(lane("messages", beta=beta), BODY, timeout_s=60)
    assert not stage.asked


def test_an_account_without_options_has_anthropics_limits_and_a_budget_of_requests() -> None:
    facts = AnthropicProvider.facts(Options())
    assert (facts.kind, facts.limits, facts.price_provider) == ("anthropic", LIMITS, "anthropic")
    assert facts.budgets == (DefaultBudget(requests=200_000, shared=True),)
    assert (facts.has_files, facts.tagged, facts.endpoints["messages"].prefixed) == (False, False, True)


def test_an_accounts_own_limits_only_lower_anthropics() -> None:
    assert AnthropicProvider.facts(Options(max_requests=10, max_bytes=99)).limits == Limits(
        max_requests=10, max_bytes=99
    )
    assert AnthropicProvider.facts(Options(max_requests=10**9, max_bytes=10**12)).limits == LIMITS


def test_there_is_no_storage_to_tell_of(stage: Stage, provider: AnthropicProvider) -> None:
    assert provider.storage() is None
    assert not stage.asked


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, Ambiguous),
        (504, Ambiguous),
        (529, Ambiguous),
        (408, Ambiguous),
        (409, Ambiguous),
        (429, Retryable),
        (401, KeyRefused),
        (402, KeyRefused),
        (403, KeyRefused),
        (400, Permanent),
        (413, Permanent),
        (308, Retryable),
    ],
)
def test_a_refused_create_is_one_post(
    stage: Stage, provider: AnthropicProvider, status: int, error: type[ProviderError]
) -> None:
    stage.refuses(status, retry_after="7", x_should_retry="true", location="/v1/messages/batches")
    with pytest.raises(ProviderError) as caught:
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=60)
    assert type(caught.value) is error
    assert (caught.value.account, caught.value.call, caught.value.code) == ("acme", "create", "some_code")
    assert len(stage.asked) == 1
    assert caught.value.retry_after_s == (None if error is KeyRefused else 7.0)


def test_a_create_whose_answer_is_lost_is_ambiguous_and_one_post(stage: Stage, provider: AnthropicProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous, match="may have happened"):
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=60)
    assert len(stage.asked) == 1


def test_a_create_that_is_never_answered_is_ambiguous_within_its_time(
    stage: Stage, provider: AnthropicProvider
) -> None:
    stage.hangs()
    with pytest.raises(Ambiguous) as caught:
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=1)
    assert caught.value.code == "ReadTimeout"
    assert len(stage.asked) == 1


def test_a_create_that_was_torn_on_its_way_out_never_happened(stage: Stage, provider: AnthropicProvider) -> None:
    stage.resets_after(1000)
    rows = io.BytesIO((b'{"custom_id":"a","params":{"t":"' + b"x" * 1_000_000 + b'"}}\n') * 20)
    with pytest.raises(Retryable, match="before the whole request was sent"):
        provider.create(rows, JOB, timeout_s=60)


def test_a_create_past_its_deadline_stops_before_the_body_is_whole(stage: Stage) -> None:
    times = iter([0.0, 1.0, 1000.0])
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=stage.url)
    provider = AnthropicProvider(access, clock=lambda: next(times))
    stage.says(batch())
    with pytest.raises(Retryable, match="before the whole request was sent"):
        provider.create(io.BytesIO(b"x" * 1_000_000), JOB, timeout_s=60)


def test_a_create_that_would_leave_too_late_stops_before_the_body_is_whole(stage: Stage) -> None:
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=stage.url)
    provider = AnthropicProvider(access, clock=lambda: 100.0)
    stage.says(batch())
    with pytest.raises(Retryable, match="before the whole request was sent"):
        provider.create(io.BytesIO(ROWS), msgspec.structs.replace(JOB, send_by=99.0), timeout_s=60)


@pytest.mark.parametrize("ticks", [[0.0, 0.0, 0.0, 0.0, 61.0], [0.0, 0.0, 0.0, 0.0, 1.0, 59.0]])
def test_a_create_whose_answer_trickles_in_is_over_in_its_time(stage: Stage, ticks: list[float]) -> None:
    """Times of: the beginning (two), two looks before it leaves, the answer's head, the answer's first bytes."""
    stage.says(batch())
    clock = iter(ticks)
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=stage.url)
    with pytest.raises(Ambiguous) as caught:
        AnthropicProvider(access, clock=lambda: next(clock)).create(io.BytesIO(ROWS), JOB, timeout_s=60)
    assert caught.value.code == "ReadTimeout"


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"data":[]}', b'{"id":"","processing_status":"in_progress"}', DEEP]
)
def test_a_create_whose_answer_cannot_be_read_is_ambiguous(
    stage: Stage, provider: AnthropicProvider, body: bytes
) -> None:
    stage.says(body)
    with pytest.raises(Ambiguous):
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=60)


def test_a_create_that_finds_nobody_there_never_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(Retryable) as caught:
        AnthropicProvider(access).create(io.BytesIO(ROWS), JOB, timeout_s=60)
    assert caught.value.code == "ConnectError"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 529])
def test_a_refused_poll_may_go_again_but_not_by_itself(stage: Stage, provider: AnthropicProvider, status: int) -> None:
    stage.refuses(status)
    with pytest.raises(Retryable):
        provider.poll("msgbatch_1")
    assert len(stage.asked) == 1


def test_a_batch_that_is_not_there_is_permanent(stage: Stage, provider: AnthropicProvider) -> None:
    stage.refuses(404, code="not_found_error")
    with pytest.raises(Permanent) as caught:
        provider.poll("msgbatch_1")
    assert caught.value.code == "not_found_error"


def test_answers_and_files_that_trickle_in_are_broken_off(stage: Stage) -> None:
    stage.says(batch())
    clock = itertools.count(0, 121)  # so many seconds at each look
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=stage.url)
    provider = AnthropicProvider(access, clock=lambda: next(clock))
    with pytest.raises(Retryable) as polled:
        provider.poll("batch_1")
    with pytest.raises(Retryable) as read:
        list(provider.results(ended(f"{stage.url}/results")))
    assert (polled.value.code, read.value.code) == ("ReadTimeout", "ReadTimeout")


def test_find_brings_young_batches_of_as_many_rows_as_candidates(stage: Stage, provider: AnthropicProvider) -> None:
    counts = {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0}
    larger = batch(id="msgbatch_2", request_counts=counts | {"expired": 1})
    done = batch(id="msgbatch_3", request_counts=counts)
    old = batch(id="msgbatch_4", created_at="2026-09-21T14:11:19Z")
    stage.says({"data": [larger, done], "has_more": True, "last_id": "msgbatch_3"})
    stage.says({"data": [batch(), old], "has_more": True, "last_id": "msgbatch_4"})
    stage.says({"data": [old | {"id": "msgbatch_5"}], "has_more": True, "last_id": "msgbatch_5"})
    found = provider.find(JOB)
    assert ([c.provider_id for c in found.candidates], found.proven) == (["msgbatch_3", "msgbatch_1"], ())
    assert [a.path for a in stage.asked] == [
        "/v1/messages/batches?limit=100",
        "/v1/messages/batches?limit=100&after_id=msgbatch_3",
        "/v1/messages/batches?limit=100&after_id=msgbatch_4",
    ]


def test_a_list_whose_pages_take_turns_ends(stage: Stage, provider: AnthropicProvider) -> None:
    for _ in range(3):
        stage.says(
            *({"data": [batch(id=each)], "has_more": True, "last_id": each} for each in ("msgbatch_1", "msgbatch_2"))
        )
    assert [each.provider_id for each in provider.recent(0)] == ["msgbatch_1", "msgbatch_2"]
    assert len(stage.asked) == 3


@pytest.mark.parametrize("moment", [None, "soon", {}, 0])
def test_a_batch_whose_time_is_not_told_may_be_the_attempts(
    stage: Stage, provider: AnthropicProvider, moment: Any
) -> None:
    page = {"data": [batch(created_at=moment)], "has_more": False, "last_id": "msgbatch_1"}
    stage.says(page, page)
    assert [each.provider_id for each in provider.find(JOB).candidates] == ["msgbatch_1"]
    assert [each.provider_id for each in provider.recent(JOB.intent_ms)] == ["msgbatch_1"]


def test_find_in_an_empty_workspace_finds_nothing(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says({"data": [], "has_more": False, "first_id": None, "last_id": None})
    assert provider.find(JOB).candidates == ()


@pytest.mark.parametrize("page", [{"data": None, "has_more": False}, {"data": [], "has_more": None, "last_id": {}}])
def test_a_list_that_is_null_is_empty(stage: Stage, provider: AnthropicProvider, page: dict[str, Any]) -> None:
    stage.says(page)
    assert list(provider.recent(0)) == []
    assert provider.find(JOB).candidates == ()


@pytest.mark.parametrize("counts", [None, "two", {"processing": None}])
def test_a_batch_that_does_not_tell_its_rows_may_be_the_one(
    stage: Stage, provider: AnthropicProvider, counts: Any
) -> None:
    stage.says({"data": [batch(request_counts=counts)]})
    assert [each.provider_id for each in provider.find(JOB).candidates] == ["msgbatch_1"]


def test_there_are_no_uploads_to_list(stage: Stage, provider: AnthropicProvider) -> None:
    assert list(provider.uploads(0)) == []
    assert not stage.asked


def test_results_are_read_where_the_batch_says(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(SUCCEEDED + EXPIRED)
    results = list(provider.results(ended(f"{stage.url}/v1/elsewhere/results")))
    assert [(r.custom_id, r.kind) for r in results] == [("a", "succeeded"), ("b", "expired")]
    assert results[0].usage == Usage(input_tokens=1, output_tokens=2)
    assert [a.path for a in stage.asked] == ["/v1/elsewhere/results"]


def test_a_foreign_host_does_not_get_the_key(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(SUCCEEDED)
    list(provider.results(ended("https://foreign.invalid/v1/messages/batches/msgbatch_1/results")))
    assert [a.path for a in stage.asked] == ["/v1/messages/batches/msgbatch_1/results"]


def test_results_whose_address_is_none_are_read_where_they_always_are(
    stage: Stage, provider: AnthropicProvider
) -> None:
    stage.says(SUCCEEDED)
    assert [row.custom_id for row in provider.results(ended("http://[bad"))] == ["a"]
    assert [a.path for a in stage.asked] == ["/v1/messages/batches/msgbatch_1/results"]


@pytest.mark.parametrize("torn", [EXPIRED[:-5], b"not json\n", b'{"result":{"type":"expired"}}\n'])
def test_a_line_that_does_not_parse_stops_the_pass_after_what_was_whole(
    stage: Stage, provider: AnthropicProvider, torn: bytes
) -> None:
    stage.says(SUCCEEDED + torn)
    results = provider.results(ended(f"{stage.url}/results"))
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable, match="line 2"):
        next(results)


def test_a_download_that_breaks_off_stops_the_pass(stage: Stage, provider: AnthropicProvider) -> None:
    stage.cuts(SUCCEEDED + EXPIRED, at=len(SUCCEEDED))
    results = provider.results(ended(f"{stage.url}/results"))
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable):
        next(results)


def test_results_that_are_refused_say_why(stage: Stage, provider: AnthropicProvider) -> None:
    stage.refuses(404, code="not_found_error", message="archived")
    with pytest.raises(Permanent, match="archived"):
        list(provider.results(ended(f"{stage.url}/results")))


@pytest.mark.parametrize("status", [200, 409])
def test_cancel_only_asks(stage: Stage, provider: AnthropicProvider, status: int) -> None:
    stage.says(batch()) if status == 200 else stage.refuses(status)
    provider.cancel("msgbatch_1")
    assert (stage.asked[0].method, stage.asked[0].path) == ("POST", "/v1/messages/batches/msgbatch_1/cancel")


def test_a_realtime_call_sends_the_body_as_it_is(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says({"id": "msg_1", "usage": {"input_tokens": 3, "output_tokens": 4}})
    result = provider.call(lane("messages"), BODY, timeout_s=30)
    assert (result.kind, result.usage) == ("succeeded", Usage(input_tokens=3, output_tokens=4))
    (asked,) = stage.asked
    assert (asked.path, asked.body, asked.headers["content-type"]) == ("/v1/messages", BODY, "application/json")


CALLS: dict[str, Callable[[AnthropicProvider], object]] = {
    "create": lambda provider: provider.create(io.BytesIO(ROWS), JOB, timeout_s=60),
    "call": lambda provider: provider.call(lane("messages"), BODY, timeout_s=30),
    "poll": lambda provider: provider.poll("msgbatch_1"),
    "find": lambda provider: provider.find(JOB),
    "results": lambda provider: list(provider.results(ended("/results"))),
}


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_follows_a_redirect(stage: Stage, provider: AnthropicProvider, call: str, status: int) -> None:
    stage._will(status=status, headers={"Location": f"{stage.url}/elsewhere"})
    with pytest.raises(ProviderError, match="redirect is not followed") as caught:
        CALLS[call](provider)
    assert len(stage.asked) == 1
    assert isinstance(caught.value, Retryable) == (call in {"create", "call"})


def test_a_realtime_call_to_a_wrong_address_waits_until_it_is_right(stage: Stage, provider: AnthropicProvider) -> None:
    stage._will(status=404, body=b"<html>", headers={"Content-Type": "text/html"})
    with pytest.raises(Retryable, match="base_url"):
        provider.call(lane("messages"), BODY, timeout_s=30)


def test_a_realtime_refusal_of_the_request_is_its_result(stage: Stage, provider: AnthropicProvider) -> None:
    stage.refuses(400, code="invalid_request_error", message="max_tokens: Field required")
    result = provider.call(lane("messages"), BODY, timeout_s=30)
    assert (result.kind, result.code, result.message) == (
        "rejected",
        "invalid_request_error",
        "max_tokens: Field required",
    )


@pytest.mark.parametrize(
    ("status", "error"), [(401, KeyRefused), (403, KeyRefused), (429, Retryable), (529, Retryable)]
)
def test_a_realtime_refusal_of_the_account_or_the_moment_is_an_error(
    stage: Stage, provider: AnthropicProvider, status: int, error: type[ProviderError]
) -> None:
    stage.refuses(status)
    with pytest.raises(ProviderError) as caught:
        provider.call(lane("messages"), BODY, timeout_s=30)
    assert type(caught.value) is error
    assert len(stage.asked) == 1


def test_a_realtime_answer_that_is_lost_may_have_been_paid(stage: Stage, provider: AnthropicProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous):
        provider.call(lane("messages"), BODY, timeout_s=30)
    assert len(stage.asked) == 1


def test_there_are_no_files(provider: AnthropicProvider) -> None:
    provider.delete_file("file-x")
    with pytest.raises(NotImplementedError):
        provider.upload(io.BytesIO(ROWS), JOB)


def test_an_error_of_a_call_holds_neither_key_nor_foreign_cause(stage: Stage, provider: AnthropicProvider) -> None:
    stage.refuses(401, message="bad key sk-secret")
    with pytest.raises(KeyRefused) as caught:
        provider.poll("msgbatch_1")
    assert "sk-secret" not in str(caught.value)
    assert json.dumps(caught.value.args)
    assert caught.value.__suppress_context__
