"""Anthropic's Message Batches as the SDK sees them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import anthropic
import pytest

from batchline.emulator import anthropic_params


def post(sim: Any, body: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sim.call("POST", "/v1/messages/batches", content=raw, headers={"content-type": "application/json"})


def test_a_batch_lives_by_the_clock_and_counts_only_at_its_end(start: Any, message: Any) -> None:
    sim = start(latency_s=20)
    batches = sim.anthropic.messages.batches
    created = batches.create(requests=[message("a", "a"), message("b", "b")])
    sim.pass_time(19)
    running = batches.retrieve(created.id)
    assert (running.processing_status, running.results_url, running.ended_at) == ("in_progress", None, None)
    assert (running.request_counts.processing, running.request_counts.succeeded) == (2, 0)
    sim.pass_time(1)
    ended = batches.retrieve(created.id)
    assert ended.processing_status == "ended"
    assert (ended.request_counts.processing, ended.request_counts.succeeded) == (0, 2)
    assert (ended.ended_at - ended.created_at).total_seconds() == 20
    assert ended.results_url == f"{sim.url}/v1/messages/batches/{created.id}/results"


def test_the_batch_object_has_every_documented_key(sim: Any, message: Any) -> None:
    assert set(post(sim, {"requests": [message("a", "a")]}).json()) == {
        *("id", "type", "processing_status", "request_counts", "created_at", "expires_at", "ended_at"),
        *("cancel_initiated_at", "archived_at", "results_url"),
    }


def test_the_sdk_reads_the_results_and_each_carries_its_hash(sim: Any, message: Any) -> None:
    batches = sim.anthropic.messages.batches
    created = batches.create(requests=[message(f"q{n}", f"id-{n}") for n in range(20)])
    sim.pass_time(10)
    found = {row.custom_id: row.result.message.content[0].text for row in batches.results(created.id)}
    assert found == {f"id-{n}": f"sha256:{hashlib.sha256(f'q{n}'.encode()).hexdigest()}" for n in range(20)}


def test_a_batch_answer_is_of_the_batch_service_tier(sim: Any, message: Any) -> None:
    (row,) = sim.run_messages([message("a", "a")])
    assert row["result"]["message"]["usage"]["service_tier"] == "batch"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"model": None}, "model: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"stream": True}, "stream: Streaming is not supported in message batches"),
        ({"speed": "fast"}, "speed: Extra inputs are not permitted"),
        ({"temperature": 0.5}, "temperature: Extra inputs are not permitted"),
        ({"top_k": 3}, "top_k: Extra inputs are not permitted"),
    ],
)
def test_bad_params_are_an_errored_result_of_that_request_alone(sim: Any, message: Any, change: Any, text: str) -> None:
    bad = message("b", "b")
    bad["params"] = {key: value for key, value in {**bad["params"], **change}.items() if value is not None}
    rows = {row["custom_id"]: row["result"] for row in sim.run_messages([message("a", "a"), bad])}
    assert rows["a"]["type"] == "succeeded"
    error = {"type": "invalid_request_error", "message": text}
    assert rows["b"] == {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


def test_an_older_version_still_takes_temperature(sim: Any, message: Any) -> None:
    rows = sim.run_messages([message("a", "a", temperature=0.5)], extra_headers={"anthropic-version": "2023-06-01"})
    assert rows[0]["result"]["type"] == "succeeded"


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ([{"custom_id": "x" * 65, "params": {}}], "requests.0.custom_id: String should have at most 64 characters"),
        ([{"custom_id": "a b", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([{"custom_id": "", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([{"custom_id": "a\n", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([{"custom_id": 1, "params": {}}], "requests.0.custom_id: Input should be a valid string"),
        ([{"params": {}}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{"custom_id": "a", "params": []}], "requests.0.params: Input should be a valid dictionary"),
        ([{"custom_id": "a", "params": {}, "x": 1}], "requests.0.x: Extra inputs are not permitted"),
        ([{"custom_id": "a", "params": {}}] * 2, "requests.1.custom_id: Duplicate custom_id"),
        (["text"], "requests.0: Input should be a valid dictionary"),
        ([], "requests: List should have at least 1 item"),
    ],
)
def test_a_bad_envelope_is_refused_at_once(sim: Any, requests: Any, text: str) -> None:
    answer = post(sim, {"requests": requests})
    assert answer.status_code == 400
    error = answer.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert error["error"]["message"].startswith(text)
    assert error["request_id"] == answer.headers["request-id"]
    assert sim.anthropic.messages.batches.list().data == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "The request body is not valid JSON"),
        (b"[]", "The request body is not valid JSON"),
        (b'{"requests":[{"custom_id":"a","params":{}}', "The request body is not valid JSON"),
        (b'{"requests":[{"custom_id":"a","params":{"model":}}]}', "requests.0: Input should be a valid dictionary"),
        (b"{}", "requests: Field required"),
        (b'{"metadata":{}}', "metadata: Extra inputs are not permitted"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_at_once(sim: Any, raw: bytes, text: str) -> None:
    answer = post(sim, raw)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, text)


def test_a_batch_has_a_largest_number_of_requests(sim: Any, message: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anthropic_params.MAX_REQUESTS == 100_000
    monkeypatch.setattr(anthropic_params, "MAX_REQUESTS", 2)
    requests = [message("a", str(n)) for n in range(3)]
    assert post(sim, {"requests": requests[:2]}).status_code == 200
    refused = post(sim, {"requests": requests})
    assert refused.json()["error"]["message"] == "requests: List should have at most 2 items"


def test_pretty_printed_requests_are_read(sim: Any, message: Any) -> None:
    created = post(sim, json.dumps({"requests": [message("a\nb", "a")]}, indent=2).encode()).json()
    sim.pass_time(10)
    assert [row["result"]["type"] for row in sim.results(created["id"])] == ["succeeded"]


def test_a_body_over_the_byte_limit_is_413(start: Any, message: Any) -> None:
    sim = start(max_messages_bytes=1_000)
    with pytest.raises(anthropic.APIStatusError) as refused:
        sim.anthropic.messages.batches.create(requests=[message("x" * 1_000, "a")])
    assert refused.value.status_code == 413


def test_a_full_queue_is_429(start: Any, message: Any) -> None:
    sim = start(queued_requests_limit=2)
    batches = sim.anthropic.messages.batches
    batches.create(requests=[message("a", "a"), message("b", "b")])
    with pytest.raises(anthropic.RateLimitError):
        batches.create(requests=[message("c", "c")])
    sim.pass_time(10)
    batches.create(requests=[message("c", "c")])


def test_a_cancelled_batch_ends_with_canceled_results(start: Any, message: Any) -> None:
    sim = start(latency_s=10, cancel_delay_s=5)
    batches = sim.anthropic.messages.batches
    created = batches.create(requests=[message(str(n), str(n)) for n in range(10)])
    sim.pass_time(3)
    assert batches.cancel(created.id).processing_status == "canceling"
    sim.pass_time(5)
    ended = batches.retrieve(created.id)
    assert ended.cancel_initiated_at is not None
    assert (ended.request_counts.succeeded, ended.request_counts.canceled) == (3, 7)
    kinds = [row["result"]["type"] for row in sim.results(created.id)]
    assert (kinds.count("succeeded"), kinds.count("canceled")) == (3, 7)
    with pytest.raises(anthropic.ConflictError):
        batches.cancel(created.id)


def test_an_expired_request_has_its_own_result_type(sim: Any, message: Any) -> None:
    rows = sim.run_messages([message("[[expire]]", "a"), message("b", "b")])
    assert {row["custom_id"]: row["result"]["type"] for row in rows} == {"a": "expired", "b": "succeeded"}


def test_batches_are_listed_newest_first_both_ways(sim: Any, message: Any) -> None:
    batches = sim.anthropic.messages.batches
    ids = [batches.create(requests=[message("a", "a")]).id for _ in range(5)]
    newest = batches.list(limit=2)
    assert [batch.id for batch in newest.data] == [ids[4], ids[3]]
    assert (newest.first_id, newest.last_id, newest.has_more) == (ids[4], ids[3], True)
    assert [batch.id for batch in batches.list(limit=2, before_id=ids[1]).data] == [ids[3], ids[2]]
    assert [batch.id for batch in batches.list(limit=2)] == ids[::-1]


def test_results_before_the_end_are_not_found(start: Any, message: Any) -> None:
    sim = start(latency_s=20)
    created = sim.anthropic.messages.batches.create(requests=[message("a", "a")])
    assert sim.call("GET", f"/v1/messages/batches/{created.id}/results").status_code == 404
    with pytest.raises(anthropic.AnthropicError):
        sim.anthropic.messages.batches.results(created.id)


def test_a_batch_is_deleted_only_after_its_end(sim: Any, message: Any) -> None:
    batches = sim.anthropic.messages.batches
    created = batches.create(requests=[message("a", "a")])
    with pytest.raises(anthropic.BadRequestError):
        batches.delete(created.id)
    sim.pass_time(10)
    assert batches.delete(created.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(created.id)
