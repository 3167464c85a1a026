"""The emulator's own price table: the second, independent bill.

Figures as the providers publish them in November 2026 (read from genai-prices 0.2.3, copied here on purpose: a bill
that is computed by the same library as the ledger would prove nothing).  Batch is half of the standard price, cached
input included (openai.com/api/pricing, platform.claude.com/docs/en/about-claude/pricing).
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


def _half(input_: int, cached: int, output: int, max_input_tokens: int | None = None) -> Price:
    return Price(input_, cached, output, input_ // 2, cached // 2, output // 2, max_input_tokens)


# gpt-6-luna costs more above 272k tokens of prompt: such a request is left without a price, never priced wrongly.
PRICES: dict[str, Price] = {
    "gpt-5-mini": _half(250_000, 25_000, 2_000_000),
    "gpt-5-nano": _half(50_000, 5_000, 400_000),
    "gpt-5.4-mini": _half(750_000, 75_000, 4_500_000),
    "gpt-6-luna": _half(100_000, 10_000, 500_000, 272_000),
    "gpt-4o-mini": Price(150_000, 75_000, 600_000, 75_000, 75_000, 300_000),
    "gpt-3.5-turbo-instruct": _half(1_500_000, 1_500_000, 2_000_000),
    "text-embedding-3-small": _half(20_000, 20_000, 0),
    "text-embedding-3-large": _half(130_000, 130_000, 0),
    "omni-moderation-latest": _half(0, 0, 0),
    "claude-haiku-4-5": _half(1_000_000, 100_000, 5_000_000),
    "claude-sonnet-4-6": _half(3_000_000, 300_000, 15_000_000),
    "claude-opus-5-5": _half(4_000_000, 200_000, 20_000_000),
}


def half_even(pico: int) -> int:
    """Return pico-dollars as nano-dollars, rounded half to even."""
    whole, rest = divmod(pico, 1000)
    if rest > 500 or (rest == 500 and whole % 2):
        return whole + 1
    return whole


def cost_nano(model: str, input_tokens: int, cached_tokens: int, output_tokens: int) -> tuple[int, int] | None:
    """Return one request's (standard, batch) price in nano-dollars, or None for a model that is not in the table.

    `input_tokens` is the whole input; `cached_tokens` is the part of it that was read from a cache.
    """
    price = PRICES.get(model)
    if price is None or (price.max_input_tokens is not None and input_tokens > price.max_input_tokens):
        return None
    fresh = input_tokens - cached_tokens
    standard = fresh * price.input + cached_tokens * price.cached + output_tokens * price.output
    batch = fresh * price.batch_input + cached_tokens * price.batch_cached + output_tokens * price.batch_output
    return half_even(standard), half_even(batch)
