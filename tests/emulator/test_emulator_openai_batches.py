"""OpenAI's Batch API as the SDK sees it: life by the clock, files, lists, limits."""

from __future__ import annotations

import hashlib
from typing import Any

import openai
import pytest


def sha(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_a_batch_lives_by_the_clock(start: Any, chat: Any) -> None:
    sim = start(latency_s=20, validation_delay_s=1)
    batch_id = sim.submit([chat("a")], metadata={"nonce": "n1"})
    sim.pass_time(1)
    running = sim.openai.batches.retrieve(batch_id)
    assert (running.status, running.in_progress_at, running.model) == ("in_progress", 1_790_000_001, "gpt-5-mini")
    assert running.request_counts.total == 1
    assert running.output_file_id is None
    sim.pass_time(19)
    done = sim.openai.batches.retrieve(batch_id)
    assert (done.status, done.completed_at, done.metadata) == ("completed", 1_790_000_020, {"nonce": "n1"})
    assert done.expires_at == done.created_at + 86_400


def test_the_batch_object_has_every_documented_key(sim: Any, chat: Any) -> None:
    batch_id = sim.run([chat("a")]).id
    assert set(sim.call("GET", f"/v1/batches/{batch_id}").json()) == {
        *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status"),
        *("output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at"),
        *("completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "request_counts"),
        *("metadata", "usage"),
    }


def test_every_answer_carries_the_hash_of_its_message(sim: Any, chat: Any) -> None:
    batch = sim.run([chat(f"question {n}", f"r{n}") for n in range(20)])
    found = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in sim.lines(batch.output_file_id)
    }
    assert found == {f"r{n}": sha(f"question {n}") for n in range(20)}
    assert batch.error_file_id is None
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0


def test_a_rejected_request_is_a_line_of_the_error_file_without_error(sim: Any, chat: Any) -> None:
    batch = sim.run([chat("fine", "a"), chat("[[reject]]", "b")])
    (line,) = sim.lines(batch.error_file_id)
    assert (line["custom_id"], line["error"], line["response"]["status_code"]) == ("b", None, 400)
    assert line["response"]["body"]["error"]["type"] == "invalid_request_error"
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 1, 1)


def test_a_batch_without_success_is_completed_and_has_no_output_file(sim: Any, chat: Any) -> None:
    batch = sim.run([chat("[[reject]]"), chat("[[fail]]")])
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert [line["response"]["status_code"] for line in sim.lines(batch.error_file_id)] == [400, 500]


def test_expired_requests_are_lines_without_response_and_count_as_nothing(sim: Any, chat: Any) -> None:
    batch = sim.run([chat("fine", "a"), chat("[[expire]]", "b")])
    assert (batch.status, batch.completed_at) == ("expired", None)
    assert batch.expired_at is not None
    (line,) = sim.lines(batch.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("b", None, "batch_expired")
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 1, 0)
    assert len(sim.lines(batch.output_file_id)) == 1


def test_a_body_of_the_wrong_type_is_refused_when_it_is_run(sim: Any, chat: Any) -> None:
    line = chat("a")
    line["body"]["messages"] = "hello"
    (failed,) = sim.lines(sim.run([line]).error_file_id)
    assert failed["response"]["body"]["error"]["param"] == "messages"


def test_a_cancelled_batch_keeps_what_was_done_by_then(start: Any, chat: Any) -> None:
    sim = start(latency_s=10, validation_delay_s=0, cancel_delay_s=5)
    batch_id = sim.submit([chat(str(n)) for n in range(10)])
    sim.pass_time(4)
    cancelling = sim.openai.batches.cancel(batch_id)
    assert (cancelling.status, cancelling.cancelling_at) == ("cancelling", 1_790_000_004)
    sim.pass_time(5)
    cancelled = sim.openai.batches.retrieve(batch_id)
    assert (cancelled.status, cancelled.cancelled_at) == ("cancelled", 1_790_000_009)
    assert len(sim.lines(cancelled.output_file_id)) == cancelled.request_counts.completed == 4
    assert sum(row["succeeded"] for row in sim.bill()["models"]) == 4


