"""What a quote says: tokens estimated, each figure with its basis, samples scaled, unknown prices said."""

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from batchline.errors import UsageError
from batchline.quoting import (
    BY_INPUT,
    BY_LIMIT,
    BY_OPTION,
    BY_PARTS,
    FREE,
    MOST_TOKENS,
    NO_OUTPUT,
    PART_TOKENS,
    Estimate,
    Quote,
    Terms,
    estimate,
    quote,
)
from batchline.settings.prices import PriceOverride

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)


def terms(model: str, provider: str = "openai", endpoint: str = "chat", **more: Any) -> Terms:
    return Terms(account=provider or "mine", endpoint=endpoint, model=model, provider=provider, **more)


def quoted(*given: tuple[Terms, Estimate, int], requests: int | None = None) -> Quote:
    counted = Counter({(index, each): count for index, (_, each, count) in enumerate(given)})
    return quote([each for each, _, _ in given], counted, when_ms=NOW_MS, requests=requests)


def use(tokens: int, output: int) -> Estimate:
    return Estimate(tokens, output, BY_OPTION)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_200_000_requests_of_claude_sonnet_4_6_cost_330_dollars_and_165_in_batches() -> None:
    made = quoted((terms("claude-sonnet-4-6", "anthropic", "messages"), use(300, 50), 200_000))
    assert (made.total.list_nano, made.total.batch_nano, made.total.saved_nano) == (
        330 * 10**9,
        165 * 10**9,
        165 * 10**9,
    )


def test_a_sample_stands_for_as_many_requests_as_are_given() -> None:
    sample = (terms("claude-sonnet-4-6", "anthropic", "messages"), use(300, 50), 1)
    made = quoted(sample, requests=200_000)
    assert (made.sample, made.total.requests, made.total.list_nano) == (1, 200_000, 330 * 10**9)


def test_the_requests_of_a_sample_are_shared_out_whole() -> None:
    made = quoted(*[(terms(model), use(1, 1), 1) for model in ("gpt-5-mini", "gpt-5.4", "gpt-6-luna")], requests=100)
    assert sorted(row.requests for row in made.rows) == [33, 33, 34]
    assert made.total.requests == 100


def test_each_request_is_priced_alone_so_that_only_long_prompts_pay_for_being_long() -> None:
    # gpt-6-luna: 0.10 in, above 272,000 tokens 0.20
    luna = terms("gpt-6-luna")
    counted = {(0, use(200_000, 0)): 2, (0, use(300_000, 0)): 1}
    made = quote([luna], counted, when_ms=NOW_MS)
    assert made.total.list_nano == 2 * 200_000 * 100 + 300_000 * 200
    assert made.rows[0].requests == 3


def test_only_at_anthropic_is_a_tenth_more_taken_for_the_united_states() -> None:
    asking = estimate("messages", body(inference_geo="us"), input_tokens=1_000, output_tokens=0)
    assert asking.us_only
    costs = {
        provider: quoted((terms(model, provider, "messages"), asking, 1)).total.list_nano
        for provider, model in (("anthropic", "claude-sonnet-4-6"), ("openai", "gpt-5-mini"))
    }
    assert costs == {"anthropic": 3_300_000, "openai": 250_000}


def test_a_token_is_four_bytes_of_the_body_rounded_up() -> None:
    assert estimate("chat", b'{"n":1234}', output_tokens=1) == Estimate(3, 1, BY_OPTION)


BASE64 = "iVBORw0KGgo/" * 50_000
CARRIED = {
    "a picture at OpenAI": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
    "a picture in responses": {"type": "input_image", "image_url": f"data:image/png;base64,{BASE64}"},
    "a file at OpenAI": {"type": "file", "file": {"filename": "a.pdf", "file_data": BASE64}},
    "sound at OpenAI": {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}},
    "a document at Anthropic": {"source": {"type": "base64", "media_type": "application/pdf", "data": BASE64}},
    "a picture at Gemini": {"inlineData": {"mimeType": "image/png", "data": BASE64}},
    "a picture at Gemini, in the other spelling": {"inline_data": {"mime_type": "image/png", "data": BASE64}},
}


@pytest.mark.parametrize("part", CARRIED.values(), ids=CARRIED)
def test_what_is_carried_in_base64_is_no_text(part: dict[str, Any]) -> None:
    made = estimate("chat", body(messages=[{"content": [{"type": "text", "text": "what?"}, part, part]}]))
    assert 2 * PART_TOKENS < made.input < 2 * PART_TOKENS + 200
    assert made.parts


