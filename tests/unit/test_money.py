"""What a request cost, exactly: hand calculations, and equality with the price library over all its models."""

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Any

import pytest
from genai_prices import extract_usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from batchline.money import Tokens, price, price_usage, read_tokens
from batchline.requests import Cost

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
BEFORE_BATCH_RATES_MS = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp() * 1000)
BATCH = {"processing": "batch"}


def chat(prompt: int, completion: int, *, cached: int = 0, written: int = 0, audio: int = 0) -> bytes:
    details = {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": audio}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}
    return json.dumps({"id": "c", "model": "x", "choices": [{"message": {"content": "hi"}}], "usage": usage}).encode()


def responses(prompt: int, output: int, *, cached: int = 0) -> bytes:
    usage = {"input_tokens": prompt, "output_tokens": output, "input_tokens_details": {"cached_tokens": cached}}
    return json.dumps({"model": "x", "usage": usage}).encode()


def embeddings(prompt: int) -> bytes:
    return json.dumps({"model": "x", "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}).encode()


def message(uncached: int, output: int, *, read: int = 0, m5: int = 0, h1: int = 0, searches: int = 0) -> bytes:
    usage = {
        "input_tokens": uncached,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": m5 + h1,
        "cache_creation": {"ephemeral_5m_input_tokens": m5, "ephemeral_1h_input_tokens": h1},
        "server_tool_use": {"web_search_requests": searches},
    }
    return json.dumps({"model": "x", "content": [], "usage": usage}).encode()


def modalities(text: int, **others: int) -> list[dict[str, Any]]:
    counts = {"TEXT": text} | {name.upper(): count for name, count in others.items() if count}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def generated(
    prompt: int,
    candidates: int,
    *,
    cached: int = 0,
    thoughts: int = 0,
    tools: int = 0,
    audio: int = 0,
    cached_audio: int = 0,
    images_out: int = 0,
) -> bytes:
    usage = {
        "promptTokenCount": prompt,
        "promptTokensDetails": modalities(prompt - audio, audio=audio),
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts + tools,
    }
    if cached:
        usage["cachedContentTokenCount"] = cached
        usage["cacheTokensDetails"] = modalities(cached - cached_audio, audio=cached_audio)
    if images_out:
        usage["candidatesTokensDetails"] = modalities(candidates - images_out, image=images_out)
    usage |= {name: n for name, n in (("thoughtsTokenCount", thoughts), ("toolUsePromptTokenCount", tools)) if n}
    return json.dumps({"candidates": [], "usageMetadata": usage, "modelVersion": "x"}).encode()


# List prices in USD per million tokens, as published: in / cached / written 5m / written 1h / out; a batch pays half.
BY_HAND = [
    # gpt-5-mini: 0.25 / 0.025 / - / - / 2
    ("openai", "gpt-5-mini", "chat", chat(1000, 50), 350_000, 175_000),
    ("openai", "gpt-5-mini", "chat", chat(1000, 50, cached=128), 321_200, 160_600),
    ("openai", "gpt-5-mini", "responses", responses(1000, 50, cached=128), 321_200, 160_600),
    # gpt-5-mini: 1 token in, nothing cached: 250 and 125 nano-dollars
    ("openai", "gpt-5-mini", "chat", chat(1, 0), 250, 125),
    # one cached token: 25 and 12.5, half to even
    ("openai", "gpt-5-mini", "chat", chat(1, 0, cached=1), 25, 12),
    # three cached tokens: 75 and 37.5, half to even
    ("openai", "gpt-5-mini", "chat", chat(3, 0, cached=3), 75, 38),
    # gpt-6-luna: 0.1 / 0.01 / 0.125 / - / 0.5; above 272,000 tokens 0.2 / 0.02 / 0.25 / - / 0.75
    ("openai", "gpt-6-luna", "chat", chat(10_000, 10_000, cached=5_000), 5_550_000, 2_775_000),
    ("openai", "gpt-6-luna", "chat", chat(10_000, 0, cached=2_000, written=4_000), 920_000, 460_000),
    ("openai", "gpt-6-luna", "chat", chat(272_000, 1_000), 27_700_000, 13_850_000),
    ("openai", "gpt-6-luna", "chat", chat(272_001, 1_000), 55_150_200, 27_575_100),
    # gpt-5.4-mini: 0.75 / 0.075 / - / - / 4.5
    ("openai", "gpt-5.4-mini", "chat", chat(300, 50), 450_000, 225_000),
    # text-embedding-3-small: 0.02; the library knows no batch rate for it
    ("openai", "text-embedding-3-small", "embeddings", embeddings(1000), 20_000, 10_000),
    ("openai", "omni-moderation-latest", "moderations", b'{"results":[]}', 0, 0),
    # claude-haiku-4-5: 1 / 0.1 / 1.25 / 2 / 5
    ("anthropic", "claude-haiku-4-5", "default", message(300, 50), 550_000, 275_000),
    ("anthropic", "claude-haiku-4-5", "default", message(100, 10, read=1000, m5=200, h1=400), 1_300_000, 650_000),
    # claude-sonnet-4-6: 3 / 0.3 / 3.75 / 6 / 15, the same for long prompts
    ("anthropic", "claude-sonnet-4-6", "default", message(300, 50), 1_650_000, 825_000),
    ("anthropic", "claude-sonnet-4-6", "default", message(300_000, 0), 900_000_000, 450_000_000),
    # web searches at 10 USD a thousand are not discounted
    ("anthropic", "claude-haiku-4-5", "default", message(300, 50, searches=2), 20_550_000, 20_275_000),
]


@pytest.mark.parametrize(("kind", "model", "flavor", "body", "listed", "paid"), BY_HAND)
def test_a_request_costs_what_a_hand_calculation_says(
    kind: str, model: str, flavor: str, body: bytes, listed: int, paid: int
) -> None:
    cost = price(kind, model, flavor, body, NOW_MS)
    assert cost is not None
    assert (cost.list_nano, cost.paid_nano) == (listed, paid)


@pytest.mark.parametrize(
    ("kind", "model", "flavor", "body", "saved", "extra"),
    [
        # gpt-6-luna in a batch: 0.05 plain, 0.005 read, 0.0625 written
        ("openai", "gpt-6-luna", "chat", chat(10_000, 10_000, cached=5_000), 225_000, 0),
        ("openai", "gpt-6-luna", "chat", chat(10_000, 0, cached=2_000, written=4_000), 90_000, 50_000),
        # claude-haiku-4-5 in a batch: 0.5 plain, 0.05 read, 0.625 written for 5 minutes, 1 for an hour
        ("anthropic", "claude-haiku-4-5", "default", message(100, 10, read=1000, m5=200, h1=400), 450_000, 225_000),
        ("anthropic", "claude-haiku-4-5", "default", message(300, 50), 0, 0),
        # gpt-5-mini in a batch: 0.125 plain, 0.0125 read
        ("openai", "gpt-5-mini", "chat", chat(1, 0, cached=1), 112, 0),
    ],
)
def test_what_the_cache_saved_and_cost_is_against_plain_input_as_paid(
    kind: str, model: str, flavor: str, body: bytes, saved: int, extra: int
) -> None:
    cost = price(kind, model, flavor, body, NOW_MS)
    assert cost is not None
    assert (cost.cache_saved_nano, cost.cache_extra_nano) == (saved, extra)


def test_in_real_time_the_cache_saves_twice_as_much() -> None:
    cost = price("openai", "gpt-6-luna", "chat", chat(10_000, 0, cached=5_000), NOW_MS, route="realtime")
    assert cost is not None
    assert cost.cache_saved_nano == 450_000


def test_200_000_requests_of_claude_sonnet_4_6_cost_330_dollars_and_165_in_batches() -> None:
    cost = price("anthropic", "claude-sonnet-4-6", "default", message(300, 50), NOW_MS)
    assert cost is not None
    assert (200_000 * cost.list_nano, 200_000 * cost.paid_nano) == (330 * 10**9, 165 * 10**9)


def test_the_realtime_route_pays_the_list_price() -> None:
    cost = price("openai", "gpt-5-mini", "chat", chat(1000, 50), NOW_MS, route="realtime")
    assert cost == Cost(list_nano=350_000, paid_nano=350_000)


def test_an_accounts_own_discount_takes_the_place_of_the_batch_rates() -> None:
    cost = price("openai", "gpt-5-mini", "chat", chat(1000, 50), NOW_MS, discount=Decimal("0.25"))
    assert cost == Cost(list_nano=350_000, paid_nano=262_500)
    nothing_off = price("openai", "gpt-5-mini", "chat", chat(1000, 50), NOW_MS, discount=Decimal(0))
    assert nothing_off == Cost(list_nano=350_000, paid_nano=350_000)


def test_before_the_librarys_first_batch_rate_the_documented_discount_applies() -> None:
    cost = price("openai", "gpt-5-mini", "chat", chat(1000, 50), BEFORE_BATCH_RATES_MS)
    assert cost == Cost(list_nano=350_000, paid_nano=175_000)


def test_a_model_that_the_library_says_has_no_batch_discount_gets_none() -> None:
    cost = price("openai", "gpt-3.5-turbo-1106", "chat", chat(1_000, 0), NOW_MS)
    assert cost == Cost(list_nano=1_000_000, paid_nano=1_000_000)


def test_a_price_that_changed_is_taken_at_its_time() -> None:
    # claude-sonnet-4-6 asked double for prompts above 200,000 tokens until 13 March 2026.
    before = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
    cost = price_usage("anthropic", "claude-sonnet-4-6", Tokens(input=300_000), before)
    assert cost == Cost(list_nano=1_800_000_000, paid_nano=900_000_000)


@pytest.mark.parametrize(("kind", "model"), [("openai", "my-own-model"), ("anthropic", "gpt-5-mini"), ("nobody", "x")])
def test_an_unknown_model_has_no_price(kind: str, model: str) -> None:
    assert price_usage(kind, model, Tokens(input=1), NOW_MS) is None


def test_a_model_sold_by_the_hour_has_no_price() -> None:
    assert price_usage("openai", "whisper-1", Tokens(input=1), NOW_MS) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"usage":null}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":"7"}}',
        b'{"usage":{"prompt_tokens":1e30}}',
        b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":5}}}',
        b'{"usage":{"prompt_tokens":1,"completion_tokens":1},"x":' + b"[" * 100_000,
    ],
)
def test_a_body_whose_usage_makes_no_sense_has_no_price(body: bytes) -> None:
    assert price("openai", "gpt-5-mini", "chat", body, NOW_MS) is None


