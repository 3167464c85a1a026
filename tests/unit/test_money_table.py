"""Prices by hand: models, each plain, cached, long, reasoning or embedding, at list and in a batch; exact to the nano-dollar.

Each row is a response body in the provider's own form, and two sums written out as tokens times nano-dollars a token. A price
of 1 USD per million tokens is 1,000 nano-dollars a token. Nothing here is computed by the price library; the rates are those of
the providers' pricing pages: developers.openai.com/api/docs/pricing, platform.claude.com/docs/en/about-claude/pricing,
ai.google.dev/gemini-api/docs/pricing, console.groq.com/docs/batch.
"""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from tests.unit.money_bodies import chat, embeddings, gemini, message, responses, text

from batchline.money import price

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)


class Row(NamedTuple):
    provider: str
    model: str
    flavor: str
    what: str
    body: dict[str, Any]
    listed: int
    batch: int


OPENAI = [
    # gpt-6-luna: 0.10 in, 0.01 cached, 0.125 written, 0.50 out; above 272,000 tokens 0.20, 0.02, 0.25, 0.75; a batch pays half
    Row("openai", "gpt-6-luna", "chat", "plain", chat(1_000, 200), 1_000 * 100 + 200 * 500, 1_000 * 50 + 200 * 250),
    Row(
        "openai",
        "gpt-6-luna",
        "chat",
        "cached and written",
        chat(10_000, 300, cached=6_000, written=2_000),
        2_000 * 100 + 6_000 * 10 + 2_000 * 125 + 300 * 500,
        2_000 * 50 + 6_000 * 5 + 2_000 * 125 // 2 + 300 * 250,
    ),
    Row(
        "openai",
        "gpt-6-luna",
        "responses",
        "reasoning, which is within the output",
        responses(500, 4_000, reasoning=3_900),
        500 * 100 + 4_000 * 500,
        500 * 50 + 4_000 * 250,
    ),
    Row(
        "openai",
        "gpt-6-luna",
        "chat",
        "272,000 tokens are not long",
        chat(272_000, 1_000),
        272_000 * 100 + 1_000 * 500,
        272_000 * 50 + 1_000 * 250,
    ),
    Row(
        "openai",
        "gpt-6-luna",
        "chat",
        "long prompt: every token at the upper tier",
        chat(272_001, 1_000, cached=272_000),
        1 * 200 + 272_000 * 20 + 1_000 * 750,
        1 * 100 + 272_000 * 10 + 1_000 * 375,
    ),
    # gpt-6.1-terra: 1 in, 0.05 cached, 1.25 written for 30 minutes, 2.50 for 12 hours, 5 out; a batch pays half
    Row(
        "openai",
        "gpt-6.1-terra",
        "responses",
        "written for 30 minutes and for 12 hours",
        responses(10_000, 100, cached=1_000, m30=4_000, h12=2_000),
        3_000 * 1_000 + 1_000 * 50 + 4_000 * 1_250 + 2_000 * 2_500 + 100 * 5_000,
        3_000 * 500 + 1_000 * 25 + 4_000 * 625 + 2_000 * 1_250 + 100 * 2_500,
    ),
    # gpt-5.4: 2.50 in, 0.25 cached, 15 out; above 272,000 tokens 5, 0.50, 22.50. Its batch table rounds: cached 0.13, not 0.125
    Row("openai", "gpt-5.4", "chat", "plain", chat(800, 100), 800 * 2_500 + 100 * 15_000, 800 * 1_250 + 100 * 7_500),
    Row(
        "openai",
        "gpt-5.4",
        "responses",
        "cached",
        responses(5_000, 100, cached=4_096),
        904 * 2_500 + 4_096 * 250 + 100 * 15_000,
        904 * 1_250 + 4_096 * 130 + 100 * 7_500,
    ),
    Row(
        "openai",
        "gpt-5.4",
        "chat",
        "long prompt",
        chat(300_000, 2_000, cached=100_000),
        200_000 * 5_000 + 100_000 * 500 + 2_000 * 22_500,
        200_000 * 2_500 + 100_000 * 250 + 2_000 * 11_250,
    ),
    # gpt-5.4-mini: 0.75 in, 0.075 cached, 4.50 out; a batch pays half
    Row("openai", "gpt-5.4-mini", "chat", "plain", chat(300, 50), 300 * 750 + 50 * 4_500, 300 * 375 + 50 * 2_250),
    Row(
        "openai",
        "gpt-5.4-mini",
        "chat",
        "cached",
        chat(2_048, 50, cached=1_024),
        1_024 * 750 + 1_024 * 75 + 50 * 4_500,
        1_024 * 375 + 1_024 * 75 // 2 + 50 * 2_250,
    ),
    # gpt-5-mini: 0.25 in, 0.025 cached, 2 out; a batch pays half
    Row(
        "openai",
        "gpt-5-mini",
        "chat",
        "reasoning",
        chat(1_000, 900, reasoning=832),
        1_000 * 250 + 900 * 2_000,
        1_000 * 125 + 900 * 1_000,
    ),
    Row("openai", "gpt-5-mini", "chat", "12.5 nano-dollars: half goes to even", chat(1, 0, cached=1), 25, 12),
    Row("openai", "gpt-5-mini", "chat", "37.5 nano-dollars: half goes to even", chat(3, 0, cached=3), 75, 38),
    Row("openai", "gpt-5-mini", "chat", "rounded once, not twice", chat(4, 0, cached=1), 775, 388),  # 387.5
    # gpt-4o: 2.50 in, 1.25 cached, 10 out; its batch table has 1.25 and 5 and no cached price, so that is not halved
    Row(
        "openai",
        "gpt-4o",
        "chat",
        "cached",
        chat(3_000, 100, cached=2_000),
        1_000 * 2_500 + 2_000 * 1_250 + 100 * 10_000,
        1_000 * 1_250 + 2_000 * 1_250 + 100 * 5_000,
    ),
    # the embedding models: 0.02, 0.13 and 0.10; a batch pays half (our own table: the library has no batch rate)
    Row("openai", "text-embedding-3-small", "embeddings", "embeddings", embeddings(8_191), 8_191 * 20, 8_191 * 10),
    Row("openai", "text-embedding-3-large", "embeddings", "embeddings", embeddings(1_000), 1_000 * 130, 1_000 * 65),
    Row("openai", "text-embedding-ada-002", "embeddings", "embeddings", embeddings(7), 7 * 100, 7 * 50),
    # Azure's Global Batch: half of what OpenAI lists; Groq's: half, and a cached token pays the halved plain price
    Row("azure", "gpt-5.4-mini", "chat", "plain", chat(300, 50), 300 * 750 + 50 * 4_500, 300 * 375 + 50 * 2_250),
    Row(
        "groq",
        "openai/gpt-oss-120b",
        "default",
        "cached",
        chat(2_000, 100, cached=1_024),
        976 * 150 + 1_024 * 75 + 100 * 600,
        976 * 75 + 1_024 * 75 + 100 * 300,
    ),
]

