"""The real OpenAI SDK against a loopback server: what goes out, and what comes of every way to fail."""

from __future__ import annotations

import io
import itertools
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchline.errors import Ambiguous, KeyRefused, NotFound, Permanent, ProviderError, Retryable
from batchline.lanes import Lane
from batchline.providers.openai import OpenAIProvider
from batchline.providers.openai_wire import file_name
from batchline.providers.protocol import AccountAccess, Job, Listed, Progress, Upload
from batchline.requests import Usage

if TYPE_CHECKING:
    from tests.providers.conftest import Pieces, Stage

    from batchline.providers.protocol import Result

JOB = Job(
    batch_id="b1",
    nonce="n1",
    endpoint="chat",
    model="m",
    rows=2,
    intent_ms=1_790_000_000_000,
    lane="openai:chat:m",
    input_ref="file-in",
)
BATCH = {"id": "batch_1", "status": "validating", "created_at": 1_790_000_001, "expires_at": 1_790_086_401}
BODY = b'{"model":"m","messages":[]}'
DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
"""Nested more deeply than anything reads."""
DONE = Progress(provider_id="batch_1", status="completed", outcome="completed", results=("file-o", "file-e"))


def lane(endpoint: str, *, beta: str | None = None) -> Lane:
    """Return a lane of the endpoint, as the realtime call takes it."""
    return Lane(name="", account="acme", endpoint=endpoint, model="m", beta=beta)


@pytest.fixture
def provider(stage: Stage) -> OpenAIProvider:
    access = AccountAccess(name="acme", key=lambda: "sk-secret", base_url=f"{stage.url}/v1")
    return OpenAIProvider(access, now=lambda: 0.0)


def line(custom_id: str, status: int = 200, text: str = "hi") -> bytes:
    body = {"id": "x", "text": text, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    row = {"id": "r", "custom_id": custom_id, "response": {"status_code": status, "body": body}, "error": None}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def found(provider: OpenAIProvider, progress: Progress = DONE) -> list[Result]:
    return list(provider.results(progress))


def test_an_upload_is_a_batch_file_named_after_the_attempt(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"id": "file-9", "object": "file"})
    rows = io.BytesIO(b'{"custom_id":"a"}\n{"custom_id":"b"}\n')
    rows.seek(0, io.SEEK_END)
    assert provider.upload(rows, JOB) == "file-9"
    (asked,) = stage.asked
    assert (asked.method, asked.path) == ("POST", "/v1/files")
    assert asked.headers["authorization"] == "Bearer sk-secret"
    assert b'name="purpose"\r\n\r\nbatch' in asked.body
    assert b'filename="batchline-b1-n1.jsonl"' in asked.body
    assert rows.getvalue() in asked.body


def test_an_upload_never_holds_the_whole_file(stage: Stage, provider: OpenAIProvider, big_rows: Pieces) -> None:
    stage.says({"id": "file-9"})
    provider.upload(big_rows, JOB)
    assert big_rows.getvalue() in stage.asked[0].body
    assert 0 < big_rows.largest <= 1_000_000


def test_a_create_is_one_post_with_our_mark_on_it(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(BATCH)
    created = provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert (created.provider_id, created.created_ms, created.expires_ms) == (
        "batch_1",
        1_790_000_001_000,
        1_790_086_401_000,
    )
    (asked,) = stage.asked
    assert (asked.method, asked.path) == ("POST", "/v1/batches")
    assert asked.json == {
        "completion_window": "24h",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "metadata": {"batchline_batch": "b1", "batchline_nonce": "n1", "batchline_lane": "openai:chat:m"},
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, Ambiguous),
        (503, Ambiguous),
        (408, Ambiguous),
        (409, Ambiguous),
        (429, Retryable),
        (401, KeyRefused),
        (403, KeyRefused),
        (400, Permanent),
        (404, Retryable),
    ],
)
def test_a_refused_create_is_one_post(
    stage: Stage, provider: OpenAIProvider, status: int, error: type[ProviderError]
) -> None:
    stage.refuses(status, retry_after="7", x_should_retry="true")
    with pytest.raises(ProviderError) as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert type(caught.value) is error
    assert (caught.value.account, caught.value.call, caught.value.code) == ("acme", "create", "some_code")
    assert len(stage.asked) == 1
    assert caught.value.retry_after_s == (None if error is KeyRefused else 7.0)
    assert caught.value.__cause__ is None


