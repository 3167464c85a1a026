"""OpenAI-compatible services: the real SDK against a loopback server that behaves as each service is documented to."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
from genai_prices import data_snapshot

from batchline.errors import InvalidRequest, Permanent, Retryable, UsageError
from batchline.lanes import Lane, parse_lane
from batchline.providers.openai import OpenAIProvider
from batchline.providers.presets import AZURE, GROQ, OPENAI, PRESETS, VLLM, preset_of, window_of
from batchline.providers.protocol import AccountAccess, Created, DefaultBudget, Job, Options, Storage

if TYPE_CHECKING:
    from tests.providers.conftest import Stage

DAY_S = 86_400
JOB = Job(
    batch_id="b1",
    nonce="n1",
    endpoint="chat",
    model="m",
    rows=2,
    intent_ms=1_790_000_000_000,
    lane="acme:chat:m",
    input_ref="file-in",
)
BATCH = {"id": "batch_1", "status": "validating", "created_at": 1_790_000_001, "input_file_id": "file-other"}
OLD = 1_780_000_000
MINE = {"batchline_batch": "b1", "batchline_nonce": "n1", "batchline_lane": "acme:chat:m"}


def lane(endpoint: str, *, beta: str | None = None) -> Lane:
    """Return a lane of the endpoint, as the realtime call takes it."""
    return Lane(name="", account="acme", endpoint=endpoint, model="m", beta=beta)


def service(stage: Stage, preset: str | None = None, **options: Any) -> OpenAIProvider:
    access = AccountAccess(
        name="acme", key=lambda: "k", base_url=f"{stage.url}/v1", options=Options(preset=preset, **options)
    )
    return OpenAIProvider(access, now=lambda: 0.0)


def created(stage: Stage, preset: str | None = None, **options: Any) -> Any:
    stage.says(BATCH)
    service(stage, preset, **options).create(io.BytesIO(), JOB, timeout_s=30)
    return stage.asked[-1].json


def uploaded(stage: Stage, preset: str | None = None, **options: Any) -> bytes:
    stage.says({"id": "file-9"})
    assert service(stage, preset, **options).upload(io.BytesIO(b'{"custom_id":"a"}\n'), JOB) == "file-9"
    return stage.asked[-1].body


# --- what is sent


@pytest.mark.parametrize("preset", [None, "azure", "groq", "vllm"])
def test_a_create_sends_nothing_that_was_not_asked_for(stage: Stage, preset: str | None) -> None:
    assert created(stage, preset) == {
        "completion_window": "24h",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "metadata": MINE,
    }


@pytest.mark.parametrize("preset", [None, "azure", "groq", "vllm"])
def test_an_upload_sends_its_purpose_and_the_rows_without_a_byte_order_mark(stage: Stage, preset: str | None) -> None:
    body = uploaded(stage, preset)
    assert b'name="purpose"\r\n\r\nbatch\r\n' in body
    assert b'\r\n\r\n{"custom_id":"a"}\n\r\n' in body
    assert b"expires_after" not in body


@pytest.mark.parametrize(
    ("preset", "asked_s", "sent_s"),
    [(None, 7200, 7200), ("vllm", 3600, 3600), ("azure", 3600, 14 * DAY_S), ("azure", 20 * DAY_S, 20 * DAY_S)],
)
def test_files_expire_when_the_account_says_so_and_no_sooner_than_the_service_allows(
    stage: Stage, preset: str | None, asked_s: int, sent_s: int
) -> None:
    assert created(stage, preset, files_expire_s=asked_s)["output_expires_after"] == {
        "anchor": "created_at",
        "seconds": sent_s,
    }
    stage.answers.clear()
    body = uploaded(stage, preset, files_expire_s=asked_s)
    assert b'name="expires_after[anchor]"\r\n\r\ncreated_at\r\n' in body
    assert f'name="expires_after[seconds]"\r\n\r\n{sent_s}\r\n'.encode() in body


def test_a_service_that_takes_no_expiry_is_sent_none(stage: Stage) -> None:
    assert "output_expires_after" not in created(stage, "groq", files_expire_s=3600)
    stage.answers.clear()
    assert b"expires_after" not in uploaded(stage, "groq", files_expire_s=3600)


def test_a_service_that_takes_no_metadata_is_sent_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    untagged = msgspec.structs.replace(GROQ, metadata=False)
    monkeypatch.setattr("batchline.providers.openai.preset_of", lambda _: untagged)
    assert "metadata" not in created(stage, "groq")
    assert not service(stage, "groq").tagged


@pytest.mark.parametrize(
    ("preset", "asked", "sent"),
    [("groq", "7d", "7d"), ("groq", "48h", "48h"), ("vllm", "2d", "48h"), ("vllm", "1h", "1h"), (None, "1h", "1h")],
)
def test_the_accounts_window_is_asked_for_in_units_that_the_service_reads(
    stage: Stage, preset: str | None, asked: str, sent: str
) -> None:
    assert created(stage, preset, completion_window=asked)["completion_window"] == sent


@pytest.mark.parametrize(
    ("preset", "asked", "offered"),
    [("azure", "48h", "offers: 24h"), ("groq", "8d", "24h to 168h"), ("groq", "23h", "24h"), ("vllm", "soon", "1h")],
)
def test_a_window_that_a_service_does_not_offer_is_refused(preset: str, asked: str, offered: str) -> None:
    with pytest.raises(UsageError, match=offered):
        window_of(preset, asked)


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'together'; known are openai, azure, groq, vllm"):
        OpenAIProvider.facts(Options(preset="together"))


@pytest.mark.parametrize("preset", ["azure", "groq", "vllm"])
def test_a_realtime_call_goes_to_the_path_behind_the_base_url(stage: Stage, preset: str) -> None:
    stage.says({"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    service(stage, preset).call(lane("chat"), b"{}", timeout_s=30)
    assert stage.asked[-1].path == "/v1/chat/completions"


# --- facts


@pytest.mark.parametrize("name", PRESETS)
def test_a_provider_has_the_facts_of_its_preset(name: str) -> None:
    preset, options = preset_of(name), Options(preset=name)
    facts = OpenAIProvider.facts(options)
    provider = OpenAIProvider(AccountAccess(name="acme", key=lambda: "k", options=options))
    assert (facts.limits, facts.endpoints, facts.price_provider) == (
        preset.limits,
        preset.endpoints,
        preset.price_provider,
    )
    assert (provider.limits, provider.endpoints, provider.results_kept_s) == (
        facts.limits,
        facts.endpoints,
        facts.results_kept_s,
    )


def test_without_a_preset_it_is_openai() -> None:
    assert OpenAIProvider.facts(Options()).limits == OPENAI.limits
    assert OpenAIProvider.facts(Options()).budgets == (
        DefaultBudget(match="text-embedding-*", requests=1_000_000, shared=True),
    )


def test_limits_of_the_account_count_where_they_are_lower() -> None:
    facts = OpenAIProvider.facts(Options(max_requests=10, max_bytes=10**12))
    assert (facts.limits.max_requests, facts.limits.max_bytes, facts.limits.max_inputs) == (
        10,
        OPENAI.limits.max_bytes,
        50_000,
    )


@pytest.mark.parametrize(
    ("preset", "requests", "megabytes"), [(OPENAI, 50_000, 200), (AZURE, 100_000, 200), (GROQ, 50_000, 100)]
)
def test_rows_and_their_line_feeds_fit_into_a_file(preset: Any, requests: int, megabytes: int) -> None:
    assert preset.limits.max_requests == requests
    assert preset.limits.max_bytes + requests == megabytes * 1_000_000


def test_results_are_kept_no_longer_than_they_are_told_to() -> None:
    assert OpenAIProvider.facts(Options(files_expire_s=7200)).results_kept_s == 7200
    assert OpenAIProvider.facts(Options(preset="azure", files_expire_s=7200)).results_kept_s == 14 * DAY_S
    assert OpenAIProvider.facts(Options(preset="groq", files_expire_s=7200)).results_kept_s == 30 * DAY_S


@pytest.mark.parametrize("name", PRESETS)
def test_prices_are_looked_up_under_names_that_the_price_library_knows(name: str) -> None:
    preset = PRESETS[name]
    library = next((p for p in data_snapshot.get_snapshot().providers if p.id == preset.price_provider), None)
    flavors = {extractor.api_flavor for extractor in (library and library.extractors) or ()}
    assert not library or {e.price_flavor for e in preset.endpoints.values()} - {""} <= flavors
    assert (library is None) == (preset is VLLM)


def test_what_openai_alone_would_refuse_is_left_to_other_services() -> None:
    lane, body = (
        parse_lane("acme:chat:o3"),
        {"model": "o3", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
    )
    with pytest.raises(InvalidRequest, match="max_tokens"):
        OpenAIProvider.facts(Options()).check(lane, body)
    OpenAIProvider.facts(Options(preset="vllm")).check(lane, body)


# --- statuses


@pytest.mark.parametrize(
    ("told", "status", "outcome"),
    [
        ("IN_PROGRESS", "in_progress", None),
        ("Completed", "completed", "completed"),
        ("EXPIRED", "expired", "expired"),
        ("canceled", "cancelled", "cancelled"),
        ("CANCELING", "cancelling", None),
    ],
)
def test_a_status_is_read_in_any_case_and_spelling(stage: Stage, told: str, status: str, outcome: str | None) -> None:
    stage.says(BATCH | {"status": told})
    with structlog.testing.capture_logs() as logs:
        progress = service(stage, "groq").poll("batch_1")
    assert (progress.status, progress.outcome, logs) == (status, outcome, [])


def test_an_unknown_status_counts_as_running_and_is_reported_once(stage: Stage) -> None:
    stage.says(BATCH | {"status": "ON_HOLD"}, BATCH | {"status": "on_hold"}, BATCH | {"status": "paused"})
    provider = service(stage)
    with structlog.testing.capture_logs() as logs:
        assert [provider.poll("batch_1").outcome for _ in range(4)] == [None] * 4
    assert [(log["event"], log["account"], log["status"]) for log in logs] == [
        ("provider.unknown_status", "acme", "on_hold"),
        ("provider.unknown_status", "acme", "paused"),
    ]


def test_an_unknown_status_in_a_list_is_a_running_batch(stage: Stage) -> None:
    stage.says({"data": [BATCH | {"status": "warming_up"}]})
    (listed,) = service(stage).recent(0)
    assert (listed.running, listed.dead) == (True, False)


# --- finding


def test_a_batch_is_proven_by_its_file_where_its_tag_does_not_come_back(stage: Stage) -> None:
    stage.says({"data": [BATCH, BATCH | {"id": "batch_2", "input_file_id": "file-in", "metadata": None}]})
    found = service(stage, "groq").find(JOB)
    assert [each.provider_id for each in found.proven] == ["batch_2"]
    assert found.candidates == ()


def test_beside_a_proof_there_are_no_candidates(stage: Stage) -> None:
    untold = {"id": "batch_2", "status": "in_progress", "created_at": 1_790_000_002}
    stage.says({"data": [untold, BATCH | {"metadata": MINE}]})
    found = service(stage).find(JOB)
    assert ([each.provider_id for each in found.proven], found.candidates) == (["batch_1"], ())


def test_a_batch_is_proven_by_its_tag_where_its_file_is_not_told(stage: Stage) -> None:
    stage.says({"data": [BATCH | {"metadata": MINE, "input_file_id": None}]})
    assert [each.provider_id for each in service(stage).find(JOB).proven] == ["batch_1"]


def test_an_attempt_without_a_file_is_not_proven_by_batches_that_tell_none(stage: Stage) -> None:
    stage.says({"data": [BATCH | {"input_file_id": None, "metadata": {"theirs": "1"}}]})
    found = service(stage).find(msgspec.structs.replace(JOB, input_ref=None))
    assert (found.proven, found.candidates) == ((), ())


def test_what_tells_neither_tag_nor_file_is_a_candidate_by_its_time_and_rows(stage: Stage) -> None:
    untold = {"id": "batch_2", "status": "in_progress", "created_at": 1_790_000_002}
    stage.says(
        {
            "data": [
                untold | {"request_counts": {"total": 2}},
                untold | {"id": "not_counted_yet"},
                untold | {"id": "other_rows", "request_counts": {"total": 3}},
                untold | {"id": "too_old", "created_at": OLD},
                untold | {"id": "never_ran", "status": "failed"},
                untold | {"id": "foreign_file", "input_file_id": "file-x"},
                untold | {"id": "foreign_tag", "metadata": {"a": "b"}},
            ]
        }
    )
    found = service(stage).find(JOB)
    assert found.proven == ()
    assert found.candidates[0] == Created(provider_id="batch_2", created_ms=1_790_000_002_000)
    assert [each.provider_id for each in found.candidates] == ["batch_2", "not_counted_yet"]


# --- lists


def test_a_list_that_names_its_next_page_is_followed(stage: Stage) -> None:
    stage.says({"data": [BATCH], "paging": {"next_cursor": "cursor_a"}})
    stage.says({"data": [BATCH | {"id": "batch_2", "metadata": MINE}], "paging": {"next_cursor": None}})
    assert [each.provider_id for each in service(stage, "groq").find(JOB).proven] == ["batch_2"]
    assert [asked.path for asked in stage.asked] == ["/v1/batches?limit=100", "/v1/batches?limit=100&cursor=cursor_a"]


def test_a_list_that_names_one_page_for_ever_ends(stage: Stage) -> None:
    stage.says({"data": [BATCH], "paging": {"next_cursor": "cursor_a"}})
    assert len(list(service(stage, "groq").recent(0))) == 1
    assert len(stage.asked) == 2


def test_a_gateway_that_counts_items_is_asked_by_their_number(stage: Stage) -> None:
    stage.says({"data": [BATCH, BATCH | {"id": "batch_0"}], "has_more": True})
    stage.says({"data": [BATCH | {"id": "batch_2"}], "has_more": True}, {"data": [], "has_more": False})
    assert len(list(service(stage, "vllm").recent(0))) == 3
    assert [asked.path.partition("?")[2] for asked in stage.asked] == [
        "limit=100",
        "limit=100&after=2",
        "limit=100&after=3",
    ]


@pytest.mark.parametrize("preset", ["azure", "groq", "vllm"])
def test_a_list_in_no_known_order_is_read_to_its_end(stage: Stage, preset: str) -> None:
    old = BATCH | {"id": "batch_old", "created_at": OLD}
    for _ in range(2):
        stage.says({"data": [old], "has_more": True}, {"data": [BATCH | {"metadata": MINE}], "has_more": False})
    provider = service(stage, preset)
    assert [each.provider_id for each in provider.find(JOB).proven] == ["batch_1"]
    assert [each.provider_id for each in provider.recent(1_790_000_000_000)] == ["batch_1"]


def test_uploads_in_no_known_order_are_read_to_their_end(stage: Stage) -> None:
    file = {"filename": "a.jsonl", "purpose": "batch", "bytes": 5}
    stage.says({"data": [file | {"id": "file-old", "created_at": OLD}], "has_more": True})
    stage.says({"data": [file | {"id": "file-new", "created_at": 1_790_000_000}], "has_more": False})
    (upload,) = service(stage, "vllm").uploads(1_789_000_000_000)
    assert (upload.ref, upload.size) == ("file-new", 5)
    assert stage.asked[1].path.endswith("&after=1")


def test_a_page_without_its_batches_proves_nothing(stage: Stage) -> None:
    stage.says({"value": [BATCH]})
    with pytest.raises(Retryable, match="not what the provider promises"):
        service(stage, "azure").find(JOB)


# --- storage


def test_storage_adds_up_the_files_of_all_purposes_and_ours_by_their_names(stage: Stage) -> None:
    ours = "batchline-b0123456789abcdef01234-abcdefghij.jsonl"
    stage.says(
        {
            "data": [
                {"id": "f1", "bytes": 100, "filename": ours, "purpose": "batch"},
                {"id": "f2", "bytes": 40, "filename": "batch_1_output.jsonl", "purpose": "batch_output"},
            ],
            "has_more": True,
        },
        {"data": [{"id": "f3", "bytes": None, "filename": None, "purpose": "vision"}], "has_more": False},
    )
    assert service(stage).storage() == Storage(files=3, bytes=140, ours=1, our_bytes=100)
    assert [asked.path for asked in stage.asked] == [
        "/v1/files?order=desc&limit=10000",
        "/v1/files?order=desc&limit=10000&after=f2",
    ]


def test_storage_asks_no_more_than_ten_times(stage: Stage) -> None:
    for number in range(12):
        stage.says({"data": [{"id": f"f{number}", "bytes": 1}], "has_more": True})
    assert service(stage).storage() == Storage(files=10, bytes=10, ours=0, our_bytes=0)


# --- what services answer otherwise


def test_azures_failure_with_files_and_null_counts_was_refused_as_a_whole(stage: Stage) -> None:
    error = {"code": "empty_file", "message": "The input file is empty."}
    told = {"status": "failed", "error_file_id": "file-e", "output_file_id": "file-o", "completed_at": 1_725_419_955}
    counts = {"total": 10, "completed": None, "failed": None}
    failed = BATCH | told | {"errors": {"object": "list", "data": [error]}, "request_counts": counts}
    stage.says(failed)
    progress = service(stage, "azure").poll("batch_1")
    assert progress.refusal is not None
    assert (progress.outcome, progress.refusal.scope, progress.refusal.code) == ("failed", "unknown", "empty_file")


def test_azures_empty_error_file_has_no_results(stage: Stage) -> None:
    row = {"custom_id": "a", "response": {"status_code": 200, "body": {"id": "x"}}, "error": None}
    done = BATCH | {"status": "completed", "output_file_id": "file-o", "error_file_id": "file-e"}
    stage.says(done, json.dumps(row), b"")
    provider = service(stage, "azure")
    assert [result.custom_id for result in provider.results(provider.poll("batch_1"))] == ["a"]
    assert len(stage.asked) == 3


def test_groqs_bare_list_of_errors_ends_a_completed_batch_all_the_same(stage: Stage) -> None:
    error = {"code": "invalid_method", "message": "Invalid value: 'GET'.", "param": "method", "line": 4}
    counts = {"total": 3, "completed": 2, "failed": 1}
    told = {"status": "completed", "errors": [error], "request_counts": counts, "metadata": None}
    stage.says(BATCH | told | {"output_file_id": "file_o", "error_file_id": "file_e"})
    progress = service(stage, "groq").poll("batch_1")
    assert (progress.outcome, progress.results, progress.ran) == ("completed", ("file_o", "file_e"), 3)


def test_groqs_bare_list_of_errors_names_the_guilty_row(stage: Stage) -> None:
    stage.says(BATCH | {"status": "failed", "errors": [{"code": "bad", "message": "m", "line": 2}]})
    stage.says('{"custom_id":"a"}\n{"custom_id":"b"}\n')
    refusal = service(stage, "groq").poll("batch_1").refusal
    assert refusal is not None
    assert [row.custom_id for row in refusal.rows] == ["b"]


@pytest.mark.parametrize("errors", ["it failed", {"data": "no list"}, [{"line": "two"}], 7])
def test_errors_of_no_known_shape_tell_nothing(stage: Stage, errors: Any) -> None:
    stage.says(BATCH | {"status": "failed", "errors": errors})
    refusal = service(stage).poll("batch_1").refusal
    assert refusal is not None
    assert refusal.scope == "untold"


def test_times_may_be_texts(stage: Stage) -> None:
    stage.says(BATCH | {"created_at": "2026-09-29T00:00:01Z", "expires_at": "2026-09-30T00:00:01", "failed_at": "soon"})
    progress = service(stage).poll("batch_1")
    assert (progress.created_ms, progress.expires_ms) == (1_790_640_001_000, 1_790_726_401_000)
    assert progress.ended_ms == 0


@pytest.mark.parametrize(("preset", "completed"), [(None, 2), ("vllm", 2), ("vllm", 0)])
def test_a_batch_that_failed_at_its_end_keeps_the_results_that_it_has(
    stage: Stage, preset: str | None, completed: int
) -> None:
    counts = {"total": completed, "completed": completed, "failed": 0}
    failed = BATCH | {"status": "failed", "output_file_id": "file-o", "request_counts": counts}
    stage.says(failed, {"data": [failed]})
    provider = service(stage, preset)
    progress = provider.poll("batch_1")
    told = (progress.outcome, progress.refusal, progress.results, progress.ran)
    assert told == ("expired", None, ("file-o",), completed)
    assert [each.dead for each in provider.recent(0)] == [False]


@pytest.mark.parametrize("counts", [None, "some", [], {"total": "3"}, {"completed": -1}, {"total": 10**30}])
def test_counts_of_another_shape_are_not_told(stage: Stage, counts: Any) -> None:
    stage.says(BATCH | {"status": "completed", "request_counts": counts, "output_file_id": "file-o"})
    progress = service(stage).poll("batch_1")
    assert (progress.outcome, progress.total, progress.ran, progress.results) == ("completed", 0, 0, ("file-o",))


@pytest.mark.parametrize(
    "moment", [1e308, -1, "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", 1_790_640_001_000]
)
def test_a_time_that_is_none_is_not_told(stage: Stage, moment: Any) -> None:
    stage.says(BATCH | {"created_at": moment})
    assert service(stage).poll("batch_1").created_ms == 0


def test_ids_may_be_numbers_and_what_is_no_id_is_not_told(stage: Stage) -> None:
    stage.says({"data": [BATCH | {"id": 7, "input_file_id": {}, "status": None}], "paging": {"next_cursor": []}})
    (listed,) = service(stage).recent(0)
    assert (listed.provider_id, listed.input_ref, listed.running) == ("7", "", True)


@pytest.mark.parametrize("page", [{"data": None}, {"data": [], "has_more": None}])
def test_a_list_that_is_null_is_empty(stage: Stage, page: Any) -> None:
    stage.says(page)
    provider = service(stage)
    found = provider.find(JOB)
    assert (found.proven, found.candidates) == ((), ())
    assert list(provider.uploads(0)) == []


@pytest.mark.parametrize(
    ("code", "kind"), [("batch_cancelled", "cancelled"), ("batch_failed", "retryable"), ("batch_expired", "expired")]
)
def test_a_gateways_lines_say_why_a_row_was_not_run(stage: Stage, code: str, kind: str) -> None:
    line = {"id": "x", "custom_id": "a", "response": None, "error": {"code": code, "message": "not executed"}}
    stage.says(BATCH | {"status": "cancelled", "error_file_id": "file-e"}, json.dumps(line))
    provider = service(stage, "vllm")
    assert [(r.kind, r.code) for r in provider.results(provider.poll("batch_1"))] == [(kind, code)]


@pytest.mark.parametrize("status", ["completed", "cancelled", "finalizing", "cancelling"])
def test_a_cancel_that_comes_too_late_is_no_error(stage: Stage, status: str) -> None:
    stage.refuses(400, message=f"Batch with status {status} cannot be cancelled")
    stage.says(BATCH | {"status": status})
    service(stage, "vllm").cancel("batch_1")
    assert [asked.method for asked in stage.asked] == ["POST", "GET"]


def test_a_cancel_that_is_refused_while_the_batch_runs_is_an_error(stage: Stage) -> None:
    stage.refuses(400, message="no")
    stage.says(BATCH | {"status": "in_progress"})
    with pytest.raises(Permanent, match="answered 400"):
        service(stage, "vllm").cancel("batch_1")


def test_a_gateways_missing_file_is_said_in_openais_words(stage: Stage) -> None:
    stage.refuses(400, code="invalid_request_error", message="Input file with ID 'file-in' not found")
    with pytest.raises(Permanent, match=r"\(cannot find file\)") as caught:
        service(stage, "vllm").create(io.BytesIO(), JOB, timeout_s=30)
    assert (caught.value.call, caught.value.code, caught.value.status) == ("create", "invalid_request_error", 400)


@pytest.mark.parametrize(
    "message",
    [
        "File size exceeds the maximum allowed size of 1048576 bytes",
        "File exceeds the maximum allowed line count of 100",
    ],
)
def test_a_gateways_file_that_is_too_large_is_said_in_openais_words(stage: Stage, message: str) -> None:
    stage.refuses(400, message=message)
    with pytest.raises(Permanent, match=r"\(the file is too large\)"):
        service(stage, "vllm").upload(io.BytesIO(b"{}"), JOB)


def test_a_refusal_that_openai_words_itself_stays_as_it_is(stage: Stage) -> None:
    stage.refuses(400, message="Cannot find file file-in")
    with pytest.raises(Permanent) as caught:
        service(stage).create(io.BytesIO(), JOB, timeout_s=30)
    assert str(caught.value).endswith("Cannot find file file-in")
