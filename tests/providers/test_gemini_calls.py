"""The real Google SDK against a loopback server: what goes out, and what comes of every way to fail."""

from __future__ import annotations

import io
import json
import math
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest

from batchline.errors import Ambiguous, KeyRefused, NotFound, Permanent, ProviderError, Retryable, RowsRefused
from batchline.lanes import Lane
from batchline.providers.fences import Fenced
from batchline.providers.gemini import INLINE_BYTES, GeminiProvider
from batchline.providers.gemini_lines import row
from batchline.providers.gemini_wire import file_name, tag
from batchline.providers.protocol import AccountAccess, Job, Listed, Options, Progress, Storage, Upload
from batchline.requests import Usage

if TYPE_CHECKING:
    from tests.providers.conftest import Pieces, Stage

    from batchline.providers.protocol import Result

JOB = Job(
    batch_id="b1",
    nonce="n1",
    endpoint="generate",
    model="gemini-3.8-flash",
    rows=2,
    intent_ms=1_790_000_000_000,
    lane="gemini:generate:gemini-3.8-flash",
    input_ref="files/in",
)
BY_ROWS = Job(batch_id="b1", nonce="n1", endpoint="generate", model="m", rows=2, intent_ms=0, lane="g:generate:m")
CREATED = "2026-09-21T14:13:21Z"  # 1,790,000,001 in unix seconds
DONE = Progress(provider_id="batches/1", status="SUCCEEDED", outcome="completed", results=("files/batch-1",))
INLINE = Progress(provider_id="batches/1", status="SUCCEEDED", outcome="completed", results=("batches/1",))
ROWS = row("a", b'{"contents":[]}') + b"\n" + row("b", b"{}") + b"\n"


def lane(endpoint: str, *, beta: str | None = None) -> Lane:
    """Return a lane of the endpoint, as the realtime call takes it."""
    return Lane(name="", account="acme", endpoint=endpoint, model="m", beta=beta)


def operation(name: str = "batches/1", state: str = "BATCH_STATE_RUNNING", **metadata: Any) -> dict[str, Any]:
    return {"name": name, "metadata": {"state": state, "createTime": CREATED} | metadata}


def made(stage: Stage, *, inline: bool = False, **fields: Any) -> GeminiProvider:
    access = AccountAccess(name="acme", key=lambda: "AIza-secret", base_url=stage.url, options=Options(inline=inline))
    return GeminiProvider(access, now=lambda: 0.0, **fields)


@pytest.fixture
def provider(stage: Stage) -> GeminiProvider:
    return made(stage)


def refuses(stage: Stage, code: int, status: str, message: str = "what went wrong", *details: Any) -> None:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    stage._will(status=code, body=json.dumps({"error": error}).encode())