def test_a_create_whose_answer_is_lost_is_ambiguous_and_one_post(stage: Stage, provider: OpenAIProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous, match="may have happened"):
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert len(stage.asked) == 1


def test_a_create_that_is_never_answered_is_ambiguous_within_its_time(stage: Stage, provider: OpenAIProvider) -> None:
    stage.hangs()
    with pytest.raises(Ambiguous) as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=1)
    assert caught.value.code == "ReadTimeout"
    assert len(stage.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"id":"","status":"validating"}', DEEP, b""])
def test_a_create_whose_answer_cannot_be_read_is_ambiguous(stage: Stage, provider: OpenAIProvider, body: bytes) -> None:
    stage.says(body)
    with pytest.raises(Ambiguous):
        provider.create(io.BytesIO(), JOB, timeout_s=30)


def test_answers_and_files_that_trickle_in_are_broken_off(stage: Stage) -> None:
    stage.says(BATCH)
    clock = itertools.count(0, 121)  # so many seconds at each look
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=f"{stage.url}/v1")
    provider = OpenAIProvider(access, clock=lambda: next(clock))
    with pytest.raises(Retryable) as polled:
        provider.poll("batch_1")
    with pytest.raises(Retryable) as read:
        list(provider.results(DONE))
    assert (polled.value.code, read.value.code) == ("ReadTimeout", "ReadTimeout")


def timed(stage: Stage, clock: Callable[[], float]) -> OpenAIProvider:
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=f"{stage.url}/v1")
    return OpenAIProvider(access, now=lambda: 0.0, clock=clock)


def test_a_create_that_is_late_does_not_even_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=f"http://127.0.0.1:{port}/v1")
    late = msgspec.structs.replace(JOB, send_by=99.0)
    with pytest.raises(Retryable, match="before the whole request was sent") as caught:
        OpenAIProvider(access, clock=lambda: 100.0).create(io.BytesIO(), late, timeout_s=30)
    assert caught.value.code == "TimeoutError"


