"""What has no known price has none; fees and factors beside tokens; prices of one's own."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.money_bodies import chat, gemini, message, responses, text

from batchline.money import price
from batchline.settings.prices import PriceOverride, price_for

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)


# --- what is not known has no price ---


@pytest.mark.parametrize(
    ("provider", "model", "flavor", "body"),
    [
        ("openai", "gpt-3.5-turbo-instruct", "chat", chat(10, 10)),
        ("openai", "chatgpt-4o-latest", "chat", chat(10, 10)),
        ("groq", "llama-3.3-70b-versatile", "default", chat(10, 10)),
        ("google", "gemini-2.0-flash", "generate", text(10, 10)),
    ],
)
def test_a_model_without_a_known_batch_rate_has_no_price_in_a_batch(
    provider: str, model: str, flavor: str, body: dict[str, Any]
) -> None:
    raw = json.dumps(body).encode()
    assert price(provider, model, flavor, raw, NOW_MS, route="realtime") is not None
    assert price(provider, model, flavor, raw, NOW_MS) is None
    known = price(provider, model, flavor, raw, NOW_MS, discount=Decimal("0.25"))
    assert known is not None
    assert known.paid_nano == known.list_nano * 3 // 4


def test_cache_writes_for_twelve_hours_have_no_price_where_none_is_published() -> None:
    body = json.dumps(responses(10_000, 100, m30=10, h12=10)).encode()
    assert price("openai", "gpt-6-luna", "responses", body, NOW_MS) is None


def test_nobodys_prices_are_none() -> None:
    body = json.dumps(chat(10, 10)).encode()
    assert price("", "gpt-5-mini", "chat", body, NOW_MS) is None


def test_audio_that_may_have_been_cached_has_no_price() -> None:
    usage = {"promptTokenCount": 30, "cachedContentTokenCount": 10, "candidatesTokenCount": 1}
    usage["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": 20}]  # type: ignore[assignment]
    assert price("google", "gemini-2.5-flash", "generate", json.dumps(gemini(usage)).encode(), NOW_MS) is None


@pytest.mark.parametrize("body", [b"{}", b'{"embedding":{}}', b'{"usageMetadata":null}', b'{"tokenCount":"many"}'])
@pytest.mark.parametrize("flavor", ["generate", "embed"])
def test_a_gemini_body_without_usage_has_no_price(flavor: str, body: bytes) -> None:
    assert price("google", "gemini-embedding-2", flavor, body, NOW_MS) is None


# --- fees and factors ---


def test_web_searches_in_responses_are_paid_in_full_and_opening_a_page_is_free() -> None:
    body = responses(1_000, 100)
    calls = [{"type": "web_search_call", "action": {"type": kind}} for kind in ("search", "open_page", "search")]
    body["output"] += [*calls, {"type": "web_search_call"}]
    cost = price("openai", "gpt-5-mini", "responses", json.dumps(body).encode(), NOW_MS)
    # 3 searches at 10 USD a thousand: 10,000,000 nano-dollars each
    assert cost is not None
    assert cost.list_nano == 1_000 * 250 + 100 * 2_000 + 3 * 10_000_000
    assert cost.paid_nano == 1_000 * 125 + 100 * 1_000 + 3 * 10_000_000


def test_what_anthropic_ran_in_the_united_states_on_request_costs_a_tenth_more() -> None:
    body = message(300, 50)
    body["usage"]["inference_geo"] = "us"
    cost = price("anthropic", "claude-opus-5-5", "default", json.dumps(body).encode(), NOW_MS)
    assert cost is not None
    assert cost.list_nano == (300 * 4_000 + 50 * 20_000) * 11 // 10
    assert cost.paid_nano == (300 * 2_000 + 50 * 10_000) * 11 // 10


# --- prices of one's own ---


def own(**given: Any) -> PriceOverride:
    return PriceOverride.model_validate({"match": "*", "input": "0.40", "output": "1.60"} | given)


def test_a_price_of_ones_own_makes_an_unknown_model_priced_at_half_in_a_batch() -> None:
    body = json.dumps(chat(1_000, 100)).encode()
    cost = price("", "llama-4-mine", "chat", body, NOW_MS, override=own())
    assert cost is not None
    assert cost.list_nano == 1_000 * 400 + 100 * 1_600
    assert cost.paid_nano == 1_000 * 200 + 100 * 800


def test_a_price_of_ones_own_wins_over_the_library() -> None:
    body = json.dumps(message(100, 10, read=50, m5=30, h1=20)).encode()
    mine = own(cache_read="0.04", cache_write="0.5", cache_write_1h="0.8", batch_share="0.25")
    cost = price("anthropic", "claude-haiku-4-5", "default", body, NOW_MS, override=mine)
    assert cost is not None
    assert cost.list_nano == 100 * 400 + 50 * 40 + 30 * 500 + 20 * 800 + 10 * 1_600
    assert cost.paid_nano == cost.list_nano // 4


def test_without_prices_of_its_own_the_cache_costs_what_plain_input_does() -> None:
    body = json.dumps(message(100, 0, read=50, m5=30, h1=20)).encode()
    cost = price("anthropic", "claude-haiku-4-5", "default", body, NOW_MS, override=own())
    assert cost is not None
    assert (cost.list_nano, cost.cache_saved_nano, cost.cache_extra_nano) == (200 * 400, 0, 0)


@pytest.mark.parametrize(
    ("share", "discount", "paid"), [(None, None, 50), (None, "0.2", 80), ("0.7", "0.2", 70), ("1", None, 100)]
)
def test_a_batch_pays_the_share_of_the_price_else_what_the_discount_leaves_else_half(
    share: str | None, discount: str | None, paid: int
) -> None:
    mine = own(input="0.1", output="0", batch_share=share)
    off = None if discount is None else Decimal(discount)
    cost = price("", "mine", "chat", json.dumps(chat(1, 0)).encode(), NOW_MS, override=mine, discount=off)
    assert cost is not None
    assert (cost.list_nano, cost.paid_nano) == (100, paid)


def test_a_web_search_at_a_price_of_ones_own_costs_the_known_fee_or_is_unpriced() -> None:
    body = responses(0, 0)
    body["output"] = [{"type": "web_search_call"}]
    raw = json.dumps(body).encode()
    known = price("openai", "gpt-5-mini", "responses", raw, NOW_MS, override=own())
    assert known is not None
    assert (known.list_nano, known.paid_nano) == (10_000_000, 10_000_000)
    assert price("", "mine", "responses", raw, NOW_MS, override=own()) is None


@pytest.mark.parametrize(
    ("match", "account", "found"),
    [
        ("gpt-*", None, True),
        ("openai:gpt-*", None, True),
        ("gemini:*", None, False),
        ("claude-*", None, False),
        ("*", "mine", True),
        ("*", "other", False),
    ],
)
def test_a_price_applies_to_a_model_a_provider_and_an_account(match: str, account: str | None, found: bool) -> None:
    mine = own(match=match, account=account)
    assert (price_for([mine], kind="openai", account="mine", model="gpt-5-mini") is mine) is found


def test_the_first_price_that_applies_wins() -> None:
    prices = [own(match="claude-*"), own(match="gpt-5*"), own(match="*")]
    assert price_for(prices, kind="openai", account="a", model="gpt-5-mini") is prices[1]


@pytest.mark.parametrize(
    "wrong", [{"input": "-1"}, {"batch_share": "1.5"}, {"input": "NaN"}, {"match": ""}, {"cached": 1}]
)
def test_a_price_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        own(**wrong)