@pytest.mark.parametrize(
    "part",
    [
        {"text": BASE64},
        {"source": {"type": "text", "media_type": "text/plain", "data": "word " * 50_000}},
        {"source": {"type": "text", "media_type": "text/plain", "data": BASE64}},
        {"inlineData": {"mimeType": "text/csv", "data": BASE64}},
        {"url": f"data:text/plain;base64,{BASE64}"},
        {"input": {"format": "csv", "data": "a,b;" * 50_000}},
        {"url": "data:image/png;base64,iVBORw0KGgo="},
    ],
)
def test_text_is_text_wherever_it_stands(part: dict[str, Any]) -> None:
    raw = body(messages=[{"content": [part]}])
    made = estimate("chat", raw)
    assert (made.input, made.parts) == (-(-len(raw) // 4), False)


def test_what_images_were_taken_for_is_said_in_the_basis_where_there_are_any() -> None:
    carrying, plain = (Estimate(9, 9, BY_OPTION, parts) for parts in (True, False))
    made = quoted((terms("gpt-5-mini"), carrying, 1), (terms("gpt-5.4"), plain, 1))
    assert {row.model: BY_PARTS in row.input_basis for row in made.rows} == {"gpt-5-mini": True, "gpt-5.4": False}


@pytest.mark.parametrize("fields", [{"max_tokens": MOST_TOKENS + 1}, {"max_tokens": MOST_TOKENS, "n": 2}])
def test_more_output_than_can_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="of output; more than 1,000,000,000 cannot be meant"):
        estimate("chat", body(**fields))


@pytest.mark.parametrize(
    ("endpoint", "fields", "output"),
    [
        ("chat", {"max_completion_tokens": 70}, 70),
        ("chat", {"max_tokens": 70, "n": 3}, 210),
        ("messages", {"max_tokens": 1024}, 1024),
        ("responses", {"max_output_tokens": 9}, 9),
        ("completions", {"max_tokens": 5, "n": 2, "best_of": 4}, 20),
        ("completions", {"prompt": "x"}, 16),
        ("generate", {"generationConfig": {"maxOutputTokens": 8, "candidateCount": 2}}, 16),
        ("generate", {"generation_config": {"max_output_tokens": 8}}, 8),
    ],
)
def test_the_bodys_own_limit_bounds_its_output(endpoint: str, fields: dict[str, Any], output: int) -> None:
    made = estimate(endpoint, body(**fields))
    assert (made.output, made.output_basis) == (output, BY_LIMIT)


@pytest.mark.parametrize(
    "limit", [{}, {"max_tokens": None}, {"max_tokens": True}, {"max_tokens": "5"}, {"generationConfig": 1}]
)
def test_without_a_limit_as_much_output_as_input_is_assumed_and_said(limit: dict[str, Any]) -> None:
    made = estimate("chat", body(messages=["hello"], **limit))
    assert made.output == made.input > 0
    assert made.output_basis == BY_INPUT


@pytest.mark.parametrize("endpoint", ["embeddings", "embed", "moderations"])
def test_an_endpoint_without_output_has_none_whatever_is_given(endpoint: str) -> None:
    assert estimate(endpoint, b"{}", input_tokens=8, output_tokens=99) == Estimate(8, 0, NO_OUTPUT)


def test_a_model_without_a_batch_price_shows_its_list_price_and_counts_in_no_total() -> None:
    made = quoted((terms("gpt-3.5-turbo-instruct"), use(1_000, 0), 2), (terms("gpt-5-mini"), use(1_000, 0), 1))
    dear, unpriced = made.rows
    assert (dear.model, unpriced.model) == ("gpt-5-mini", "gpt-3.5-turbo-instruct")
    assert (unpriced.list_nano, unpriced.batch_nano, unpriced.saved_nano) == (2 * 1_000 * 1_500, None, None)
    assert (made.total.list_nano, made.total.batch_nano, made.total.unpriced) == (250_000, 125_000, 2)


def test_an_unknown_model_has_neither_price() -> None:
    (row,) = quoted((terms("mine", provider=""), use(1, 1), 1)).rows
    assert (row.list_nano, row.batch_nano, row.list_basis, row.batch_basis) == (None, None, None, None)


def test_a_price_of_ones_own_and_an_accounts_discount_are_said() -> None:
    own = PriceOverride(match="mine*", input=Decimal(1), output=Decimal(2))
    (row,) = quoted((terms("mine", provider="", override=own), use(100, 10), 1)).rows
    assert (row.list_nano, row.batch_nano) == (100 * 1_000 + 10 * 2_000, 60_000)
    assert "mine*" in (row.batch_basis or "")
    (row,) = quoted((terms("gpt-5-mini", discount=Decimal("0.2")), use(100, 0), 1)).rows
    assert (row.list_nano, row.batch_nano) == (25_000, 20_000)
    assert "discount" in (row.batch_basis or "")


def test_a_batch_price_of_our_own_table_names_its_source() -> None:
    (row,) = quoted((terms("text-embedding-3-small", endpoint="embeddings"), use(1_000, 0), 1)).rows
    assert (row.list_nano, row.batch_nano) == (20_000, 10_000)
    assert "developers.openai.com" in (row.batch_basis or "")


def test_what_is_free_costs_nothing() -> None:
    (row,) = quoted((terms("omni-moderation-latest", endpoint="moderations", free=True), use(9, 0), 3)).rows
    assert (row.list_nano, row.batch_nano, row.batch_basis) == (0, 0, FREE)