def line(key: str, text: str = "hi") -> bytes:
    body = {"text": text, "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}}
    return json.dumps({"response": body, "key": key}, ensure_ascii=False).encode() + b"\n"


def found(provider: GeminiProvider, progress: Progress = DONE, sent: tuple[str, ...] = ()) -> list[Result]:
    return list(provider.results(progress, sent))


def takes_upload(stage: Stage, name: str = "files/in") -> None:
    # The address that Google names is of its own host; ours must be kept.
    stage.says({}, x_goog_upload_url="https://elsewhere.example/upload/v1beta/files?upload_id=1")
    stage.says({"file": {"name": name}}, x_goog_upload_status="final")


def test_an_upload_is_a_jsonl_file_named_after_the_attempt(stage: Stage, provider: GeminiProvider) -> None:
    takes_upload(stage)
    rows = io.BytesIO(ROWS)
    rows.seek(0, io.SEEK_END)
    assert provider.upload(rows, JOB) == "files/in"
    start, sent = stage.asked
    assert (start.method, start.path) == ("POST", "/upload/v1beta/files")
    assert start.headers["x-goog-api-key"] == "AIza-secret"
    assert start.json["file"]["display_name"] == "batchline-b1-n1.jsonl"
    assert start.headers["x-goog-upload-header-content-type"] == "jsonl"
    assert start.headers["x-goog-upload-header-content-length"] == str(len(ROWS))
    assert (sent.path, sent.body) == ("/upload/v1beta/files?upload_id=1", ROWS)
    assert sent.headers["x-goog-upload-command"] == "upload, finalize"
    assert all(asked.headers["x-server-timeout"] == "300" for asked in stage.asked)


def test_an_upload_never_holds_the_whole_file(stage: Stage, provider: GeminiProvider, big_rows: Pieces) -> None:
    more = type(big_rows)(big_rows.getvalue() * 5)
    stage.says({}, x_goog_upload_url=f"{stage.url}/up")
    for _ in range(2):
        stage.says({}, x_goog_upload_status="active")
    stage.says({"file": {"name": "files/in"}}, x_goog_upload_status="final")
    provider.upload(more, JOB)
    assert b"".join(asked.body for asked in stage.asked[1:]) == more.getvalue()
    assert 0 < more.largest <= 8 * 2**20


@pytest.mark.parametrize("body", [b"{}", b"<html>", b'{"file":{}}', b'{"file":{"name":null}}', b'{"file":{"name":7}}'])
def test_an_upload_whose_answer_names_no_file_may_go_again(stage: Stage, provider: GeminiProvider, body: bytes) -> None:
    stage.says({}, x_goog_upload_url=f"{stage.url}/up")
    stage.says(body, x_goog_upload_status="final")
    with pytest.raises(Retryable) as caught:
        provider.upload(io.BytesIO(ROWS), JOB)
    assert caught.value.code == "unreadable_answer"


def test_an_upload_that_is_nowhere_to_be_sent_may_go_again(stage: Stage, provider: GeminiProvider) -> None:
    stage.says({})
    with pytest.raises(Retryable):
        provider.upload(io.BytesIO(ROWS), JOB)


def test_a_create_is_one_post_with_the_recorded_body_and_our_tag(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation())
    created = provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert (created.provider_id, created.created_ms) == ("batches/1", 1_790_000_001_000)
    assert created.expires_ms == 1_790_000_001_000 + 48 * 3_600_000
    (asked,) = stage.asked
    assert (asked.method, asked.path) == ("POST", "/v1beta/models/gemini-3.8-flash:batchGenerateContent")
    assert asked.headers["x-goog-api-key"] == "AIza-secret"
    assert asked.headers["content-type"] == "application/json"
    tagged = "batchline:b1:n1:gemini:generate:gemini-3.8-flash"
    assert asked.body == b'{"batch":{"inputConfig":{"fileName":"files/in"},"displayName":"%s"}}' % tagged.encode()


@pytest.mark.parametrize(
    ("endpoint", "model", "path"),
    [
        ("embed", "gemini-embedding-2", "models/gemini-embedding-2:asyncBatchEmbedContent"),
        ("generate", "models/gemini-3.8-flash", "models/gemini-3.8-flash:batchGenerateContent"),
        ("generate", "tunedModels/mine", "tunedModels/mine:batchGenerateContent"),
        ("generate", "m:deleteAll?x", "models/m%3AdeleteAll%3Fx:batchGenerateContent"),
    ],
)
def test_the_model_and_the_endpoint_stand_in_the_address(
    stage: Stage, provider: GeminiProvider, endpoint: str, model: str, path: str
) -> None:
    stage.says(operation())
    job = Job(batch_id="b", nonce="n", endpoint=endpoint, model=model, rows=1, intent_ms=0, input_ref="files/in")
    provider.create(io.BytesIO(), job, timeout_s=30)
    assert stage.asked[0].path == f"/v1beta/{path}"


@pytest.mark.parametrize("endpoint", ["generate", "embed"])
def test_rows_that_fit_go_in_the_create_call(stage: Stage, endpoint: str) -> None:
    provider = made(stage, inline=True)
    job = Job(batch_id="b1", nonce="n1", endpoint=endpoint, model="m", rows=2, intent_ms=0, lane="g:generate:m")
    rows = io.BytesIO(ROWS)
    assert provider.upload(rows, job) is None
    stage.says(operation())
    provider.create(rows, job, timeout_s=30)
    (asked,) = stage.asked
    assert asked.headers["content-length"] == str(len(asked.body))
    assert asked.body == (
        b'{"batch":{"inputConfig":{"requests":{"requests":['
        b'{"request":{"contents":[]},"metadata":{"key":"a"}},{"request":{},"metadata":{"key":"b"}}'
        b']}},"displayName":"batchline:b1:n1:g:generate:m"}}'
    )


@pytest.mark.parametrize(
    ("endpoint", "rows", "ref"), [("embed", 1_000, None), ("embed", 1_001, "files/in"), ("generate", 1_001, None)]
)
def test_many_embeddings_go_in_a_file_since_their_answers_are_large(
    stage: Stage, endpoint: str, rows: int, ref: str | None
) -> None:
    takes_upload(stage)
    job = msgspec.structs.replace(BY_ROWS, endpoint=endpoint, rows=rows)
    assert made(stage, inline=True).upload(io.BytesIO(ROWS), job) == ref


def test_rows_that_do_not_fit_go_in_a_file(stage: Stage) -> None:
    takes_upload(stage)
    rows = io.BytesIO(row("a", b'{"t":"' + b"x" * INLINE_BYTES + b'"}') + b"\n")
    assert made(stage, inline=True).upload(rows, BY_ROWS) == "files/in"


def test_a_create_with_its_rows_leaves_whole_and_in_pieces(stage: Stage) -> None:
    stage.says(operation())
    rows = b"".join(row(f"r{n}", b'{"t":"' + b"x" * 4000 + b'"}') + b"\n" for n in range(1000))
    made(stage, inline=True).create(io.BytesIO(rows), BY_ROWS, timeout_s=30)
    requests = stage.asked[0].json["batch"]["inputConfig"]["requests"]["requests"]
    assert [each["metadata"]["key"] for each in requests] == [f"r{n}" for n in range(1000)]
    assert max(map(len, Fenced(rows).pieces())) <= 256 * 1024


def test_a_create_that_is_refused_for_lines_of_its_file_names_their_rows(
    stage: Stage, provider: GeminiProvider
) -> None:
    refuses(
        stage,
        400,
        "INVALID_ARGUMENT",
        "Error on line 2: invalid JSON, near column 9: no such field: 'x'\nError on line 9: gone",
    )
    with pytest.raises(RowsRefused) as caught:
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=20)
    assert caught.value.rows == (("b", "invalid JSON, near column 9: no such field: 'x'"),)


