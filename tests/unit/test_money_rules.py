"""What has no known price has none; fees and factors beside tokens; prices of one's own."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.unit.money_bodies import chat, gemini, message, responses, text

from batchline.money import Tokens, price, price_usage, read_tokens
from batchline.settings.prices import PriceOverride, price_for

FLASH = "gemini-2.5-flash"
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


@pytest.mark.parametrize("told", [{}, {"candidatesTokenCount": 10, "totalTokenCount": 10}, {"totalTokenCount": 18}])
@pytest.mark.parametrize("flavor", ["generate", "embed"])
def test_google_usage_without_a_count_of_the_prompt_is_unpriced_and_never_free(
    flavor: str, told: dict[str, Any]
) -> None:
    body = json.dumps({"embedding": {}, "usageMetadata": told}).encode()
    assert price("google", "gemini-embedding-2", flavor, body, NOW_MS) is None


@pytest.mark.parametrize("count", [500, "500"])
@pytest.mark.parametrize("usage", [None, {}])
def test_an_embedding_without_counts_in_its_usage_is_priced_by_its_plain_count(count: Any, usage: Any) -> None:
    body = json.dumps({"embedding": {}, "usageMetadata": usage, "tokenCount": count}).encode()
    cost = price("google", "gemini-embedding-2", "embed", body, NOW_MS)
    assert cost is not None
    assert (cost.list_nano, cost.paid_nano) == (500 * 200, 500 * 100)


@pytest.mark.parametrize("name", ["promptTokenDetails", "prompt_token_details", "promptTokensDetails"])
@pytest.mark.parametrize(
    ("modality", "nano"), [("TEXT", 200), ("IMAGE", 450), ("AUDIO", 6_500), ("VIDEO", 12_000), ("DOCUMENT", 450)]
)
def test_what_is_embedded_costs_what_its_kind_does_under_each_spelling(name: str, modality: str, nano: int) -> None:
    usage = {"promptTokenCount": 1_000, name: [{"modality": modality, "tokenCount": 1_000}]}
    body = json.dumps({"embedding": {}, "usageMetadata": usage}).encode()
    cost = price("google", "gemini-embedding-2", "embed", body, NOW_MS)
    assert cost is not None
    assert (cost.list_nano, cost.paid_nano) == (1_000 * nano, 500 * nano)


@pytest.mark.parametrize("count", [-1, 10**12, 10**12 + 1, 2**64 - 1])
def test_an_answer_that_would_cost_more_than_anything_does_is_unpriced(count: int) -> None:
    assert price("openai", "gpt-5-mini", "chat", json.dumps(chat(count, 10)).encode(), NOW_MS) is None


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


def paid(provider: str, model: str, flavor: str, body: dict[str, Any]) -> int | None:
    cost = price(provider, model, flavor, json.dumps(body).encode(), NOW_MS)
    return None if cost is None else cost.paid_nano


def test_the_searches_that_openai_says_it_bills_are_paid_and_no_others() -> None:
    body = responses(1_000, 100)
    body["output"] += [{"type": "web_search_call", "action": {"type": "search"}}] * 2
    no_images = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    told = body | {"tool_usage": {"web_search": {"num_requests": 1}, "image_gen": no_images}}
    assert paid("openai", "gpt-5-mini", "responses", told) == 1_000 * 125 + 100 * 1_000 + 10_000_000


def test_a_search_in_files_is_paid_in_full_and_unpriced_where_its_fee_is_not_known() -> None:
    body = responses(1_000, 100)
    body["output"] += [{"type": "file_search_call"}] * 2
    # 2.50 USD a thousand
    assert paid("openai", "gpt-5-mini", "responses", body) == 1_000 * 125 + 100 * 1_000 + 2 * 2_500_000
    assert paid("openai", "o3-pro", "responses", responses(1_000, 100)) is not None
    assert paid("openai", "o3-pro", "responses", body) is None


@pytest.mark.parametrize(
    "more",
    [
        {"tool_usage": {"web_search": {"num_requests": 0}, "image_gen": {"input_tokens": 9, "output_tokens": 4_000}}},
        {"tool_usage": {"image_gen": {"total_tokens": 4_000}}},
        {"output": [{"type": "image_generation_call"}]},
        {"output": [{"type": "code_interpreter_call"}]},
    ],
)
def test_what_a_tool_costs_that_nothing_tells_makes_an_answer_unpriced(more: dict[str, Any]) -> None:
    assert paid("openai", "gpt-5-mini", "responses", responses(1_000, 100) | more) is None


def grounded(*groundings: dict[str, Any]) -> dict[str, Any]:
    return text(1_000, 100) | {"candidates": [{"groundingMetadata": each} for each in groundings]}


@pytest.mark.parametrize(
    ("model", "fee"),
    [
        ("gemini-3.8-flash", 2 * 14_000_000),  # 14 USD a thousand queries
        ("gemini-2.5-flash", 35_000_000),  # 35 USD a thousand grounded prompts
    ],
)
def test_google_searches_are_paid_by_the_query_and_before_gemini_3_by_the_prompt(model: str, fee: int) -> None:
    chunks = [{"web": {"uri": "https://a", "title": "a"}}]
    # The same query is billed once, an empty one not at all.
    body = grounded({"webSearchQueries": ["a", "b", "", "a"], "groundingChunks": chunks}, {"webSearchQueries": ["b"]})
    plain = paid("google", model, "generate", text(1_000, 100))
    assert plain is not None
    assert paid("google", model, "generate", body) == plain + fee


def test_searches_for_images_are_paid_as_others() -> None:
    body = grounded({"webSearchQueries": ["a"], "imageSearchQueries": ["a"]})
    plain = paid("google", "gemini-nano-banana-2.1", "generate", text(1_000, 100))
    assert plain is not None
    assert paid("google", "gemini-nano-banana-2.1", "generate", body) == plain + 2 * 14_000_000


@pytest.mark.parametrize(
    ("model", "grounding"),
    [
        ("gemini-3.1-flash-lite-image", {"webSearchQueries": ["a"]}),  # for which no fee is known
        ("gemini-3.8-flash", {"groundingChunks": [{"web": {"uri": "https://a"}}]}),
        ("gemini-3.8-flash", {"webSearchQueries": ["a"], "groundingChunks": [{"maps": {"placeId": "a"}}]}),
    ],
)
def test_grounding_whose_fee_is_not_known_is_unpriced_and_never_free(model: str, grounding: dict[str, Any]) -> None:
    assert paid("google", model, "generate", text(1_000, 100)) is not None
    assert paid("google", model, "generate", grounded(grounding)) is None


def test_a_candidate_that_is_not_grounded_pays_no_search() -> None:
    plain = paid("google", "gemini-3.8-flash", "generate", text(1_000, 100))
    assert paid("google", "gemini-3.8-flash", "generate", grounded({}, {"webSearchQueries": []})) == plain


COMPACTION = {"type": "compaction"} | message(1_000, 100, read=50, m5=30, h1=20)["usage"]


def iterated(*iterations: dict[str, Any], uncached: int = 100) -> dict[str, Any]:
    body = message(uncached, 10)
    body["usage"]["iterations"] = [*iterations, {"type": "message"} | message(uncached, 10)["usage"]]
    return body


def test_what_a_compaction_used_is_paid_beside_the_sums() -> None:
    # claude-sonnet-4-6 in a batch: 1.50 in, 0.15 read, 1.875 and 3 written, 7.50 out
    plain = 100 * 1_500 + 10 * 7_500
    compaction = 1_000 * 1_500 + 50 * 150 + 30 * 1_875 + 20 * 3_000 + 100 * 7_500
    assert paid("anthropic", "claude-sonnet-4-6", "default", iterated()) == plain
    assert paid("anthropic", "claude-sonnet-4-6", "default", iterated(COMPACTION, COMPACTION)) == plain + 2 * compaction


def test_prompts_summed_beyond_a_tier_are_unpriced_since_none_of_them_may_be_so_long() -> None:
    # claude-haiku-5-5 asks for more above 100,000 tokens
    short, long = iterated(COMPACTION, uncached=98_000), iterated(COMPACTION, uncached=99_500)
    assert paid("anthropic", "claude-haiku-5-5", "default", short) is not None
    assert paid("anthropic", "claude-haiku-5-5", "default", long) is None


@pytest.mark.parametrize("kind", ["advisor_message", "fallback_message", "of_next_year"])
def test_what_another_model_did_is_unpriced(kind: str) -> None:
    entry = {"type": kind, "model": "claude-opus-5-5"} | message(5, 5)["usage"]
    assert paid("anthropic", "claude-sonnet-4-6", "default", iterated(entry)) is None


def test_what_anthropic_ran_in_the_united_states_on_request_costs_a_tenth_more() -> None:
    body = message(300, 50)
    body["usage"]["inference_geo"] = "us"
    cost = price("anthropic", "claude-opus-5-5", "default", json.dumps(body).encode(), NOW_MS)
    assert cost is not None
    assert cost.list_nano == (300 * 4_000 + 50 * 20_000) * 11 // 10
    assert cost.paid_nano == (300 * 2_000 + 50 * 10_000) * 11 // 10


# --- forms and names ---


def in_snake_case(value: Any) -> Any:
    if isinstance(value, list):
        return [in_snake_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): in_snake_case(of) for key, of in value.items()}


@pytest.mark.parametrize("wrapped", [bytes, msgspec.Raw])
def test_geminis_usage_is_the_same_in_either_spelling(wrapped: Any) -> None:
    body = text(1_000, 100, cached=30, thoughts=20, tools=10)
    body["candidates"] = [{"groundingMetadata": {"webSearchQueries": ["a_count"]}}]
    body["usageMetadata"]["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": 7}]
    tokens = read_tokens("google", "generate", wrapped(json.dumps(body).encode()))
    assert tokens is not None
    assert (tokens.input, tokens.output, tokens.web_searches) == (1_010, 120, 1)
    assert read_tokens("google", "generate", wrapped(json.dumps(in_snake_case(body)).encode())) == tokens
    mixed = {"usageMetadata": in_snake_case(body["usageMetadata"]), "candidates": body["candidates"]}
    assert read_tokens("google", "generate", wrapped(json.dumps(mixed).encode())) == tokens


def test_geminis_counts_may_be_written_as_text() -> None:
    body = {"usageMetadata": {"promptTokenCount": "1000", "candidatesTokenCount": "100"}}
    assert paid("google", "gemini-2.5-flash", "generate", body) == paid(
        "google", "gemini-2.5-flash", "generate", text(1_000, 100)
    )


@pytest.mark.parametrize("depth", [500, 5_000])
def test_an_answer_nested_too_deeply_has_no_price_and_harms_nobody(depth: int) -> None:
    nested = b'{"usage_metadata":{"prompt_token_count":1},"x":' + b"[" * depth + b"]" * depth + b"}"
    read_tokens("google", "generate", nested)


def test_a_model_by_its_full_name_at_google_has_its_price() -> None:
    short, full = (price_usage("google", name, Tokens(input=9), NOW_MS) for name in (FLASH, f"models/{FLASH}"))
    assert full == short is not None


def test_usage_in_openais_shape_is_read_at_whosever_prices() -> None:
    body = json.dumps(chat(1_000, 100)).encode()
    cost = price("anthropic", "claude-haiku-4-5", "chat", body, NOW_MS)
    assert cost is not None
    assert cost.list_nano == 1_000 * 1_000 + 100 * 5_000


def test_a_count_beyond_all_reason_is_no_crash() -> None:
    cost = price_usage("openai", "gpt-5-mini", Tokens(output=10**26), NOW_MS)
    assert cost is not None
    assert cost.list_nano == 2_000 * 10**26


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


@pytest.mark.parametrize("model", ["gemini-3.8-flash", "models/gemini-3.8-flash"])
@pytest.mark.parametrize("match", ["gemini-3.8-*", "gemini:gemini-3.8-flash", "gemini:*"])
def test_a_price_of_a_gemini_model_applies_under_both_its_names(match: str, model: str) -> None:
    mine = own(match=match)
    assert price_for([mine], kind="gemini", account="gemini", model=model) is mine


def test_models_before_a_name_is_taken_off_at_gemini_alone() -> None:
    assert price_for([own(match="llama")], kind="openai", account="mine", model="models/llama") is None
