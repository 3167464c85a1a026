"""The emulator's own price table: the second, independent bill.

Figures as the providers publish them in November 2026 (read from genai-prices 0.2.3, copied here on purpose: a bill
that is computed by the same library as the ledger would prove nothing).  Batch is half of the standard price, cached
input included (openai.com/api/pricing, platform.claude.com/docs/en/about-claude/pricing), but for what is told below.
"""

from typing import NamedTuple


class Price(NamedTuple):
    """Price of one token in pico-dollars (1 USD per million tokens = 1,000,000): standard, then batch."""

    input: int
    cached: int
    output: int
    batch_input: int
    batch_cached: int
    batch_output: int
    max_input_tokens: int | None = None
    written: int | None = None  # to a cache, for 5 minutes; None: such tokens have no price
    written_1h: int | None = None


def _half(input_: int, cached: int, output: int, max_input_tokens: int | None = None) -> Price:
    return Price(input_, cached, output, input_ // 2, cached // 2, output // 2, max_input_tokens)


def _claude(input_: int, cached: int, output: int) -> Price:
    """Cache writes cost 1.25 and 2 times the input, in batches half of that."""
    return _half(input_, cached, output)._replace(written=input_ * 5 // 4, written_1h=input_ * 2)


def _gemini(input_: int, cached: int, output: int, max_input_tokens: int | None = None) -> Price:
    """Batches pay the full price for what a cache held (ai.google.dev/gemini-api/docs/pricing)."""
    return _half(input_, cached, output, max_input_tokens)._replace(batch_cached=cached)


# gpt-6-luna costs more above 272k tokens of prompt, Gemini Pro above 200k: such a request is left without a price, never priced wrongly.
PRICES: dict[str, Price] = {
    "gpt-5-mini": _half(250_000, 25_000, 2_000_000),
    "gpt-5-nano": _half(50_000, 5_000, 400_000),
    "gpt-5.4-mini": _half(750_000, 75_000, 4_500_000),
    "gpt-6-luna": _half(100_000, 10_000, 500_000, 272_000),
    "gpt-4o-mini": Price(150_000, 75_000, 600_000, 75_000, 75_000, 300_000),
    "davinci-002": _half(2_000_000, 2_000_000, 2_000_000),
    "text-embedding-3-small": _half(20_000, 20_000, 0),
    "text-embedding-3-large": _half(130_000, 130_000, 0),
    "omni-moderation-latest": _half(0, 0, 0),
    "claude-haiku-4-5": _claude(1_000_000, 100_000, 5_000_000),
    "claude-sonnet-4-6": _claude(3_000_000, 300_000, 15_000_000),
    "claude-sonnet-5": _claude(2_000_000, 200_000, 10_000_000),
    "claude-opus-5-5": _claude(4_000_000, 200_000, 20_000_000),
    "gemini-2.5-flash": _gemini(300_000, 30_000, 2_500_000),
    "gemini-2.5-flash-lite": _gemini(100_000, 10_000, 400_000),
    "gemini-2.5-pro": _gemini(1_250_000, 125_000, 10_000_000, 200_000),
    "gemini-3-flash-preview": _gemini(500_000, 50_000, 3_000_000),
    "gemini-3.1-pro-preview": _gemini(2_000_000, 200_000, 12_000_000, 200_000),
    "gemini-3.8-flash": _half(750_000, 75_000, 3_750_000),
    "gemini-embedding-2": _half(200_000, 200_000, 0),
}


def half_even(pico: int) -> int:
    """Return pico-dollars as nano-dollars, rounded half to even."""
    whole, rest = divmod(pico, 1000)
    if rest > 500 or (rest == 500 and whole % 2):
        return whole + 1
    return whole


def cost_nano(
    model: str,
    input_tokens: int,
    cached_tokens: int,
    output_tokens: int,
    written_tokens: int = 0,
    written_1h_tokens: int = 0,
) -> tuple[int, int] | None:
    """Return one request's (standard, batch) price in nano-dollars, or None for a model that is not in the table.

    `input_tokens` is the whole input; `cached_tokens` is the part of it that was read from a cache, `written_tokens`
    and `written_1h_tokens` those that were written to one for 5 minutes and 1 hour.
    """
    price = PRICES.get(model)
    if price is None or (price.max_input_tokens is not None and input_tokens > price.max_input_tokens):
        return None
    fresh = input_tokens - cached_tokens - written_tokens - written_1h_tokens
    written = _written(price, written_tokens, written_1h_tokens)
    if written is None:
        return None
    standard = fresh * price.input + cached_tokens * price.cached + output_tokens * price.output + written
    batch = fresh * price.batch_input + cached_tokens * price.batch_cached + output_tokens * price.batch_output
    batch += written // 2  # every price of a write in the table is even
    return half_even(standard), half_even(batch)


def _written(price: Price, tokens: int, tokens_1h: int) -> int | None:
    if not tokens and not tokens_1h:
        return 0
    if price.written is None or price.written_1h is None:
        return None
    return tokens * price.written + tokens_1h * price.written_1h