@pytest.mark.parametrize("message", [{"a": 1}, ["Error on line 1: x"], 7])
def test_a_create_that_is_refused_in_no_words_is_an_error_of_ours(
    stage: Stage, provider: GeminiProvider, message: Any
) -> None:
    refuses(stage, 400, "INVALID_ARGUMENT", message)
    with pytest.raises(Permanent):
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=20)


def test_a_create_that_is_refused_as_a_whole_names_no_row(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    with pytest.raises(Permanent) as caught:
        provider.create(io.BytesIO(ROWS), JOB, timeout_s=20)
    assert type(caught.value) is Permanent


@pytest.mark.parametrize("job", [JOB, BY_ROWS])
def test_a_create_that_is_late_does_not_even_connect(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    access = AccountAccess(name="acme", key=lambda: "k", base_url=f"http://127.0.0.1:{port}")
    late = msgspec.structs.replace(job, send_by=99.0)
    with pytest.raises(Retryable, match="before the whole request was sent") as caught:
        GeminiProvider(access, clock=lambda: 100.0).create(io.BytesIO(ROWS), late, timeout_s=30)
    assert caught.value.code == "TimeoutError"


def test_a_create_that_becomes_late_half_way_never_happened(stage: Stage) -> None:
    ticks = iter([0.0, 0.0, 1.0, 2.0, 99.0])
    stage.says(operation())
    rows = io.BytesIO(row("a", b'{"t":"' + b"x" * 3_000_000 + b'"}') + b"\n")
    with pytest.raises(Retryable, match="before the whole request was sent"):
        made(stage, clock=lambda: next(ticks)).create(rows, BY_ROWS, timeout_s=30)
    assert all(len(asked.body) < int(asked.headers["content-length"]) for asked in stage.asked)


@pytest.mark.parametrize("ticks", [[0.0, 0.0, 0.0, 31.0], [0.0, 0.0, 0.0, 1.0, 29.0]])
def test_a_create_whose_answer_trickles_in_is_over_in_its_time(stage: Stage, ticks: list[float]) -> None:
    """Times of: the beginning, two looks before it leaves, the answer's head, the answer's first bytes."""
    stage.says(operation())
    clock = iter(ticks)
    with pytest.raises(Ambiguous) as caught:
        made(stage, clock=lambda: next(clock)).create(io.BytesIO(), JOB, timeout_s=30)
    assert caught.value.code == "ReadTimeout"


def test_the_last_piece_is_marked_before_it_leaves() -> None:
    body = Fenced(b"x" * 600_000)
    seen = [body.complete for _ in body.pieces()]
    assert seen == [False, False, True]
    assert body.deadline == math.inf


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (500, "INTERNAL", Ambiguous),
        (503, "UNAVAILABLE", Ambiguous),
        (504, "DEADLINE_EXCEEDED", Ambiguous),
        (408, "", Ambiguous),
        (409, "ABORTED", Ambiguous),
        (429, "RESOURCE_EXHAUSTED", Retryable),
        (401, "UNAUTHENTICATED", KeyRefused),
        (403, "PERMISSION_DENIED", KeyRefused),
        (400, "INVALID_ARGUMENT", Permanent),
        (404, "NOT_FOUND", Retryable),
        (307, "", Retryable),
    ],
)
def test_a_refused_create_is_one_post(
    stage: Stage, provider: GeminiProvider, code: int, status: str, error: type[ProviderError]
) -> None:
    refuses(stage, code, status)
    with pytest.raises(ProviderError) as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert type(caught.value) is error
    assert (caught.value.account, caught.value.call, caught.value.status) == ("acme", "create", code)
    assert caught.value.__cause__ is None
    assert len(stage.asked) == 1


