"""Batch prices that the price library does not know: a small table of our own, each row with the source that says so.

Outside this table, a model for which the library has no batch rate has no price in a batch: it is counted as unpriced, and
never taken at its list price. Pure data; tests hold it against every model of the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

_WHOLE = Decimal(1)
_HALF = Decimal("0.5")


class Shares(msgspec.Struct, frozen=True):
    """What is paid of the list price of plain input, of input read from or written into the cache, and of output."""

    input: Decimal
    cache: Decimal
    output: Decimal

    @classmethod
    def of_all(cls, share: Decimal) -> Shares:
        """Return the same share of every price."""
        return cls(share, share, share)


WHOLE = Shares.of_all(_WHOLE)
HALF = Shares.of_all(_HALF)
HALF_BUT_CACHE = Shares(_HALF, _WHOLE, _HALF)


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A batch price that is known from a provider's documentation. ``model``: a glob over the library's ids of models."""

    provider: str
    model: str
    shares: Shares
    source: str


_OPENAI_BATCH = "developers.openai.com/api/docs/guides/batch: 50 % off; embeddings among the supported endpoints"
_OPENAI_BASE = (
    "developers.openai.com/api/docs/guides/batch: 50 % off /v1/completions; these models have a batch queue limit"
)
_ANTHROPIC_BATCH = (
    "docs.anthropic.com/en/docs/build-with-claude/batch-processing: all usage at 50 %, the model is in its table"
)
_GEMINI = "ai.google.dev/gemini-api/docs/pricing"

GAPS: tuple[Gap, ...] = (
    Gap(provider="openai", model="text-embedding-*", shares=HALF, source=_OPENAI_BATCH),
    # gpt-3.5-turbo-instruct is not here: its page (developers.openai.com/api/docs/models) says that batches do not take it.
    Gap(provider="openai", model="babbage-002", shares=HALF, source=_OPENAI_BASE),
    Gap(provider="openai", model="davinci-002", shares=HALF, source=_OPENAI_BASE),
    Gap(
        provider="openai",
        model="gpt-3.5-turbo-1106",
        shares=WHOLE,
        source="developers.openai.com/api/docs/pricing: its batch table repeats the list price",
    ),
    Gap(provider="anthropic", model="claude-opus-4-[01]", shares=HALF, source=_ANTHROPIC_BATCH),
    Gap(provider="anthropic", model="claude-sonnet-4-0", shares=HALF, source=_ANTHROPIC_BATCH),
    Gap(provider="anthropic", model="claude-3-[57]-*", shares=HALF, source=_ANTHROPIC_BATCH),
    Gap(provider="anthropic", model="claude-3-haiku", shares=HALF, source=_ANTHROPIC_BATCH),
    Gap(provider="anthropic", model="claude-3-opus-latest", shares=HALF, source=_ANTHROPIC_BATCH),
    Gap(
        provider="google", model="gemini-embedding-001", shares=HALF, source=f"{_GEMINI}#gemini-embedding: batch $0.075"
    ),
    Gap(provider="google", model="gemini-3.7-flash", shares=HALF, source=f"{_GEMINI}: batch and flex 50 % off"),
    Gap(
        provider="google",
        model="gemini-3.5-flash",
        shares=HALF_BUT_CACHE,
        source=f"{_GEMINI}: batch and flex 50 % off input and output",
    ),
)

EARLIER: Mapping[str, Shares] = {"openai": HALF, "anthropic": HALF, "google": HALF_BUT_CACHE}
"""What was paid in a batch before the first day from which the library knows a model's batch rate.

The library has them from 14 October 2026 on; the providers documented the same discount long before. Groq's changed (25 %, then
50 %) on a day that is not known: its earlier batches have no price.
Source: as above, and ai.google.dev/gemini-api/docs/batch-api
"""

LONG_WRITES: Mapping[tuple[str, str], Decimal] = {("openai", "gpt-6.1-terra"): Decimal(2)}
"""What is written into the cache for twelve hours costs so many times what is written for 30 minutes.

Where it is not known, such usage has no price. Source: developers.openai.com/api/docs/pricing ($2.50 against $1.25)
"""

SEARCHED_ONCE: Mapping[str, str] = {"google": "gemini-2*"}
"""Models (a glob) at which web searches are paid once for each grounded prompt; elsewhere each of them is paid.

Source: ai.google.dev/gemini-api/docs/pricing: from Gemini 3 on for each search query, before that for each grounded prompt
"""

US_ONLY = Decimal("1.1")
"""Anthropic's factor on all token prices when a request asked to be run in the United States (``inference_geo``).

Source: platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing
"""


def gap_of(provider: str, model: str) -> Gap | None:
    """Return what our own table says about a model's batch price; None where it is not known."""
    return next((gap for gap in GAPS if gap.provider == provider and fnmatchcase(model, gap.model)), None)