def test_a_create_that_becomes_late_while_the_address_is_looked_up_never_happened(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    look_up = socket.getaddrinfo

    def slow(*args: Any, **fields: Any) -> Any:
        now[0] = 100.0
        return look_up(*args, **fields)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    stage.says(BATCH)
    job = msgspec.structs.replace(JOB, send_by=99.0)
    with pytest.raises(Retryable, match="before the whole request was sent"):
        timed(stage, lambda: now[0]).create(io.BytesIO(), job, timeout_s=1000)
    assert now == [100.0]
    assert not [asked for asked in stage.asked if asked.body]


@pytest.mark.parametrize("ticks", [[0.0, 0.0, 0.0, 31.0], [0.0, 0.0, 0.0, 1.0, 29.0]])
def test_a_create_whose_answer_trickles_in_is_over_in_its_time(stage: Stage, ticks: list[float]) -> None:
    """Times of: the beginning, two looks before it leaves, the answer's head, the answer's first bytes."""
    stage.says(BATCH)
    clock = iter(ticks)
    with pytest.raises(Ambiguous) as caught:
        timed(stage, lambda: next(clock)).create(io.BytesIO(), JOB, timeout_s=30)
    assert caught.value.code == "ReadTimeout"


CALLS: dict[str, Callable[[OpenAIProvider], object]] = {
    "create": lambda provider: provider.create(io.BytesIO(), JOB, timeout_s=30),
    "upload": lambda provider: provider.upload(io.BytesIO(b"x"), JOB),
    "call": lambda provider: provider.call(lane("chat"), BODY, timeout_s=30),
    "poll": lambda provider: provider.poll("batch_1"),
    "find": lambda provider: provider.find(JOB),
    "results": found,
    "delete_file": lambda provider: provider.delete_file("file-in"),
}


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_follows_a_redirect(stage: Stage, provider: OpenAIProvider, call: str, status: int) -> None:
    stage._will(status=status, headers={"Location": f"{stage.url}/elsewhere"})
    with pytest.raises(ProviderError, match="redirect is not followed") as caught:
        CALLS[call](provider)
    assert len(stage.asked) == 1
    assert isinstance(caught.value, Retryable) == (call in {"create", "upload", "call"})


def test_a_create_that_finds_nobody_there_never_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    access = AccountAccess(name="acme", key=lambda: "sk", base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(Retryable) as caught:
        OpenAIProvider(access).create(io.BytesIO(), JOB, timeout_s=30)
    assert caught.value.code == "ConnectError"


def test_an_address_that_is_none_is_the_accounts_fault() -> None:
    access = AccountAccess(name="acme", key=lambda: "sk", base_url="api.example.com/v1")
    with pytest.raises(Permanent, match="base_url"):
        OpenAIProvider(access).poll("batch_1")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_refused_read_or_upload_may_go_again_but_not_by_itself(
    stage: Stage, provider: OpenAIProvider, status: int
) -> None:
    stage.refuses(status)
    for call in (lambda: provider.poll("batch_1"), lambda: provider.upload(io.BytesIO(b"x"), JOB)):
        stage.asked.clear()
        with pytest.raises(Retryable):
            call()
        assert len(stage.asked) == 1


def test_a_batch_that_is_not_there_is_permanent(stage: Stage, provider: OpenAIProvider) -> None:
    stage.refuses(404, code="not_found")
    with pytest.raises(Permanent) as caught:
        provider.poll("batch_1")
    assert caught.value.code == "not_found"


def test_a_read_that_breaks_off_may_go_again(stage: Stage, provider: OpenAIProvider) -> None:
    stage.drops()
    with pytest.raises(Retryable):
        provider.poll("batch_1")


def test_the_key_is_read_anew_for_each_call(stage: Stage) -> None:
    keys = iter(["old", "new"])
    provider = OpenAIProvider(AccountAccess(name="acme", key=lambda: next(keys), base_url=f"{stage.url}/v1"))
    stage.says(BATCH)
    provider.poll("batch_1")
    provider.poll("batch_1")
    assert [a.headers["authorization"] for a in stage.asked] == ["Bearer old", "Bearer new"]


def test_find_pages_back_to_the_intent_and_proves_by_nonce(stage: Stage, provider: OpenAIProvider) -> None:
    mine = BATCH | {"metadata": {"batchline_batch": "b1", "batchline_nonce": "n1", "batchline_lane": "openai:chat:m"}}
    other = BATCH | {"id": "batch_2", "metadata": {"batchline_nonce": "n2"}}
    untold = BATCH | {"id": "batch_3", "metadata": None, "created_at": 1_789_999_800}
    old = mine | {"id": "batch_4", "created_at": 1_789_999_699}
    stage.says({"data": [other], "has_more": True})
    stage.says({"data": [mine, untold], "has_more": True})
    stage.says({"data": [old], "has_more": True})
    proven = provider.find(JOB).proven
    assert [c.provider_id for c in proven] == ["batch_1", "batch_4"]
    assert [a.path for a in stage.asked] == [
        "/v1/batches?limit=100",
        "/v1/batches?limit=100&after=batch_2",
        "/v1/batches?limit=100&after=batch_3",
    ]


@pytest.mark.parametrize(("listed", "found"), [("dead_2 live dead_1", "live"), ("dead_2 dead_1", "dead_1")])
def test_find_leaves_out_what_was_refused_as_a_whole_unless_there_is_none_but_such(
    stage: Stage, provider: OpenAIProvider, listed: str, found: str
) -> None:
    mine = BATCH | {"metadata": {"batchline_nonce": "n1"}}
    statuses = {each: "in_progress" if each == "live" else "failed" for each in listed.split()}
    stage.says({"data": [mine | {"id": each, "status": status} for each, status in statuses.items()]})
    assert [c.provider_id for c in provider.find(JOB).proven] == [found]


def test_the_custom_ids_of_a_file_that_is_gone_are_none(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(BATCH | {"input_file_id": "file-in"})
    stage.refuses(404)
    assert list(provider.sent("batch_1")) == []


def test_the_custom_ids_of_a_batch_that_is_not_known_cannot_be_told(stage: Stage, provider: OpenAIProvider) -> None:
    stage.refuses(404)
    with pytest.raises(NotFound):
        list(provider.sent("batch_1"))


def test_a_file_whose_lines_are_torn_is_read_again_later(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(BATCH | {"input_file_id": "file-in"})
    stage.says(b'{"custom_id":"a"}\n{"custom_')
    with pytest.raises(Retryable, match="read again later"):
        list(provider.sent("batch_1"))


def test_find_in_an_empty_project_finds_nothing(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [], "has_more": False})
    assert provider.find(JOB).proven == ()


def test_find_does_not_run_in_circles(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [BATCH], "has_more": True})
    provider.find(JOB)
    assert len(stage.asked) == 2


def test_a_list_that_fails_half_way_proves_nothing(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [BATCH], "has_more": True})
    stage.refuses(500)
    with pytest.raises(Retryable):
        provider.find(JOB)


def test_a_listed_batch_tells_our_mark_and_the_file_it_was_made_from(stage: Stage, provider: OpenAIProvider) -> None:
    tag = {"batchline_batch": "b1", "batchline_nonce": "n1", "batchline_lane": "openai:chat:m"}
    ours = BATCH | {"metadata": tag, "input_file_id": "file-in", "request_counts": {"total": 2}}
    stage.says({"data": [ours, BATCH | {"id": "batch_2", "status": "completed"}], "has_more": False})
    mine, other = provider.recent(1_790_000_000_000)
    assert mine == Listed(
        provider_id="batch_1",
        created_ms=1_790_000_001_000,
        expires_ms=1_790_086_401_000,
        total=2,
        running=True,
        batch_id="b1",
        nonce="n1",
        lane="openai:chat:m",
        input_ref="file-in",
    )
    assert (other.lane, other.running, other.input_ref) == ("", False, "")


def uploaded(number: int, created_at: int = 1_790_000_000, **fields: Any) -> dict[str, Any]:
    file = {"id": f"file-{number}", "created_at": created_at, "filename": "a.jsonl", "purpose": "batch"}
    return file | fields


def test_uploads_are_listed_in_pages_back_to_their_time(stage: Stage, provider: OpenAIProvider) -> None:
    batch_id, nonce = "b0123456789abcdef01234", "abcdefghij"
    stage.says(
        {"data": [uploaded(9, filename=file_name(batch_id, nonce)), uploaded(8)], "has_more": True},
        {"data": [uploaded(7), uploaded(6, 1_700_000_000)], "has_more": True},
        {"data": [uploaded(5, 1_700_000_000)], "has_more": True},
        {"data": [uploaded(4)], "has_more": True},
    )
    first, *others = provider.uploads(1_789_999_999_000)
    assert first == Upload(ref="file-9", created_ms=1_790_000_000_000, batch_id=batch_id, nonce=nonce)
    assert [(each.ref, each.batch_id) for each in others] == [("file-8", ""), ("file-7", "")]
    query = "purpose=batch&order=desc&limit=1000"
    assert [asked.path for asked in stage.asked] == [
        f"/v1/files?{query}",
        f"/v1/files?{query}&after=file-8",
        f"/v1/files?{query}&after=file-6",
    ]


def test_a_file_for_another_purpose_is_no_upload_of_rows(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [uploaded(1, purpose="assistants"), uploaded(2, purpose="batch_output")], "has_more": False})
    assert list(provider.uploads(0)) == []


