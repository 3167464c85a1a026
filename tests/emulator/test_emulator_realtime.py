"""The realtime endpoints, keys, and everything around them."""

from __future__ import annotations

import hashlib
from typing import Any

import anthropic
import openai
import pytest

ASK = "what is it?"
SHA = f"sha256:{hashlib.sha256(ASK.encode()).hexdigest()}"
MESSAGES: Any = [{"role": "user", "content": ASK}]


def test_chat_answers_with_the_hash_and_full_usage(sim: Any) -> None:
    answer = sim.openai.chat.completions.create(model="gpt-5-mini", messages=MESSAGES)
    assert answer.choices[0].message.content == SHA
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 18, 21)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_the_last_user_message_counts_and_its_text_parts_are_put_together(sim: Any) -> None:
    parts = [{"type": "text", "text": "what "}, {"type": "text", "text": "is it?"}]
    messages: Any = [{"role": "user", "content": "no"}, {"role": "user", "content": parts}]
    assert sim.openai.chat.completions.create(model="m", messages=messages).choices[0].message.content == SHA


def test_responses_answer_text_and_items(sim: Any) -> None:
    assert sim.openai.responses.create(model="gpt-5-mini", input=ASK).output_text == SHA
    answer = sim.openai.responses.create(model="gpt-5-mini", input=MESSAGES, instructions="be brief")
    assert answer.output_text == SHA
    assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (5, 0)


def test_embeddings_answer_each_input_and_base64_is_the_same_vector(sim: Any) -> None:
    plain = sim.openai.embeddings.create(model="m", input=[ASK, "b"], encoding_format="float", dimensions=40)
    packed = sim.openai.embeddings.create(model="m", input=[ASK, "b"], dimensions=40)
    assert f"sha256:{plain.data[0].sha256}" == SHA
    assert [row.embedding for row in plain.data] == [row.embedding for row in packed.data]
    assert len(plain.data[0].embedding) == 40


def test_completions_and_moderations_answer(sim: Any) -> None:
    assert sim.openai.completions.create(model="m", prompt=ASK).choices[0].text == SHA
    assert f"sha256:{sim.openai.moderations.create(input=ASK).results[0].sha256}" == SHA


def test_messages_answer_and_tokens_are_counted(sim: Any) -> None:
    answer = sim.anthropic.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES, system="brief")
    assert answer.content[0].text == SHA
    assert (answer.usage.input_tokens, answer.usage.service_tier) == (5, "standard")
    counted = sim.anthropic.messages.count_tokens(model="claude-haiku-4-5", messages=MESSAGES, system="brief")
    assert counted.input_tokens == 5


def test_the_same_seed_and_body_give_the_same_answer(start: Any) -> None:
    def ask(seed: int) -> Any:
        return start(seed=seed).call("POST", "/v1/chat/completions", json={"model": "m", "messages": MESSAGES}).json()

    assert ask(1) == ask(1)
    assert ask(1)["id"] != ask(2)["id"]


@pytest.mark.parametrize(
    ("ticket", "label"),
    [("My invoice is wrong", "billing"), ("It crashed again", "technical"), ("I forgot my password", "account")],
)
def test_a_support_ticket_to_classify_gets_a_label(sim: Any, ticket: str, label: str) -> None:
    messages: Any = [
        {"role": "system", "content": "Classify the support ticket."},
        {"role": "user", "content": ticket},
    ]
    text = sim.openai.chat.completions.create(model="m", messages=messages).choices[0].message.content
    assert text == f"sha256:{hashlib.sha256(ticket.encode()).hexdigest()} category: {label}"


@pytest.mark.parametrize(("marker", "status"), [("[[reject]]", 400), ("[[fail]]", 500)])
def test_a_marker_fails_a_realtime_call(sim: Any, marker: str, status: int) -> None:
    messages: Any = [{"role": "user", "content": marker}]
    with pytest.raises(openai.APIStatusError) as of_openai:
        sim.openai.chat.completions.create(model="m", messages=messages)
    with pytest.raises(anthropic.APIStatusError) as of_anthropic:
        sim.anthropic.messages.create(model="m", max_tokens=9, messages=messages)
    assert (of_openai.value.status_code, of_anthropic.value.status_code) == (status, status)


def test_fail_once_is_answered_the_second_time(sim: Any) -> None:
    messages: Any = [{"role": "user", "content": "[[fail-once]]"}]
    with pytest.raises(openai.InternalServerError):
        sim.openai.chat.completions.create(model="m", messages=messages)
    assert sim.openai.chat.completions.create(model="m", messages=messages).choices


def test_a_wrong_key_is_401_in_each_providers_shape(start: Any) -> None:
    sim = start(api_key="sk-right")
    with pytest.raises(openai.AuthenticationError) as of_openai:
        sim.openai.batches.list()
    assert of_openai.value.code == "invalid_api_key"
    with pytest.raises(anthropic.AuthenticationError) as of_anthropic:
        sim.anthropic.messages.batches.list()
    body: Any = of_anthropic.value.body
    assert body["error"]["type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError):
        sim.openai.files.create(file=("a", b"x" * 3_000_000), purpose="batch")


def test_the_right_key_is_taken_as_bearer_and_as_x_api_key(start: Any) -> None:
    sim = start(api_key="sk-right")
    for headers in ({"authorization": "Bearer sk-right"}, {"authorization": "", "x-api-key": "sk-right"}):
        assert sim.call("GET", "/v1/messages/batches", headers=headers).status_code == 200


def test_a_stream_is_refused(sim: Any) -> None:
    body = {"model": "m", "messages": MESSAGES, "max_tokens": 5, "stream": True}
    assert sim.call("POST", "/v1/chat/completions", json=body).status_code == 400
    assert sim.call("POST", "/v1/messages", json=body).status_code == 400


def test_an_unknown_path_is_not_found_in_the_providers_shape(sim: Any) -> None:
    assert sim.call("POST", "/v1/nothing").json()["error"]["message"] == "Invalid URL (POST /v1/nothing)"
    assert sim.call("GET", "/v1/messages/x/y/z").json()["error"]["type"] == "not_found_error"


def test_health_needs_no_key(sim: Any) -> None:
    assert sim.call("GET", "/_emulator/health", headers={"authorization": ""}).json() == {"status": "ok"}