def test_null_details_are_no_details() -> None:
    body = b'{"usage":{"prompt_tokens":3,"completion_tokens":null,"prompt_tokens_details":null}}'
    assert read_tokens("openai", "chat", body) == Tokens(input=3)


def test_anthropics_input_is_counted_with_its_cached_tokens() -> None:
    tokens = read_tokens("anthropic", "default", message(100, 10, read=1000, m5=200, h1=400))
    assert tokens == Tokens(input=1700, output=10, cache_read=1000, cache_write=600, cache_write_1h=400)


# --- the same as the library, for every model that it knows ---


@cache
def models(kind: str) -> list[Any]:
    provider = next(each for each in get_snapshot().providers if each.id == kind)
    return [(provider, model) for model in provider.models]


def by_library(body: bytes, provider: Any, model: Any, flavor: str, context: dict[str, str] | None) -> Decimal | None:
    """Price by the library, from the body; None where it refuses usage that contradicts itself."""
    data = {key: value for key, value in json.loads(body).items() if key not in ("model", "modelVersion")}
    try:
        usage = extract_usage(data, provider_id=provider.id, api_flavor=flavor).usage
        found = model.calc_price(usage, provider, genai_request_timestamp=NOW, price_context=context)
    except ValueError:
        return None
    total: Decimal = found.total_price
    return total