def test_a_list_of_files_that_repeats_itself_ends(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [uploaded(1)], "has_more": True})
    assert len(list(provider.uploads(0))) == 1
    assert len(stage.asked) == 2


def test_a_list_of_files_that_fails_half_way_is_no_list(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says({"data": [uploaded(1)], "has_more": True})
    stage.refuses(503)
    with pytest.raises(Retryable):
        list(provider.uploads(0))


def failed(line_number: int) -> dict[str, Any]:
    error = {"code": "missing_required_parameter", "line": line_number, "message": "Missing", "param": None}
    return BATCH | {"status": "failed", "input_file_id": "file-in", "errors": {"object": "list", "data": [error]}}


def test_the_guilty_row_is_read_back_from_the_uploaded_file(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(failed(2), '{"custom_id":"a"}\n{"custom_id":"b","body":{"t":"\u2028"}}\n{"custom_id":"c"}\n')
    refusal = provider.poll("batch_1").refusal
    assert refusal is not None
    assert (refusal.scope, [r.custom_id for r in refusal.rows]) == ("rows", ["b"])
    assert stage.asked[1].path == "/v1/files/file-in/content"


@pytest.mark.parametrize("number", [4, 0])
def test_a_line_that_the_file_does_not_have_names_nobody(stage: Stage, provider: OpenAIProvider, number: int) -> None:
    stage.says(failed(number), '{"custom_id":"a"}\n{"custom_id":"b"}\n')
    refusal = provider.poll("batch_1").refusal
    assert refusal is not None
    assert refusal.scope == "unknown"


@pytest.mark.parametrize("status", [403, 404])
def test_without_the_uploaded_file_nobody_is_named(stage: Stage, provider: OpenAIProvider, status: int) -> None:
    stage.says(failed(1))
    stage.refuses(status)
    refusal = provider.poll("batch_1").refusal
    assert refusal is not None
    assert refusal.scope == "unknown"


def test_a_file_that_cannot_be_read_just_now_is_asked_for_again(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(failed(1))
    stage.refuses(503)
    with pytest.raises(Retryable):
        provider.poll("batch_1")


def test_both_files_are_read_and_other_line_separators_stay_inside_rows(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(line("a") + line("b", text="\u2028\u0085"), line("c", status=400).rstrip())
    results = found(provider)
    assert [(r.custom_id, r.kind) for r in results] == [("a", "succeeded"), ("b", "succeeded"), ("c", "rejected")]
    assert msgspec.json.decode(results[1].body or b"")["text"] == "\u2028\u0085"
    assert [a.path for a in stage.asked] == ["/v1/files/file-o/content", "/v1/files/file-e/content"]


def test_an_empty_file_has_no_results(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(b"", b"\n")
    assert found(provider) == []


@pytest.mark.parametrize("torn", [line("b")[:-10], b"not json\n", b'{"response":null}\n', b'{"custom_id":"\xff"}\n'])
def test_a_line_that_does_not_parse_stops_the_pass_after_what_was_whole(
    stage: Stage, provider: OpenAIProvider, torn: bytes
) -> None:
    stage.says(line("a") + torn, b"")
    results = provider.results(DONE)
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable, match="line 2 of file-o") as caught:
        next(results)
    assert caught.value.code == "bad_line"


def test_a_torn_line_hides_neither_the_lines_after_it_nor_the_other_file(
    stage: Stage, provider: OpenAIProvider
) -> None:
    stage.says(line("a") + line("b")[:-10] + b"\n" + line("c") + b"torn\n", line("d"))
    results = provider.results(DONE)
    assert [next(results).custom_id for _ in range(3)] == ["a", "c", "d"]
    with pytest.raises(Retryable, match="line 2 of file-o"):
        next(results)


def test_a_download_that_breaks_off_stops_the_pass(stage: Stage, provider: OpenAIProvider) -> None:
    whole = line("a") + line("b")
    stage.cuts(whole, at=len(line("a")))
    results = provider.results(DONE)
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable):
        next(results)


def test_results_that_are_gone_are_permanent(stage: Stage, provider: OpenAIProvider) -> None:
    stage.refuses(404)
    with pytest.raises(Permanent):
        found(provider)


def test_a_pass_may_be_left_early(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(line("a") * 1000, BATCH)
    results = provider.results(DONE)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert provider.poll("batch_1").provider_id == "batch_1"


@pytest.mark.parametrize("status", [200, 409])
def test_cancel_only_asks(stage: Stage, provider: OpenAIProvider, status: int) -> None:
    stage.says(BATCH) if status == 200 else stage.refuses(status)
    provider.cancel("batch_1")
    assert (stage.asked[0].method, stage.asked[0].path) == ("POST", "/v1/batches/batch_1/cancel")


@pytest.mark.parametrize("status", [200, 404])
def test_deleting_an_input_that_is_gone_is_no_error(stage: Stage, provider: OpenAIProvider, status: int) -> None:
    stage.says({"id": "file-in", "deleted": True}) if status == 200 else stage.refuses(status)
    provider.delete_file("file-in")
    assert (stage.asked[0].method, stage.asked[0].path) == ("DELETE", "/v1/files/file-in")


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("chat", "/v1/chat/completions"),
        ("responses", "/v1/responses"),
        ("embeddings", "/v1/embeddings"),
        ("completions", "/v1/completions"),
        ("moderations", "/v1/moderations"),
    ],
)
def test_a_realtime_call_sends_the_body_as_it_is(
    stage: Stage, provider: OpenAIProvider, endpoint: str, path: str
) -> None:
    stage.says({"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    result = provider.call(lane(endpoint), BODY, timeout_s=30)
    assert (result.custom_id, result.kind, result.usage) == ("", "succeeded", Usage(input_tokens=3, output_tokens=4))
    assert bytes(result.body or b"").startswith(b'{"id": "x"')
    (asked,) = stage.asked
    assert (asked.path, asked.body, asked.headers["content-type"]) == (path, BODY, "application/json")


def test_a_realtime_refusal_of_the_request_is_its_result(stage: Stage, provider: OpenAIProvider) -> None:
    stage.refuses(400, code="context_length_exceeded", message="too long")
    result = provider.call(lane("chat"), BODY, timeout_s=30)
    assert (result.kind, result.code, result.message) == ("rejected", "context_length_exceeded", "too long")


WRONG_ADDRESS = [b"<html>", b"", b'{"detail":"Not Found"}', b'{"error":{"message":"Invalid URL (POST /v1/v1/x)"}}']


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", WRONG_ADDRESS)
def test_a_realtime_call_to_a_wrong_address_waits_until_it_is_right(
    stage: Stage, provider: OpenAIProvider, status: int, body: bytes
) -> None:
    stage._will(status=status, body=body)
    with pytest.raises(Retryable, match="base_url"):
        provider.call(lane("chat"), BODY, timeout_s=30)


def test_a_realtime_call_of_a_model_that_is_not_known_is_rejected(stage: Stage, provider: OpenAIProvider) -> None:
    stage.refuses(404, code="model_not_found")
    result = provider.call(lane("chat"), BODY, timeout_s=30)
    assert (result.kind, result.code) == ("rejected", "model_not_found")


@pytest.mark.parametrize(
    ("status", "error"), [(401, KeyRefused), (403, KeyRefused), (429, Retryable), (500, Retryable)]
)
def test_a_realtime_refusal_of_the_account_or_the_moment_is_an_error(
    stage: Stage, provider: OpenAIProvider, status: int, error: type[ProviderError]
) -> None:
    stage.refuses(status)
    with pytest.raises(ProviderError) as caught:
        provider.call(lane("chat"), BODY, timeout_s=30)
    assert type(caught.value) is error
    assert len(stage.asked) == 1


def test_a_realtime_answer_that_is_lost_may_have_been_paid(stage: Stage, provider: OpenAIProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous):
        provider.call(lane("chat"), BODY, timeout_s=30)
    assert len(stage.asked) == 1


def test_a_realtime_answer_that_is_no_json_is_no_answer(stage: Stage, provider: OpenAIProvider) -> None:
    stage.says(b'{"id":"x"')
    with pytest.raises(Ambiguous):
        provider.call(lane("chat"), BODY, timeout_s=30)