def test_a_full_quota_is_told_by_name_with_the_time_to_wait(stage: Stage, provider: GeminiProvider) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    refuses(stage, 429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", {"links": []}, info)
    with pytest.raises(Retryable, match="exceeded your current quota") as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("RESOURCE_EXHAUSTED", 429, 34.5)


def test_a_model_that_is_not_known_is_the_batchs_fault(stage: Stage, provider: GeminiProvider) -> None:
    message = "models/gemini-0 is not found for API version v1beta, or is not supported for batchGenerateContent."
    refuses(stage, 404, "NOT_FOUND", message)
    with pytest.raises(Permanent) as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert (type(caught.value), caught.value.code) == (Permanent, "model_not_found")


def test_a_create_whose_file_is_gone_says_so(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 403, "PERMISSION_DENIED", "You do not have permission to access the File in or it may not exist.")
    with pytest.raises(Permanent, match="cannot find file") as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert type(caught.value) is Permanent


def test_a_key_that_is_not_valid_keeps_the_requests_waiting(stage: Stage, provider: GeminiProvider) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    refuses(stage, 400, "INVALID_ARGUMENT", "API key not valid: AIza-secret", info)
    for call in (lambda: provider.create(io.BytesIO(), JOB, timeout_s=30), lambda: provider.poll("batches/1")):
        with pytest.raises(KeyRefused, match="set the account's key right") as caught:
            call()
        assert "AIza" not in str(caught.value)


def test_a_create_whose_answer_is_lost_is_ambiguous_and_one_post(stage: Stage, provider: GeminiProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous, match="may have happened"):
        provider.create(io.BytesIO(), JOB, timeout_s=30)
    assert len(stage.asked) == 1


def test_a_create_that_is_never_answered_is_ambiguous_within_its_time(stage: Stage, provider: GeminiProvider) -> None:
    stage.hangs()
    with pytest.raises(Ambiguous) as caught:
        provider.create(io.BytesIO(), JOB, timeout_s=1)
    assert caught.value.code == "ReadTimeout"
    assert len(stage.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"name":7}', b"", b"[]", b"\xff"])
def test_a_create_whose_answer_cannot_be_read_is_ambiguous(stage: Stage, provider: GeminiProvider, body: bytes) -> None:
    stage.says(body)
    with pytest.raises(Ambiguous):
        provider.create(io.BytesIO(), JOB, timeout_s=30)


def test_a_create_that_finds_nobody_there_never_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    access = AccountAccess(name="acme", key=lambda: "k", base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(Retryable) as caught:
        GeminiProvider(access).create(io.BytesIO(), JOB, timeout_s=30)
    assert caught.value.code == "ConnectError"


def test_an_address_that_is_none_is_the_accounts_fault() -> None:
    access = AccountAccess(name="acme", key=lambda: "k", base_url="api.example.com/v1")
    with pytest.raises(Permanent, match="base_url"):
        GeminiProvider(access).poll("batches/1")


def test_every_call_tells_how_long_it_may_take(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation())
    provider.poll("batches/1")
    provider.create(io.BytesIO(), JOB, timeout_s=40)
    provider.create(io.BytesIO(ROWS), BY_ROWS, timeout_s=40)
    provider.call(lane("generate"), b"{}", timeout_s=20)
    assert [asked.headers["x-server-timeout"] for asked in stage.asked] == ["60", "30", "16", "20"]


def test_each_part_of_a_call_is_bounded(
    stage: Stage, provider: GeminiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    send = httpx2.Client.send

    def watch(client: httpx2.Client, request: httpx2.Request, **fields: Any) -> httpx2.Response:
        seen.append(request.extensions["timeout"])
        return send(client, request, **fields)

    monkeypatch.setattr(httpx2.Client, "send", watch)
    stage.says(operation(), operation())
    stage.says(line("a"))
    provider.create(io.BytesIO(), JOB, timeout_s=40)
    provider.poll("batches/1")
    list(provider.results(DONE))
    create, poll, results = seen
    assert create == {"connect": 4.0, "pool": 4.0, "write": 4.0, "read": 30.0}
    assert all(0 < each <= 120 for limits in (poll, results) for each in limits.values())


def test_a_machines_environment_changes_neither_address_nor_version_nor_api(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "GOOGLE_API_KEY": "other",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_API_VERSION": "v1",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1",
        "GOOGLE_CLOUD_PROJECT": "p",
    }.items():
        monkeypatch.setenv(name, value)
    takes_upload(stage)
    stage.says(operation())
    provider = made(stage)
    provider.upload(io.BytesIO(ROWS), JOB)
    provider.poll("batches/1")
    assert [asked.path for asked in stage.asked[::2]] == ["/upload/v1beta/files", "/v1beta/batches/1"]
    assert {asked.headers["x-goog-api-key"] for asked in stage.asked[::2]} == {"AIza-secret"}


def test_a_realtime_call_to_a_wrong_address_waits_until_it_is_right(stage: Stage, provider: GeminiProvider) -> None:
    stage._will(status=404, body=b"<html>", headers={"Content-Type": "text/html"})
    with pytest.raises(Retryable, match="base_url"):
        provider.call(lane("generate"), b"{}", timeout_s=30)


def test_the_key_does_not_follow_a_redirect(stage: Stage, provider: GeminiProvider) -> None:
    stage._will(status=307, headers={"Location": f"{stage.url}/elsewhere"})
    stage.says(operation())
    with pytest.raises(Permanent, match="redirect"):
        provider.poll("batches/1")
    assert len(stage.asked) == 1


@pytest.mark.parametrize("code", [408, 409, 429, 500, 503])
def test_a_refused_read_or_upload_may_go_again_but_not_by_itself(
    stage: Stage, provider: GeminiProvider, code: int
) -> None:
    refuses(stage, code, "SOME")
    for call in (lambda: provider.poll("batches/1"), lambda: provider.upload(io.BytesIO(b"x"), JOB)):
        stage.asked.clear()
        with pytest.raises(Retryable):
            call()
        assert len(stage.asked) == 1


def test_an_error_of_the_sdk_without_an_answer_is_one_of_ours(provider: GeminiProvider) -> None:
    from google.genai import errors  # noqa: PLC0415

    with pytest.raises(Retryable), provider._calling("poll"):
        raise errors.ServerError(500, {})


def test_a_batch_that_is_not_there_is_not_found(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 404, "NOT_FOUND")
    with pytest.raises(NotFound) as caught:
        provider.poll("batches/1")
    assert caught.value.code == "NOT_FOUND"


def test_a_read_that_breaks_off_may_go_again(stage: Stage, provider: GeminiProvider) -> None:
    stage.drops()
    with pytest.raises(Retryable):
        provider.poll("batches/1")


def test_the_key_is_read_anew_for_each_call(stage: Stage) -> None:
    keys = iter(["old", "new"])
    provider = GeminiProvider(AccountAccess(name="acme", key=lambda: next(keys), base_url=stage.url))
    stage.says(operation())
    provider.poll("batches/1")
    provider.poll("batches/1")
    assert [asked.headers["x-goog-api-key"] for asked in stage.asked] == ["old", "new"]


def test_counts_and_the_reason_of_a_failure_come_from_the_raw_operation(stage: Stage, provider: GeminiProvider) -> None:
    counts = {"requestCount": "5", "successfulRequestCount": "2", "failedRequestCount": "1", "pendingRequestCount": "2"}
    stage.says(operation(batchStats=counts))
    stage.says(operation(state="BATCH_STATE_FAILED") | {"done": True, "error": {"code": 3, "message": "boom"}})
    running, failed = provider.poll("batches/1"), provider.poll("batches/1")
    assert (running.outcome, running.total, running.done) == (None, 5, 3)
    assert failed.refusal is not None
    assert (failed.refusal.code, failed.refusal.message) == ("INVALID_ARGUMENT", "boom")


def test_a_partial_success_ends_a_batch(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation(state="JOB_STATE_PARTIALLY_SUCCEEDED", output={"responsesFile": "files/batch-1"}))
    assert (provider.poll("batches/1").outcome, provider.poll("batches/1").results) == ("completed", ("files/batch-1",))


def listed(*names: str, created: str = CREATED, after: str = "", **metadata: Any) -> dict[str, Any]:
    page = {"operations": [operation(name, createTime=created, **metadata) for name in names]}
    return page | ({"nextPageToken": after} if after else {})


def test_find_pages_through_the_list_and_proves_by_nonce(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(listed("batches/9", displayName="batchline:b2:n2:l", after="t/1"))
    stage.says(listed("batches/1", displayName=tag(JOB), after="t2"))
    stage.says(listed("batches/0", displayName="another"))
    assert [each.provider_id for each in provider.find(JOB).proven] == ["batches/1"]
    assert [asked.path for asked in stage.asked] == [
        "/v1beta/batches?pageSize=100",
        "/v1beta/batches?pageSize=100&pageToken=t%2F1",
        "/v1beta/batches?pageSize=100&pageToken=t2",
    ]


def test_a_list_that_comes_newest_first_is_read_back_to_the_intent(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(listed("batches/9", after="t1"))
    stage.says(listed("batches/8", created="2026-09-21T14:00:00Z", displayName=tag(JOB), after="t2"))
    stage.says(listed("batches/7", after="t3"))
    assert [each.provider_id for each in provider.find(JOB).proven] == ["batches/8"]
    assert len(stage.asked) == 2


@pytest.mark.parametrize("first", ["2026-09-21T14:00:00Z", "2026-09-21T15:00:00Z"])
def test_a_list_in_another_order_is_read_to_its_end(stage: Stage, provider: GeminiProvider, first: str) -> None:
    stage.says(listed("batches/9", created="2026-09-01T14:00:00Z", after="t1"))
    stage.says(listed("batches/8", created=first, after="t2"))
    stage.says(listed("batches/7", created="2026-09-01T13:00:00Z", after="t3"))
    stage.says(listed("batches/6", displayName=tag(JOB)))
    assert [each.provider_id for each in provider.find(JOB).proven] == ["batches/6"]


@pytest.mark.parametrize(("names", "found"), [("dead_2 live dead_1", "live"), ("dead_2 dead_1", "dead_1")])
def test_find_leaves_out_what_was_refused_as_a_whole_unless_there_is_none_but_such(
    stage: Stage, provider: GeminiProvider, names: str, found: str
) -> None:
    states = {name: "BATCH_STATE_RUNNING" if name == "live" else "BATCH_STATE_FAILED" for name in names.split()}
    stage.says({"operations": [operation(name, state, displayName=tag(JOB)) for name, state in states.items()]})
    assert [each.provider_id for each in provider.find(JOB).proven] == [found]


def test_find_in_an_empty_project_finds_nothing(stage: Stage, provider: GeminiProvider) -> None:
    stage.says({})
    assert provider.find(JOB).proven == ()


def test_find_does_not_run_in_circles(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(listed("batches/1", after="t"))
    provider.find(JOB)
    assert len(stage.asked) == 2


def test_a_list_that_fails_half_way_proves_nothing(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(listed("batches/1", displayName=tag(JOB), after="t"))
    refuses(stage, 500, "INTERNAL")
    with pytest.raises(Retryable):
        provider.find(JOB)


def test_a_listed_batch_tells_our_tag_and_the_file_it_was_made_from(stage: Stage, provider: GeminiProvider) -> None:
    mine = operation(displayName=tag(JOB), inputConfig={"fileName": "files/in"}, batchStats={"requestCount": "2"})
    other = operation("batches/2", "BATCH_STATE_SUCCEEDED")
    old = operation("batches/3", createTime="2026-01-01T00:00:00Z")
    stage.says({"operations": [mine, old, other]})
    first, second = provider.recent(1_790_000_000_000)
    assert first == Listed(
        provider_id="batches/1",
        created_ms=1_790_000_001_000,
        expires_ms=1_790_000_001_000 + 48 * 3_600_000,
        total=2,
        running=True,
        batch_id="b1",
        nonce="n1",
        lane="gemini:generate:gemini-3.8-flash",
        input_ref="files/in",
    )
    assert (second.provider_id, second.lane, second.running) == ("batches/2", "", False)


def test_the_custom_ids_of_a_batch_are_read_back_from_its_file(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation(inputConfig={"fileName": "files/in"}), ROWS)
    assert list(provider.sent("batches/1")) == ["a", "b"]
    assert stage.asked[1].path == "/v1beta/files/in:download?alt=media"


@pytest.mark.parametrize(
    ("code", "status"), [(400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND")]
)
def test_a_file_that_is_not_handed_out_tells_no_custom_ids(
    stage: Stage, provider: GeminiProvider, code: int, status: str
) -> None:
    stage.says(operation(inputConfig={"fileName": "files/in"}))
    refuses(stage, code, status)
    assert list(provider.sent("batches/1")) == []


@pytest.mark.parametrize(("code", "error"), [(401, KeyRefused), (503, Retryable)])
def test_a_file_that_cannot_be_read_just_now_is_asked_for_again(
    stage: Stage, provider: GeminiProvider, code: int, error: type[ProviderError]
) -> None:
    stage.says(operation(inputConfig={"fileName": "files/in"}))
    refuses(stage, code, "SOME")
    with pytest.raises(error):
        list(provider.sent("batches/1"))


def test_a_batch_made_without_a_file_tells_no_custom_ids(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation())
    assert list(provider.sent("batches/1")) == []
    assert len(stage.asked) == 1


def test_a_file_whose_lines_are_torn_is_read_again_later(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(operation(inputConfig={"fileName": "files/in"}), ROWS[:-9])
    with pytest.raises(Retryable, match="read again later"):
        list(provider.sent("batches/1"))


def stored(name: str, *, created: str = CREATED, **fields: Any) -> dict[str, Any]:
    return {"name": name, "createTime": created, "sizeBytes": "10", "source": "UPLOADED"} | fields


def test_uploads_are_listed_in_pages_with_our_mark_and_their_size(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(
        {"files": [stored("files/9", displayName=file_name("b1", "n1"))], "nextPageToken": "t"},
        {
            "files": [
                stored("files/8", created="2026-01-01T00:00:00Z"),
                stored("files/batch-1", source="GENERATED"),
                stored("files/7", displayName="mine"),
            ]
        },
    )
    first, second = provider.uploads(1_790_000_000_000)
    assert first == Upload(ref="files/9", created_ms=1_790_000_001_000, batch_id="b1", nonce="n1", size=10)
    assert (second.ref, second.batch_id) == ("files/7", "")
    assert [asked.path for asked in stage.asked] == [
        "/v1beta/files?pageSize=100",
        "/v1beta/files?pageSize=100&pageToken=t",
    ]


def test_storage_counts_all_files_and_which_are_ours(stage: Stage, provider: GeminiProvider) -> None:
    ours = stored("files/9", displayName=file_name("b1", "n1"), sizeBytes="7")
    stage.says({"files": [ours, stored("files/batch-1", source="GENERATED")], "nextPageToken": "t"}, {})
    assert provider.storage() == Storage(files=2, bytes=17, ours=1, our_bytes=7)


def test_a_list_of_files_that_repeats_itself_ends(stage: Stage, provider: GeminiProvider) -> None:
    stage.says({"files": [stored("files/1")], "nextPageToken": "t"})
    assert len(list(provider.uploads(0))) == 1
    assert len(stage.asked) == 2


def test_lists_whose_pages_take_turns_end(stage: Stage, provider: GeminiProvider) -> None:
    for _ in range(3):
        stage.says(listed("batches/1", after="t"), listed("batches/2", after="u"))
    assert [each.provider_id for each in provider.recent(0)] == ["batches/1", "batches/2"]
    assert len(stage.asked) == 3


def test_a_list_of_empty_pages_ends_when_their_tokens_come_again(stage: Stage, provider: GeminiProvider) -> None:
    for _ in range(3):
        stage.says({"nextPageToken": "t"}, {"nextPageToken": "u"})
    assert list(provider.uploads(0)) == []
    assert len(stage.asked) == 3


def test_a_list_of_files_that_fails_half_way_is_no_list(stage: Stage, provider: GeminiProvider) -> None:
    stage.says({"files": [stored("files/1")], "nextPageToken": "t"})
    refuses(stage, 503, "UNAVAILABLE")
    with pytest.raises(Retryable):
        list(provider.uploads(0))


def test_a_file_of_results_is_read_by_key_and_other_line_separators_stay_inside_rows(
    stage: Stage, provider: GeminiProvider
) -> None:
    stage.says(line("b") + line("a", text="\u2028\u0085").rstrip())
    results = found(provider)
    assert [(each.custom_id, each.kind) for each in results] == [("b", "succeeded"), ("a", "succeeded")]
    assert json.loads(bytes(results[1].body or b""))["text"] == "\u2028\u0085"
    assert stage.asked[0].path == "/v1beta/files/batch-1:download?alt=media"


def test_an_empty_file_has_no_results(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(b"\n")
    assert found(provider) == []


@pytest.mark.parametrize("torn", [line("b")[:-10], b"not json\n", b'{"response":{}}\n', b'{"key":"\xff"}\n'])
def test_a_line_that_does_not_parse_stops_the_pass_after_what_was_whole(
    stage: Stage, provider: GeminiProvider, torn: bytes
) -> None:
    stage.says(line("a") + torn)
    results = provider.results(DONE)
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable, match="line 2 of files/batch-1") as caught:
        next(results)
    assert caught.value.code == "bad_line"


def test_a_download_that_breaks_off_stops_the_pass(stage: Stage, provider: GeminiProvider) -> None:
    stage.cuts(line("a") + line("b"), at=len(line("a")))
    results = provider.results(DONE)
    assert next(results).custom_id == "a"
    with pytest.raises(Retryable):
        next(results)


@pytest.mark.parametrize(("code", "status"), [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND")])
def test_results_that_are_gone_are_not_found(stage: Stage, provider: GeminiProvider, code: int, status: str) -> None:
    refuses(stage, code, status, "You do not have permission to access the File batch-1 or it may not exist.")
    with pytest.raises(NotFound):
        found(provider)


def test_results_are_never_held_as_a_whole(
    stage: Stage, provider: GeminiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> bytes:
        raise AssertionError("the whole body was read")

    monkeypatch.setattr(httpx2.Response, "read", refuse)
    stage.says(line("a") * 20_000)
    assert sum(1 for _ in provider.results(DONE)) == 20_000


def test_a_pass_may_be_left_early(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(line("a") * 1000, operation())
    results = provider.results(DONE)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert provider.poll("batches/1").provider_id == "batches/1"


def inside(*items: dict[str, Any], name: str = "inlinedResponses") -> dict[str, Any]:
    return operation(state="BATCH_STATE_SUCCEEDED", output={name: {"inlinedResponses": list(items)}})


def test_results_inside_the_operation_are_read_by_their_place(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(inside({"response": {"t": 1}}, {"error": {"code": 3, "message": "m"}}))
    progress = provider.poll("batches/1")
    results = found(provider, progress, ("a", "b"))
    assert [(each.custom_id, each.kind) for each in results] == [("a", "succeeded"), ("b", "rejected")]
    assert stage.asked[1].path == "/v1beta/batches/1"


def test_embeddings_inside_the_operation_are_read_by_their_echo(stage: Stage, provider: GeminiProvider) -> None:
    item = {"response": {"embedding": {"values": [0.5]}, "tokenCount": "4"}, "metadata": {"key": "a"}}
    stage.says(inside(item, name="inlinedEmbedContentResponses"))
    (result,) = found(provider, INLINE)
    assert (result.custom_id, result.usage) == ("a", Usage(input_tokens=4))


def test_results_whose_rows_are_not_known_are_an_error_after_those_that_are(
    stage: Stage, provider: GeminiProvider
) -> None:
    stage.says(inside({"response": {}}, {"response": {}, "metadata": {"key": "b"}}))
    results = provider.results(INLINE)
    assert next(results).custom_id == "b"
    with pytest.raises(Retryable, match="line 1 of batches/1") as caught:
        next(results)
    assert caught.value.code == "unassigned"


@pytest.mark.parametrize(("code", "status"), [(200, ""), (409, "ABORTED"), (400, "FAILED_PRECONDITION")])
def test_cancel_only_asks(stage: Stage, provider: GeminiProvider, code: int, status: str) -> None:
    stage.says({}) if code == 200 else refuses(stage, code, status)
    provider.cancel("batches/1")
    (asked,) = stage.asked
    assert (asked.method, asked.path) == ("POST", "/v1beta/batches/1:cancel")


def test_a_cancel_that_is_refused_otherwise_is_an_error(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 404, "NOT_FOUND")
    with pytest.raises(NotFound):
        provider.cancel("batches/1")


@pytest.mark.parametrize("code", [200, 404, 403])
def test_deleting_a_file_that_is_gone_is_no_error(stage: Stage, provider: GeminiProvider, code: int) -> None:
    gone = "You do not have permission to access the File in or it may not exist."
    stage.says({}) if code == 200 else refuses(stage, code, "SOME", gone)
    provider.delete_file("files/in")
    assert (stage.asked[0].method, stage.asked[0].path) == ("DELETE", "/v1beta/files/in")


def test_results_inside_an_operation_are_deleted_with_it(stage: Stage, provider: GeminiProvider) -> None:
    stage.says({})
    provider.delete_file("batches/1")
    assert (stage.asked[0].method, stage.asked[0].path) == ("DELETE", "/v1beta/batches/1")


def test_a_file_of_results_whose_name_is_too_long_to_delete_is_left_to_gemini(
    stage: Stage, provider: GeminiProvider
) -> None:
    refuses(stage, 400, "INVALID_ARGUMENT", "The name may be at most 40 characters long.")
    provider.delete_file("files/batch-" + "x" * 40)
    refuses(stage, 400, "INVALID_ARGUMENT", "something else")
    with pytest.raises(Permanent):
        provider.delete_file("files/in")


def test_a_key_that_may_not_delete_results_is_an_error(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 403, "PERMISSION_DENIED", "no right to do that")
    with pytest.raises(KeyRefused):
        provider.delete_file("files/batch-1")


BODY = '{"contents":[{"parts":[{"text":"\u2028é"}]}]}'.encode()


@pytest.mark.parametrize(("endpoint", "verb"), [("generate", "generateContent"), ("embed", "embedContent")])
def test_a_realtime_call_sends_the_body_as_it_is(
    stage: Stage, provider: GeminiProvider, endpoint: str, verb: str
) -> None:
    stage.says({"candidates": [], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}})
    result = provider.call(lane(endpoint), BODY, timeout_s=30)
    assert (result.custom_id, result.kind, result.usage) == ("", "succeeded", Usage(input_tokens=3, output_tokens=4))
    assert bytes(result.body or b"").startswith(b'{"candidates": []')
    (asked,) = stage.asked
    assert (asked.path, asked.body) == (f"/v1beta/models/m:{verb}", BODY)


def test_a_realtime_refusal_of_the_request_is_its_result(stage: Stage, provider: GeminiProvider) -> None:
    refuses(stage, 400, "INVALID_ARGUMENT", "too long")
    result = provider.call(lane("generate"), BODY, timeout_s=30)
    assert (result.kind, result.code, result.message) == ("rejected", "INVALID_ARGUMENT", "too long")


@pytest.mark.parametrize(("code", "error"), [(401, KeyRefused), (403, KeyRefused), (429, Retryable), (500, Retryable)])
def test_a_realtime_refusal_of_the_account_or_the_moment_is_an_error(
    stage: Stage, provider: GeminiProvider, code: int, error: type[ProviderError]
) -> None:
    refuses(stage, code, "SOME")
    with pytest.raises(ProviderError) as caught:
        provider.call(lane("generate"), BODY, timeout_s=30)
    assert type(caught.value) is error
    assert len(stage.asked) == 1


def test_a_realtime_answer_that_is_lost_may_have_been_paid(stage: Stage, provider: GeminiProvider) -> None:
    stage.drops()
    with pytest.raises(Ambiguous):
        provider.call(lane("generate"), BODY, timeout_s=30)
    assert len(stage.asked) == 1


def test_a_realtime_answer_that_is_no_json_is_no_answer(stage: Stage, provider: GeminiProvider) -> None:
    stage.says(b'{"id":"x"')
    with pytest.raises(Ambiguous):
        provider.call(lane("generate"), BODY, timeout_s=30)


def test_an_accounts_own_limits_only_lower_geminis() -> None:
    usual = GeminiProvider.facts(Options()).limits
    lowered = GeminiProvider.facts(Options(max_requests=10, max_bytes=1000)).limits
    raised = GeminiProvider.facts(Options(max_requests=10**9, max_bytes=10**12)).limits
    assert (lowered.max_requests, lowered.max_bytes, raised) == (10, 1000, usual)


def test_the_budgets_are_those_of_the_first_paid_tier() -> None:
    budgets = GeminiProvider.facts(Options()).budgets
    assert [(each.match, each.tokens) for each in budgets] == [
        ("*flash-lite*", 10_000_000),
        ("*pro*", 5_000_000),
        ("*", 3_000_000),
    ]