def nano(usd: Decimal) -> int:
    return int((usd * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN))


def assert_as_library(kind: str, flavor: str, body: bytes, ours: str | None = None) -> None:
    """Hold our price of a body against the library's, for each of its models; ``ours`` is our name of the flavor."""
    for provider, model in models(kind):
        if provider.find_model(model.id) is not model:
            continue  # its own id finds another model
        assert_list_as_library(provider, model, flavor, body, ours or flavor)
        if any(variant.when == BATCH and vars(variant.prices) for variant in model.price_variants or ()):
            assert_batch_as_library(provider, model, flavor, body, ours or flavor)


def assert_list_as_library(provider: Any, model: Any, flavor: str, body: bytes, ours: str) -> None:
    cost = price(provider.id, model.id, ours, body, NOW_MS, route="realtime")
    expected = by_library(body, provider, model, flavor, None)
    if cost is None:
        prices = vars(model.get_prices(NOW))
        searches = json.loads(body).get("usage", {}).get("server_tool_use", {}).get("web_search_requests")
        unknown_fee = searches and "web_searches_kcount" not in prices
        assert unknown_fee or "input_mtok" not in prices or expected is None, model.id
        return
    assert expected is not None, model.id
    assert cost.list_nano == cost.paid_nano == nano(expected), model.id


