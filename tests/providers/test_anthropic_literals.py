"""Every literal example of Anthropic's batch documentation, through the parser or the call that it belongs to."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

from batchline.errors import NotFound, Permanent
from batchline.providers.anthropic import AnthropicProvider
from batchline.providers.anthropic_wire import PAGE, listed_of, parse_batch, parse_result, progress_of
from batchline.providers.protocol import AccountAccess, Job, Result
from batchline.requests import Usage

if TYPE_CHECKING:
    from tests.providers.conftest import Stage

BATCH = (
    b'{"id":"msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d","type":"message_batch","processing_status":"in_progress",'
    b'"request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},"ended_at":null,'
    b'"created_at":"2024-09-24T18:37:24.100435Z","expires_at":"2024-09-25T18:37:24.100435Z",'
    b'"cancel_initiated_at":null,"results_url":null}'
)
CREATE = (
    b'{"requests":[{"custom_id":"a","params":{"model":"claude-opus-5-5","max_tokens":10,'
    b'"messages":[{"role":"user","content":"hi"}]}}]}'
)
PARAMS = b'{"model":"claude-opus-5-5","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
SUCCEEDED = (
    '{"custom_id":"my-second-request","result":{"type":"succeeded","message":{"id":"msg_014V…","type":"message",'
    '"role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"Hello again!"}],'
    '"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":36}}}}'
).encode()
ERRORED = (
    b'{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error",'
    b'"message":"max_tokens: Field required"},"request_id":null}}}'
)
EXPIRED = b'{"custom_id":"c","result":{"type":"expired"}}'
CANCELED = b'{"custom_id":"d","result":{"type":"canceled"}}'
ERROR = '{"type":"error","error":{"type":"not_found_error","message":"…"},"request_id":"req_…"}'.encode()
OUTPUT_300K = "output-300k-2026-03-24"


@pytest.fixture
def provider(stage: Stage) -> AnthropicProvider:
    return AnthropicProvider(AccountAccess(name="acme", key=lambda: "sk", base_url=stage.url), now=lambda: 0.0)


@pytest.fixture
def sdk(stage: Stage) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk", base_url=stage.url, max_retries=0)


def job(beta: str | None = None) -> Job:
    return Job(batch_id="b", nonce="n", endpoint="messages", model="m", rows=1, intent_ms=0, beta=beta)


def test_the_batch_object_runs_and_knows_its_times() -> None:
    batch = parse_batch(BATCH)
    progress = progress_of(batch)
    assert (progress.provider_id, progress.status) == ("msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d", "in_progress")
    assert (progress.outcome, progress.total, progress.done, progress.ran) == (None, 2, 0, 0)
    assert (progress.created_ms, progress.expires_ms, progress.ended_ms) == (1_727_203_044_100, 1_727_289_444_100, 0)
    assert (progress.results, listed_of(batch).running) == ((), True)


def test_the_batch_object_in_a_page_is_listed() -> None:
    page = PAGE.decode(b'{"data":[' + BATCH + b'],"has_more":false,"first_id":null,"last_id":null}')
    assert [listed_of(each).provider_id for each in page.data or ()] == ["msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"]


def test_the_line_of_a_success_is_its_message_and_usage() -> None:
    result = parse_result(SUCCEEDED)
    assert (result.custom_id, result.kind) == ("my-second-request", "succeeded")
    assert result.usage == Usage(input_tokens=11, output_tokens=36)
    assert bytes(result.body or b"") == SUCCEEDED.partition(b'"message":')[2][:-2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            ERRORED,
            Result(custom_id="b", kind="rejected", code="invalid_request_error", message="max_tokens: Field required"),
        ),
        (EXPIRED, Result(custom_id="c", kind="expired", code="expired")),
        (CANCELED, Result(custom_id="d", kind="cancelled", code="canceled")),
    ],
)
def test_the_line_of_a_request_without_an_answer_says_why(line: bytes, expected: Result) -> None:
    result = parse_result(line)
    assert (result.custom_id, result.kind, result.code) == (expected.custom_id, expected.kind, expected.code)
    assert (result.message, result.body, result.size) == (expected.message, None, len(line))


def test_the_error_body_tells_its_type_and_message(stage: Stage, provider: AnthropicProvider) -> None:
    stage._will(status=404, body=ERROR)
    with pytest.raises(NotFound, match="…") as caught:
        provider.poll("msgbatch_1")
    assert (caught.value.code, caught.value.status) == ("not_found_error", 404)


def test_the_refusal_of_a_long_custom_id_is_permanent_and_says_it(stage: Stage, provider: AnthropicProvider) -> None:
    told = "requests.0.custom_id: String should have at most 64 characters"
    stage.refuses(400, code="invalid_request_error", message=told)
    with pytest.raises(Permanent, match=re.escape(told)):
        provider.create(io.BytesIO(provider.render("x" * 65, "messages", PARAMS)), job(), timeout_s=60)


def test_the_recorded_create_is_what_is_sent_byte_for_byte(stage: Stage, provider: AnthropicProvider) -> None:
    stage.says(BATCH)
    row = provider.render("a", "messages", PARAMS)
    created = provider.create(io.BytesIO(row + b"\n"), job(), timeout_s=60)
    assert created.provider_id == "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"
    assert stage.asked[0].body == CREATE


def test_the_300k_header_is_the_sdks_own_by_both_its_ways(
    stage: Stage, provider: AnthropicProvider, sdk: anthropic.Anthropic
) -> None:
    stage.says(BATCH)
    params: Any = json.loads(PARAMS) | {"max_tokens": 300_000}
    requests: Any = [{"custom_id": "a", "params": params}]
    sdk.beta.messages.batches.create(betas=[OUTPUT_300K], requests=requests)
    sdk.messages.batches.create(requests=requests, extra_headers={"anthropic-beta": OUTPUT_300K})
    row = provider.render("a", "messages", json.dumps(params).encode())
    provider.create(io.BytesIO(row), job(beta=OUTPUT_300K), timeout_s=60)
    assert [asked.headers["anthropic-beta"] for asked in stage.asked] == [OUTPUT_300K] * 3
    assert [asked.path for asked in stage.asked] == ["/v1/messages/batches"] * 3
    assert all(asked.json == {"requests": requests} for asked in stage.asked)