ANTHROPIC = [
    # claude-opus-5-5: 4 in, 0.20 read, 5 written for 5 minutes, 8 for an hour, 20 out; a batch pays half of all of it
    Row(
        "anthropic",
        "claude-opus-5-5",
        "default",
        "plain",
        message(5_000, 800),
        5_000 * 4_000 + 800 * 20_000,
        5_000 * 2_000 + 800 * 10_000,
    ),
    Row(
        "anthropic",
        "claude-opus-5-5",
        "default",
        "read, written for 5 minutes and for an hour",
        message(100, 50, read=2_000, m5=300, h1=400),
        100 * 4_000 + 2_000 * 200 + 300 * 5_000 + 400 * 8_000 + 50 * 20_000,
        100 * 2_000 + 2_000 * 100 + 300 * 2_500 + 400 * 4_000 + 50 * 10_000,
    ),
    # claude-sonnet-5-5: 2, 0.10, 2.50, 4, 10; no long-prompt tier
    Row(
        "anthropic",
        "claude-sonnet-5-5",
        "default",
        "thinking, which is within the output",
        message(700, 6_000, thinking=5_500),
        700 * 2_000 + 6_000 * 10_000,
        700 * 1_000 + 6_000 * 5_000,
    ),
    Row(
        "anthropic",
        "claude-sonnet-5-5",
        "default",
        "long prompt without a tier",
        message(600_000, 100, read=300_000),
        600_000 * 2_000 + 300_000 * 100 + 100 * 10_000,
        600_000 * 1_000 + 300_000 * 50 + 100 * 5_000,
    ),
    # claude-haiku-4-5: 1, 0.10, 1.25, 2, 5
    Row(
        "anthropic",
        "claude-haiku-4-5",
        "default",
        "plain",
        message(300, 50),
        300 * 1_000 + 50 * 5_000,
        300 * 500 + 50 * 2_500,
    ),
    Row(
        "anthropic",
        "claude-haiku-4-5",
        "default",
        "read and written",
        message(100, 10, read=1_000, m5=200, h1=400),
        100 * 1_000 + 1_000 * 100 + 200 * 1_250 + 400 * 2_000 + 10 * 5_000,
        100 * 500 + 1_000 * 50 + 200 * 625 + 400 * 1_000 + 10 * 2_500,
    ),
    # claude-haiku-5-5: 0.10, 0.01, 0.125, 0.20, 0.50; for prompts above 100,000 tokens, the cached ones counted, five times that
    Row(
        "anthropic",
        "claude-haiku-5-5",
        "default",
        "100,000 tokens are not long",
        message(40_000, 500, read=60_000),
        40_000 * 100 + 60_000 * 10 + 500 * 500,
        40_000 * 50 + 60_000 * 5 + 500 * 250,
    ),
    Row(
        "anthropic",
        "claude-haiku-5-5",
        "default",
        "long prompt",
        message(40_001, 500, read=60_000),
        40_001 * 500 + 60_000 * 50 + 500 * 2_500,
        40_001 * 250 + 60_000 * 25 + 500 * 1_250,
    ),
    # claude-sonnet-4-6: 3, 0.30, 3.75, 6, 15, flat
    Row(
        "anthropic",
        "claude-sonnet-4-6",
        "default",
        "plain",
        message(300, 50),
        300 * 3_000 + 50 * 15_000,
        300 * 1_500 + 50 * 7_500,
    ),
    Row(
        "anthropic",
        "claude-sonnet-4-6",
        "default",
        "long prompt",
        message(250_000, 50, h1=10_001),
        250_000 * 3_000 + 10_001 * 6_000 + 50 * 15_000,
        250_000 * 1_500 + 10_001 * 3_000 + 50 * 7_500,
    ),
    # claude-opus-4-1: 15, 1.50, 18.75, 30, 75; half in a batch by the batch guide's table (the library has no batch rate)
    Row(
        "anthropic",
        "claude-opus-4-1-20250805",
        "default",
        "read",
        message(100, 10, read=900),
        100 * 15_000 + 900 * 1_500 + 10 * 75_000,
        100 * 7_500 + 900 * 750 + 10 * 37_500,
    ),
]