def assert_batch_as_library(provider: Any, model: Any, flavor: str, body: bytes, ours: str) -> None:
    cost = price(provider.id, model.id, ours, body, NOW_MS)
    expected = by_library(body, provider, model, flavor, BATCH)
    if cost is not None:
        assert expected is not None, model.id
        assert cost.paid_nano == nano(expected), model.id


@pytest.mark.parametrize("prompt", [1, 1_000, 99_999, 128_001, 200_000, 200_001, 272_000, 272_001, 600_000])
def test_every_openai_model_costs_what_the_library_says(prompt: int) -> None:
    assert_as_library("openai", "chat", chat(prompt, 77, cached=prompt // 3, written=prompt // 5))
    assert_as_library("openai", "responses", responses(prompt, 77, cached=prompt // 3))
    assert_as_library("openai", "embeddings", embeddings(prompt))


@pytest.mark.parametrize("prompt", [1, 1_000, 99_999, 100_001, 200_000, 200_001, 600_000])
def test_every_anthropic_model_costs_what_the_library_says(prompt: int) -> None:
    assert_as_library("anthropic", "default", message(prompt, 77))
    assert_as_library("anthropic", "default", message(prompt, 77, read=prompt // 3, m5=prompt // 5, h1=prompt // 7))
    assert_as_library("anthropic", "default", message(prompt, 77, read=prompt // 3, searches=3))


@pytest.mark.parametrize("prompt", [1, 1_000, 128_001, 200_000, 200_001, 600_000])
def test_every_google_model_costs_what_the_library_says(prompt: int) -> None:
    assert_as_library("google", "default", generated(prompt, 77), "generate")
    assert_as_library("google", "default", generated(prompt, 77, cached=prompt // 3, thoughts=99, tools=5), "generate")
    assert_as_library("google", "default", generated(prompt, 77, audio=prompt // 4), "generate")
    parts = {"cached": prompt // 3, "audio": prompt // 4, "cached_audio": prompt // 5, "images_out": 40}
    assert_as_library("google", "default", generated(prompt, 77, **parts), "generate")


@pytest.mark.parametrize("prompt", [1, 1_000, 600_000])
def test_every_groq_model_costs_what_the_library_says(prompt: int) -> None:
    assert_as_library("groq", "default", chat(prompt, 77, cached=prompt // 3))


def test_audio_is_priced_by_the_library() -> None:
    assert_as_library("openai", "chat", chat(1000, 50, audio=300))


COUNT = st.integers(0, 400_000)


@settings(max_examples=30)
@given(prompt=COUNT, completion=COUNT, cached=COUNT, written=COUNT)
def test_gpt_6_luna_costs_what_the_library_says_for_any_usage(
    prompt: int, completion: int, cached: int, written: int
) -> None:
    body = chat(prompt, completion, cached=cached, written=written)
    provider, model = next(each for each in models("openai") if each[1].id == "gpt-6-luna")
    ours = price("openai", "gpt-6-luna", "chat", body, NOW_MS)
    listed, paid = (by_library(body, provider, model, "chat", context) for context in (None, BATCH))
    assert (ours and ours.list_nano) == (listed if listed is None else nano(listed))
    assert (ours and ours.paid_nano) == (paid if paid is None else nano(paid))