def test_a_batch_cancelled_in_validation_ran_nothing(start: Any, chat: Any) -> None:
    sim = start(validation_delay_s=1)
    batch_id = sim.submit([chat("a")])
    sim.openai.batches.cancel(batch_id)
    sim.pass_time(10)
    cancelled = sim.openai.batches.retrieve(batch_id)
    assert (cancelled.status, cancelled.output_file_id, cancelled.error_file_id) == ("cancelled", None, None)
    assert sim.bill()["models"] == []


def test_a_finished_batch_cannot_be_cancelled(sim: Any, chat: Any) -> None:
    batch_id = sim.run([chat("a")]).id
    with pytest.raises(openai.ConflictError):
        sim.openai.batches.cancel(batch_id)


def test_batches_are_listed_newest_first_in_pages(sim: Any, chat: Any) -> None:
    ids = [sim.submit([chat("a")], metadata={"n": str(n)}) for n in range(3)]
    page = sim.openai.batches.list(limit=2)
    assert [batch.id for batch in page.data] == [ids[2], ids[1]]
    assert [batch.metadata["n"] for batch in sim.openai.batches.list(limit=1)] == ["2", "1", "0"]


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_has_1_to_100_batches(sim: Any, limit: int) -> None:
    with pytest.raises(openai.BadRequestError):
        sim.openai.batches.list(limit=limit)


def test_an_unknown_batch_is_not_found(sim: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        sim.openai.batches.retrieve("batch_nope")


@pytest.mark.parametrize(
    "metadata",
    [{str(n): "x" for n in range(17)}, {"k" * 65: "x"}, {"k": "v" * 513}],
    ids=["pairs", "key", "value"],
)
def test_metadata_beyond_its_limits_is_refused(sim: Any, metadata: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sim.openai.batches.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="file-1", metadata=metadata
        )
    assert refused.value.param == "metadata"


@pytest.mark.parametrize(
    ("name", "value"), [("completion_window", "1h"), ("endpoint", "/v1/nothing"), ("input_file_id", None)]
)
def test_a_create_call_that_cannot_be_meant_is_refused_by_name(sim: Any, name: str, value: Any) -> None:
    body = {"completion_window": "24h", "endpoint": "/v1/responses", "input_file_id": "file-1", name: value}
    answer = sim.call("POST", "/v1/batches", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_output_files_live_as_long_as_asked(sim: Any, chat: Any) -> None:
    batch_id = sim.submit([chat("a")], output_expires_after={"anchor": "created_at", "seconds": 3_600})
    sim.pass_time(10)
    output = sim.openai.files.retrieve(sim.openai.batches.retrieve(batch_id).output_file_id)
    assert (output.expires_at - output.created_at, output.purpose) == (3_600, "batch_output")


def test_creations_beyond_the_hourly_limit_are_429(start: Any, chat: Any) -> None:
    sim = start(creates_per_hour=2)
    sim.submit([chat("a")])
    sim.submit([chat("b")])
    with pytest.raises(openai.RateLimitError) as refused:
        sim.submit([chat("c")])
    assert refused.value.code == "rate_limit_exceeded"
    sim.clock.now += 3_601
    sim.submit([chat("d")])


@pytest.mark.parametrize(
    ("endpoint", "asks", "text_of"),
    [
        ("/v1/responses", {"input": "ask me"}, lambda body: body["output"][0]["content"][0]["text"]),
        ("/v1/completions", {"prompt": "ask me"}, lambda body: body["choices"][0]["text"]),
        ("/v1/embeddings", {"input": ["ask me", "b"]}, lambda body: f"sha256:{body['data'][0]['sha256']}"),
        ("/v1/moderations", {"input": "ask me"}, lambda body: f"sha256:{body['results'][0]['sha256']}"),
    ],
)
def test_every_endpoint_answers_in_a_batch(sim: Any, endpoint: str, asks: Any, text_of: Any) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "m", **asks}}
    (answered,) = sim.lines(sim.run([line], endpoint).output_file_id)
    assert text_of(answered["response"]["body"]) == sha("ask me")
