"""A prompt goes in and its own answer comes back, at every endpoint of both providers."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.emulator.prices import cost_nano
from batchline.store import keys

LANES = [
    "openai:chat:gpt-5-mini",
    "openai:responses:gpt-5-mini",
    "openai:embeddings:text-embedding-3-small",
    "openai:completions:davinci-002",
    "openai:moderations:omni-moderation-latest",
    "anthropic:messages:claude-haiku-4-5",
]


@pytest.mark.parametrize("lane", LANES)
def test_every_reply_answers_its_own_question(bench: Any, lane: str) -> None:
    texts = {bench.ask(text, lane): text for text in ("one", "two", "drei \u2028 \x85 ü")}
    bench.drain()
    for request_id, text in texts.items():
        reply = bench.reply(request_id, lane)
        assert (reply.status, reply.attempts, reply.route) == ("succeeded", 1, "batch")
        assert bench.answers_itself(reply, text)


@pytest.mark.parametrize("lane", LANES)
def test_the_ledger_equals_the_providers_bill(bench: Any, lane: str) -> None:
    for text in ("one", "a longer question [[cached]]", "x" * 1001):
        bench.ask(text, lane)
    bench.drain()
    (row,) = bench.bill()["models"]
    ledger = bench.ledger(lane)
    tokens_in = sum(ledger.get(f"tokens:{kind}", 0) for kind in ("input_uncached", "cache_read", "cache_write"))
    assert ledger["settled:succeeded:batch"] == row["succeeded"] == 3
    assert (tokens_in, ledger.get("tokens:output", 0)) == (row["input_tokens"], row["output_tokens"])
    assert ledger.get("list_nano:batch", 0) == row["list_nano_usd"]
    assert ledger.get("paid_nano:batch", 0) == row["paid_nano_usd"]
    assert ledger.get("unpriced", 0) == 0


def test_a_model_without_a_known_price_is_answered_and_counted_as_unpriced(bench: Any) -> None:
    lane = "openai:chat:my-own-model"
    request_id = bench.ask("hello", lane)
    bench.drain()
    assert bench.reply(request_id, lane).cost is None
    assert bench.ledger(lane)["unpriced"] == 1


def test_a_reply_tells_its_usage_cost_batch_and_times(bench: Any) -> None:
    start = bench.now_ms
    request_id = bench.ask("hello", metadata='{"a": [1]}')
    bench.tick()
    bench.advance(1)
    bench.advance(9)
    bench.tick()
    reply = bench.reply(request_id)
    (batch,) = bench.batches()
    # "hello" is 2 tokens of 4 bytes, the answer ("sha256:" and 64 hex digits) 18.
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (2, 18)
    # gpt-5-mini in USD per million tokens: 0.25 in, 2 out; half in a batch.
    assert (reply.cost.list_usd, reply.cost.paid_usd, reply.cost.saved_usd) == ("0.0000365", "0.00001825", "0.00001825")
    assert cost_nano("gpt-5-mini", 2, 0, 18) == (36_500, 18_250)
    assert (reply.batch.id, reply.batch.provider_id) == (batch.id, batch.provider_id)
    assert (reply.timing.enqueued, reply.timing.submitted) == (start, start)
    assert (reply.timing.ended, reply.timing.settled) == (start + 2_000, start + 10_000)
    assert reply.metadata == {"a": [1]}
    assert reply.v == 1


def test_the_response_is_the_providers_own_body(bench: Any) -> None:
    request_id = bench.ask("hello")
    bench.drain()
    response = bench.reply(request_id).response
    assert (response["object"], response["model"]) == ("chat.completion", "gpt-5-mini")
    assert response["usage"]["total_tokens"] == 20


def test_a_tenants_lane_has_a_batch_of_its_own_and_the_models_ledger(bench: Any) -> None:
    lanes = [f"openai:chat:gpt-5-mini|tenant={name}" for name in ("acme", "initech")]
    for lane in lanes:
        bench.ask("hello", lane)
    bench.drain()
    assert bench.created() == 2
    assert bench.ledger("openai:chat:gpt-5-mini")["settled:succeeded:batch"] == 2


def test_both_providers_at_once(bench: Any) -> None:
    for lane in LANES:
        bench.ask_many(4, lane)
    bench.drain()
    assert bench.statuses() == {"succeeded": 24}
    assert bench.bill()["double_executions"] == 0


def test_a_request_goes_in_with_the_stores_own_entry_id(bench: Any) -> None:
    body = '{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}'
    bench.run("XADD", keys.requests(LANES[0]), "*", "id", "mine", "body", body)
    bench.run("SADD", keys.LANES, LANES[0])
    bench.now_ms = int(bench.run("TIME")[0]) * 1000 + 1000
    bench.drain()
    assert bench.reply("mine").status == "succeeded"