GOOGLE = [
    # gemini-3.8-flash until the end of 2026: 0.75, cached 0.075, out 3.75; a batch pays half, cached 0.0375
    Row(
        "google",
        "gemini-3.8-flash",
        "generate",
        "plain",
        text(1_000, 200),
        1_000 * 750 + 200 * 3_750,
        1_000 * 375 + 200 * 1_875,
    ),
    Row(
        "google",
        "gemini-3.8-flash",
        "generate",
        "cached",
        text(6_000, 100, cached=4_000),
        2_000 * 750 + 4_000 * 75 + 100 * 3_750,
        2_000 * 375 + 4_000 * 75 // 2 + 100 * 1_875,
    ),
    Row(
        "google",
        "gemini-3.8-flash",
        "generate",
        "reasoning: thoughts are no candidates, and are output",
        text(8, 11, thoughts=829),
        8 * 750 + 840 * 3_750,
        8 * 375 + 840 * 1_875,
    ),
    # gemini-3.7-flash: the same list; half in a batch by the pricing page. The usage is the cookbook's real line
    Row(
        "google",
        "gemini-3.7-flash",
        "generate",
        "reasoning",
        gemini(
            {
                "totalTokenCount": 848,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
                "thoughtsTokenCount": 829,
                "candidatesTokenCount": 11,
                "promptTokenCount": 8,
            }
        ),
        8 * 750 + 840 * 3_750,
        8 * 375 + 840 * 1_875,
    ),
    # gemini-3.5-flash: 1.50, cached 0.15, out 9; 50 % off input and output in a batch (our own table), so not off the cache
    Row(
        "google",
        "gemini-3.5-flash",
        "generate",
        "cached",
        text(5_000, 100, cached=4_000),
        1_000 * 1_500 + 4_000 * 150 + 100 * 9_000,
        1_000 * 750 + 4_000 * 150 + 100 * 4_500,
    ),
    # gemini-2.5-flash: 0.30, cached 0.03, out 2.50, audio 1 (cached 0.10); in a batch 0.15, 1.25, audio 0.50, and hits in full
    Row(
        "google",
        "gemini-2.5-flash",
        "generate",
        "tools' results are input",
        text(1_000, 200, tools=300),
        1_300 * 300 + 200 * 2_500,
        1_300 * 150 + 200 * 1_250,
    ),
    Row(
        "google",
        "gemini-2.5-flash",
        "generate",
        "cached: hits are paid at the standard rate in a batch",
        text(5_000, 100, cached=4_000),
        1_000 * 300 + 4_000 * 30 + 100 * 2_500,
        1_000 * 150 + 4_000 * 30 + 100 * 1_250,
    ),
    Row(
        "google",
        "gemini-2.5-flash",
        "generate",
        "audio, some of it cached",
        gemini(
            {
                "promptTokenCount": 3_000,
                "candidatesTokenCount": 100,
                "cachedContentTokenCount": 1_500,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 1_000},
                    {"modality": "AUDIO", "tokenCount": 2_000},
                ],
                "cacheTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 500},
                    {"modality": "AUDIO", "tokenCount": 1_000},
                ],
            }
        ),
        500 * 300 + 1_000 * 1_000 + 500 * 30 + 1_000 * 100 + 100 * 2_500,
        500 * 150 + 1_000 * 500 + 500 * 30 + 1_000 * 100 + 100 * 1_250,
    ),
    # gemini-2.5-pro: 1.25, cached 0.125, out 10; above 200,000 tokens 2.50, 0.25, 15; in a batch half, and hits in full
    Row(
        "google",
        "gemini-2.5-pro",
        "generate",
        "reasoning",
        text(2_000, 100, thoughts=3_000),
        2_000 * 1_250 + 3_100 * 10_000,
        2_000 * 625 + 3_100 * 5_000,
    ),
    Row(
        "google",
        "gemini-2.5-pro",
        "generate",
        "200,000 tokens are not long",
        text(200_000, 100),
        200_000 * 1_250 + 100 * 10_000,
        200_000 * 625 + 100 * 5_000,
    ),
    Row(
        "google",
        "gemini-2.5-pro",
        "generate",
        "long prompt, cached",
        text(200_001, 100, cached=100_000),
        100_001 * 2_500 + 100_000 * 250 + 100 * 15_000,
        100_001 * 1_250 + 100_000 * 250 + 100 * 7_500,
    ),
    # gemini-embedding-2: 0.20 for text, 0.45 for images, 6.50 for audio; gemini-embedding-001: 0.15; a batch pays half
    Row(
        "google",
        "gemini-embedding-2",
        "embed",
        "embeddings",
        {"embedding": {"values": [0.1]}, "tokenCount": "8"},
        8 * 200,
        8 * 100,
    ),
    Row(
        "google",
        "gemini-embedding-2",
        "embed",
        "embeddings of text and an image",
        {
            "embedding": {"values": [0.1]},
            "usageMetadata": {
                "promptTokenCount": 300,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 42},
                    {"modality": "IMAGE", "tokenCount": 258},
                ],
            },
        },
        42 * 200 + 258 * 450,
        42 * 100 + 258 * 225,
    ),
    Row(
        "google",
        "gemini-embedding-001",
        "embed",
        "embeddings",
        {"embedding": {"values": []}, "tokenCount": 9},
        1_350,
        675,
    ),
]

TABLE = [*OPENAI, *ANTHROPIC, *GOOGLE]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.model}, {row.what}")
def test_a_request_costs_what_a_hand_calculation_says(row: Row) -> None:
    body = json.dumps(row.body).encode()
    cost = price(row.provider, row.model, row.flavor, body, NOW_MS)
    assert cost is not None
    assert (cost.list_nano, cost.paid_nano) == (row.listed, row.batch)
    realtime = price(row.provider, row.model, row.flavor, body, NOW_MS, route="realtime")
    assert realtime is not None
    assert (realtime.list_nano, realtime.paid_nano) == (row.listed, row.listed)


def test_the_table_has_twelve_models_and_each_kind_of_request() -> None:
    assert len({row.model for row in TABLE}) >= 12
    for kind in ("plain", "cached", "long prompt", "reasoning", "embeddings"):
        assert any(kind in row.what for row in TABLE), kind
