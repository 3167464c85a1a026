"""What one request cost, exactly: list price and price paid, in integer nano-dollars. Pure apart from its caches.

The prices are those of the library ``genai-prices``, and of our own table where a provider documents a batch price that the
library does not know (gaps.py); a model for which neither has a batch price is unpriced in a batch. Prices depend on the
length of the single prompt (tiers), so totals of a batch must never be priced.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from batchline.money.rates import price_of, usd
from batchline.money.tokens import Tokens
from batchline.money.usage import read_tokens
from batchline.requests import NANO, Cost, Route
from batchline.settings.prices import PriceOverride

MOST_NANO = 10_000 * NANO
"""A response that would cost more counts something absurd: it is not believed. The store adds up 500 of them exactly."""

__all__ = ["Tokens", "price", "price_basis", "price_usage", "read_tokens"]


def price(
    provider: str,
    model: str,
    flavor: str,
    body: bytes | msgspec.Raw,
    when_ms: int,
    *,
    route: Route = "batch",
    discount: Decimal | None = None,
    override: PriceOverride | None = None,
) -> Cost | None:
    """Return the cost of one request from the provider's response body; None when it cannot be priced.

    ``flavor`` is the endpoint's price flavor: ``chat`` (also completions), ``responses``, ``embeddings``, ``moderations`` in the OpenAI
    shape, ``default`` at Anthropic, ``generate`` and ``embed`` at Google. For the other arguments see ``price_usage``.
    """
    tokens = read_tokens(provider, flavor, body)
    if tokens is None:
        return None
    cost = price_usage(provider, model, tokens, when_ms, route=route, discount=discount, override=override)
    return cost if cost is not None and max(msgspec.structs.astuple(cost)) <= MOST_NANO else None


def price_usage(
    provider: str,
    model: str,
    tokens: Tokens,
    when_ms: int,
    *,
    route: Route = "batch",
    discount: Decimal | None = None,
    override: PriceOverride | None = None,
) -> Cost | None:
    """Return the cost of one request from its token counts; None when the model has no known price on this route.

    ``provider`` is whose prices count, by the library's name; empty: nobody's. ``when_ms`` (unix ms) picks the price where it changed
    over time. The realtime route pays the list price. ``discount`` is the account's own share off the token prices in a batch (0.5
    is half price) in place of the provider's batch rates; ``override`` a price of one's own in place of the library's.
    List and paid are each rounded once, half to even, to a nano-dollar.
    """
    minute = when_ms // 60_000
    listing = price_of(provider, model, minute, False, None, override)
    paying = listing if route == "realtime" else price_of(provider, model, minute, True, discount, override)
    if listing is None or paying is None:
        return None

    def as_paid(used: Tokens) -> Decimal | None:
        return usd(paying, used, minute)

    at_list, paid = usd(listing, tokens, minute), as_paid(tokens)
    if at_list is None or paid is None:
        return None
    saved, extra = _cache(tokens, as_paid)
    return Cost(list_nano=_nano(at_list), paid_nano=_nano(paid), cache_saved_nano=saved, cache_extra_nano=extra)


def price_basis(
    provider: str,
    model: str,
    when_ms: int,
    *,
    batch: bool,
    discount: Decimal | None = None,
    override: PriceOverride | None = None,
) -> str | None:
    """Say in words where a model's price is from; None when it has none that is known."""
    found = price_of(provider, model, when_ms // 60_000, batch, discount if batch else None, override)
    return found.basis if found else None


def _cache(tokens: Tokens, as_paid: Callable[[Tokens], Decimal | None]) -> tuple[int, int]:
    """Return what reading the cache saved and what writing it cost more, in nano-dollars: the same usage without either."""
    if not (tokens.cache_read or tokens.cache_write):
        return 0, 0
    only_read = tokens.unwritten()
    full, read, none = as_paid(tokens), as_paid(only_read), as_paid(only_read.unread())
    if full is None or read is None or none is None:
        return 0, 0
    return max(0, _nano(none - read)), max(0, _nano(full - read))


def _nano(dollars: Decimal) -> int:
    return int((dollars * NANO).to_integral_value(ROUND_HALF_EVEN))
