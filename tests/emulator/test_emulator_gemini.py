"""Gemini's batches as its SDK sees them: both kinds, embeddings, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.genai import errors
from tests.emulator.gemini_calls import EMBEDS, FLASH, embed_row, inline, raw, row, run, sha, submit, text_of

pytestmark = pytest.mark.filterwarnings("ignore:batches.create_embeddings")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_file_of_requests_is_uploaded_run_and_downloaded_under_both_versions(sim: Any, version: str) -> None:
    sim.use_google(version)
    lines = run(sim, [row("a"), row("b")])
    assert {key: text_of(line) for key, line in lines.items()} == {
        "k-a": f"sha256:{sha('a')}",
        "k-b": f"sha256:{sha('b')}",
    }


def test_the_async_client_uploads_creates_and_downloads_too(sim: Any, tmp_path: Any) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(row("a")) + "\n")

    async def session() -> bytes:
        client = sim.gemini.aio
        file = await client.files.upload(file=tmp_path / "in.jsonl", config={"mime_type": "jsonl"})
        created = await client.batches.create(model=FLASH, src=file.name)
        sim.pass_time(10)
        ended = await client.batches.get(name=created.name)
        whole: bytes = await client.files.download(file=ended.dest.file_name)
        await client.aclose()
        return whole

    assert text_of(json.loads(asyncio.run(session()))) == f"sha256:{sha('a')}"


def test_inline_answers_come_in_order_with_their_metadata(sim: Any) -> None:
    created = inline(sim, ["a", "b", "c"])
    assert created.state.name == "JOB_STATE_PENDING"
    sim.pass_time(10)
    answers = sim.gemini.batches.get(name=created.name).dest.inlined_responses
    assert [(answer.metadata, answer.response.text) for answer in answers] == [
        ({"key": f"k-{text}"}, f"sha256:{sha(text)}") for text in "abc"
    ]


def test_the_echo_of_metadata_can_be_left_out(start: Any) -> None:
    sim = start(gemini_echo_metadata=False)
    created = inline(sim, ["a"])
    sim.pass_time(10)
    (answer,) = sim.gemini.batches.get(name=created.name).dest.inlined_responses
    assert (answer.metadata, answer.response.text) == (None, f"sha256:{sha('a')}")


def test_inline_answers_can_lose_their_order(start: Any) -> None:
    sim = start(gemini_shuffle_inline=True)
    texts = [str(n) for n in range(20)]
    created = inline(sim, texts)
    sim.pass_time(10)
    answers = sim.gemini.batches.get(name=created.name).dest.inlined_responses
    keys = [answer.metadata["key"] for answer in answers]
    assert sorted(keys) == sorted(f"k-{text}" for text in texts)
    assert keys != [f"k-{text}" for text in texts]
    assert all(answer.response.text == f"sha256:{sha(answer.metadata['key'][2:])}" for answer in answers)


def test_embeddings_of_a_file_have_values_and_a_token_count(sim: Any) -> None:
    lines = run(sim, [embed_row("a" * 40), embed_row("b", output_dimensionality=3)], EMBEDS)
    answer = lines["k-" + "a" * 40]["response"]
    assert (len(answer["embedding"]["values"]), answer["tokenCount"], answer["sha256"]) == (8, 10, sha("a" * 40))
    assert answer["usageMetadata"]["promptTokenCount"] == 10
    assert len(lines["k-b"]["response"]["embedding"]["values"]) == 3


def test_inline_embeddings_are_what_the_sdk_expects(sim: Any) -> None:
    src = {"inlined_requests": {"contents": ["a", "b"], "config": {"output_dimensionality": 4}}}
    created = sim.gemini.batches.create_embeddings(model=EMBEDS, src=src)
    sim.pass_time(10)
    answers = sim.gemini.batches.get(name=created.name).dest.inlined_embed_content_responses
    assert [(len(answer.response.embedding.values), answer.response.token_count) for answer in answers] == [(4, 1)] * 2
    assert answers[0].response.embedding.values[0] == (bytes.fromhex(sha("a"))[0] - 128) / 128


def test_the_operation_is_what_was_recorded_of_the_real_one(sim: Any) -> None:
    name = submit(sim, [row("a"), row("b")], display_name="our tag")
    created = raw(sim, name)
    assert set(created) == {"name", "metadata"}
    assert created["metadata"]["batchStats"] == {"requestCount": "2", "pendingRequestCount": "2"}
    assert created["metadata"]["state"] == "BATCH_STATE_PENDING"
    assert created["metadata"]["displayName"] == "our tag"
    assert set(created["metadata"]["inputConfig"]) == {"fileName"}
    sim.pass_time(10)
    ended = raw(sim, name, "v1")
    output = {"responsesFile": f"files/batch-{name.removeprefix('batches/')}"}
    kind = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
    assert ended["done"] is True
    assert ended["response"] == {"@type": f"{kind}Output", **output}
    assert ended["metadata"]["output"] == output
    assert (ended["metadata"]["@type"], ended["metadata"]["model"]) == (kind, f"models/{FLASH}")
    assert ended["metadata"]["batchStats"] == {"requestCount": "2", "successfulRequestCount": "2"}


def test_counts_grow_while_a_batch_runs(start: Any) -> None:
    sim = start(latency_s=100)
    name = submit(sim, [row(str(n)) for n in range(10)])
    sim.pass_time(1)
    sim.pass_time(49)
    assert raw(sim, name)["metadata"]["state"] == "BATCH_STATE_RUNNING"
    assert raw(sim, name)["metadata"]["batchStats"] == {
        "requestCount": "10",
        "successfulRequestCount": "5",
        "pendingRequestCount": "5",
    }


def test_usage_has_thoughts_beside_the_candidates(sim: Any) -> None:
    usage = run(sim, [row("a" * 40)])[f"k-{'a' * 40}"]["response"]["usageMetadata"]
    thoughts = 16 + int(sha("a" * 40)[:2], 16)
    assert usage == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 18,
        "totalTokenCount": 28 + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
        "thoughtsTokenCount": thoughts,
    }


@pytest.mark.parametrize(
    ("model", "thinking", "thinks"),
    [
        ("gemini-2.5-flash", {}, True),
        ("gemini-2.5-flash", {"thinking_config": {"thinking_budget": 0}}, False),
        ("gemini-2.5-flash-lite", {}, False),
        ("gemini-2.5-flash-lite", {"thinkingConfig": {"thinkingBudget": 64}}, True),
    ],
    ids=str,
)
def test_thinking_is_the_models_and_the_requests_choice(sim: Any, model: str, thinking: Any, thinks: bool) -> None:
    line = run(sim, [row("a", generationConfig=thinking)], model)["k-a"]
    assert ("thoughtsTokenCount" in line["response"]["usageMetadata"]) is thinks


def test_cached_tokens_are_part_of_the_prompt(sim: Any) -> None:
    text = "[[cached]]" + "a" * 30
    usage = run(sim, [row(text, "k")])["k"]["response"]["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (10, 5)


def test_a_blocked_prompt_has_no_candidates(sim: Any) -> None:
    answer = run(sim, [row("[[blocked]]", "k")])["k"]["response"]
    assert "candidates" not in answer
    assert answer["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}


def test_what_fails_fails_alone_with_a_status(sim: Any) -> None:
    lines = run(sim, [row("[[reject]]", "r"), row("[[fail]]", "f"), row("a"), row("[[missing]]", "m")])
    assert sorted(lines) == ["f", "k-a", "r"]
    assert (lines["r"]["error"]["code"], lines["f"]["error"]["code"]) == (3, 13)
    assert text_of(lines["k-a"]) == f"sha256:{sha('a')}"


def test_a_request_without_contents_fails_alone(sim: Any) -> None:
    lines = run(sim, [row("a"), {"key": "empty", "request": {"contents": []}}])
    assert lines["empty"]["error"] == {
        "code": 3,
        "message": "* GenerateContentRequest.contents: contents is not specified\n",
    }
    assert "response" in lines["k-a"]


def test_the_code_of_failing_requests_can_be_chosen(start: Any) -> None:
    lines = run(start(gemini_error_code=1), [row("[[fail]]", "f")])
    assert lines["f"]["error"] == {"code": 1, "message": "The operation was cancelled."}


def test_failed_requests_are_counted_in_the_raw_operation_only(sim: Any) -> None:
    name = submit(sim, [row("[[reject]]"), row("a"), row("b")])
    sim.pass_time(10)
    assert raw(sim, name)["metadata"]["batchStats"] == {
        "requestCount": "3",
        "successfulRequestCount": "2",
        "failedRequestCount": "1",
    }


@pytest.mark.parametrize("state", ["JOB_STATE_PARTIALLY_SUCCEEDED", "BATCH_STATE_PARTIALLY_SUCCEEDED"])
def test_a_batch_with_failures_can_end_as_partially_succeeded(start: Any, state: str) -> None:
    sim = start(gemini_partial_state=state)
    mixed, clean = submit(sim, [row("[[reject]]"), row("a")]), submit(sim, [row("b")])
    sim.pass_time(10)
    assert (raw(sim, mixed)["metadata"]["state"], raw(sim, mixed)["done"]) == (state, True)
    assert raw(sim, clean)["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"


WRONG = {"key": "w", "request": {"contents": [{"parts": [{"text": "w"}]}], "thinking_config": {}}}


def test_a_file_with_unknown_fields_is_refused_by_the_create_call_with_every_line(sim: Any) -> None:
    nested = row("n", generationConfig={"cachedContent": "cachedContents/x"})
    with pytest.raises(errors.ClientError) as refused:
        submit(sim, [WRONG, row("a"), nested])
    first, second = str(refused.value.message).split("\n")
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    column = json.dumps(WRONG).index('"thinking_config"') + 1
    assert first == f"Error on line 1: invalid JSON, near column {column}: no such field: 'thinking_config'"
    assert second.startswith("Error on line 3: ")
    assert second.endswith("no such field: 'cachedContent'")
    assert sim.bill()["batches_created"] == {}


def test_lines_with_unknown_fields_can_fail_alone(start: Any) -> None:
    lines = run(start(gemini_bad_lines="line"), [WRONG, row("a")])
    assert lines["w"]["error"]["code"] == 3
    assert "no such field: 'thinking_config'" in lines["w"]["error"]["message"]
    assert "response" in lines["k-a"]


@pytest.mark.parametrize(("how", "bad"), [("line", b"no json"), ("job", b"no json"), ("job", WRONG)])
def test_a_bad_file_can_fail_the_job(start: Any, how: str, bad: Any) -> None:
    sim = start(gemini_bad_lines=how)
    name = submit(sim, [row("a"), bad])
    sim.pass_time(10)
    failed = raw(sim, name)
    assert (failed["metadata"]["state"], failed["done"], failed["error"]["code"]) == ("BATCH_STATE_FAILED", True, 3)
    assert failed["error"]["message"].startswith("Error on line 2: invalid JSON, near column")
    assert "output" not in failed["metadata"]
    assert sim.bill()["models"] == []


def test_inline_requests_with_unknown_fields_are_refused_by_their_path(sim: Any) -> None:
    inline_request = {"request": {"contents": [], "temperature": 1}}
    body = {"batch": {"inputConfig": {"requests": {"requests": [inline_request]}}}}
    answer = sim.google("POST", f"/v1/models/{FLASH}:batchGenerateContent", json=body)
    where = "batch.input_config.requests.requests[0].request"
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert f"Unknown name \"temperature\" at '{where}': Cannot find field." in answer.json()["error"]["message"]
    assert answer.json()["error"]["details"][0]["fieldViolations"][0]["field"] == where


@pytest.mark.parametrize(
    "body",
    [
        {"batch": {"inputConfig": {"fileName": "files/x"}, "dest": 1}},
        {"batch": {"inputConfig": {}}},
        {"batch": {"inputConfig": {"requests": {"requests": []}}}},
        {"batch": {"inputConfig": {"requests": {"requests": [{"contents": []}]}}}},
        {"batch": {}, "extra": 1},
        {},
    ],
    ids=str,
)
def test_a_create_body_that_cannot_be_meant_is_refused(sim: Any, body: Any) -> None:
    answer = sim.google("POST", f"/v1beta/models/{FLASH}:batchGenerateContent", json=body)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert sim.emulator.jobs.listed("gemini") == []


def test_an_inline_body_over_20_megabytes_is_refused(sim: Any) -> None:
    with pytest.raises(errors.ClientError, match="payload size exceeds the limit: 20971520 bytes"):
        inline(sim, ["a" * 20_971_520])


def test_a_file_that_is_not_there_is_refused_with_403(sim: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: sim.gemini.batches.create(model=FLASH, src="files/nobody"),
        lambda: sim.gemini.files.get(name="files/nobody"),
        lambda: sim.gemini.files.delete(name="files/nobody"),
        lambda: sim.gemini.files.download(file="files/nobody"),
    ]
    for call in calls:
        with pytest.raises(errors.ClientError, match="access the File nobody or it may not exist") as refused:
            call()
        assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("model", "method"), [(EMBEDS, "batchGenerateContent"), (FLASH, "asyncBatchEmbedContent")], ids=str
)
def test_a_model_has_its_own_methods_only(sim: Any, model: str, method: str) -> None:
    answer = sim.google("POST", f"/v1beta/models/{model}:{method}", json={})
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert f"models/{model} is not found for API version v1beta" in answer.json()["error"]["message"]


def test_an_unknown_batch_is_not_found(sim: Any) -> None:
    with pytest.raises(errors.ClientError) as refused:
        sim.gemini.batches.get(name="batches/nobody")
    assert (refused.value.code, refused.value.message) == (404, "Requested entity was not found.")


def test_gemini_and_openai_have_the_same_paths_and_each_sees_its_own(sim: Any, chat: Any) -> None:
    theirs = sim.submit([chat("a")])
    ours = submit(sim, [row("a")])
    assert [batch.id for batch in sim.openai.batches.list()] == [theirs]
    assert [job.name for job in sim.gemini.batches.list()] == [ours]
    assert [file.purpose for file in sim.openai.files.list()] == ["batch"]
    assert len(list(sim.gemini.files.list())) == 1


def test_without_a_key_google_answers_403_and_with_a_wrong_one_400(start: Any) -> None:
    sim = start(api_key="right")
    nobody = sim.call("GET", "/v1beta/batches", headers={"authorization": ""})
    assert (nobody.status_code, nobody.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    wrong = sim.call("GET", "/v1/batches", headers={"x-goog-api-key": "wrong"})
    assert (wrong.status_code, wrong.json()["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert sim.call("GET", "/v1/batches?key=right").json() == {}
    assert sim.call("GET", "/v1/batches", headers={"x-goog-api-key": "right"}).json() == {}


def test_an_unknown_path_of_googles_is_refused_in_its_words(sim: Any) -> None:
    answer = sim.google("GET", "/v1beta/cachedContents")
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
