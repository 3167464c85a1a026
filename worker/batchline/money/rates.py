"""Rates of models: from the price library, from our own table of its gaps, or from a price of one's own.

The library takes about 400 µs to price one response, which for a batch of 50,000 is 20 s; so its price per token is read once
for each model, route and minute, and requests are priced from that. What these few rates cannot express (a price of its
own for audio or images) goes through the library itself. Tests hold both ways equal over all its models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from batchline.money.gaps import EARLIER, LONG_WRITES, SEARCHED_ONCE, US_ONLY, WHOLE, Shares, gap_of
from batchline.money.names import is_own
from batchline.money.tokens import Tokens
from batchline.settings.prices import PriceOverride

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

_BATCH = {"processing": "batch"}
_MILLION = Decimal(1_000_000)
_HALF = Decimal("0.5")
_NOTHING = Decimal(0)
_LIBRARY = {"azure": "openai"}
"""Whose prices count where the library has none in a batch: Azure's Global Batch costs half of what OpenAI lists.

The library's own entries for Azure know no batch. Source: learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
"""

LIST = "list price (genai-prices)"
BATCH = "batch rate (genai-prices)"
TABLE = "share of the list price in a batch: "
DISCOUNT = "the account's discount on the list price"
OVERRIDE = "price of the settings: "


class Rates(msgspec.Struct, frozen=True):
    """US dollars per million tokens for prompts of more than ``above`` tokens; None where it is not known."""

    above: int
    input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal | None
    output: Decimal


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for one search in the web and in files; None where it is not known. ``once``: web searches are paid once a prompt.

    Fees are the same in a batch.
    """

    web: Decimal | None = None
    files: Decimal | None = None
    once: bool = False


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a model. ``shares`` is what is paid of it.

    ``tiers``: highest first; empty where only the library can tell. ``modal``: what has a price of its own besides text, by the names
    of ``Tokens.modal``. ``batch``: whether the library's batch rates are meant. ``basis`` says for people where the price is from.
    """

    provider: str
    model: str
    tiers: tuple[Rates, ...]
    shares: Shares = WHOLE
    modal: frozenset[str] = frozenset()
    fees: Fees = Fees()
    batch: bool = False
    basis: str = LIST


@lru_cache(maxsize=4096)
def price_of(
    provider: str, model: str, minute: int, batch: bool, discount: Decimal | None, override: PriceOverride | None
) -> Price | None:
    """Return the price of a model at a minute (of unix time); None when it has none that is known.

    In a batch: at the library's batch rate; where it has none, by our table of gaps. ``discount`` is an account's own share off the
    list price in place of both. An ``override`` takes the place of the library.
    """
    found = _find(provider, model)
    if override is not None:
        return _overridden(override, found, minute, batch=batch, discount=discount)
    if found is None:
        return None
    home, info = found
    listed = _prices(info, minute)
    if listed and "input_mtok" not in listed:
        return None  # sold by the hour or the character, which a response's token counts cannot tell
    at_list = _price(home.id, info, listed)
    if not batch or not listed:  # what is free is free in a batch
        return at_list
    if discount is not None:
        return msgspec.structs.replace(at_list, shares=Shares.of_all(1 - discount), basis=DISCOUNT)
    return _batched(at_list, info, minute)


def _batched(at_list: Price, info: ModelInfo, minute: int) -> Price | None:
    """Return what a batch pays: at the library's batch rate, else by our table, else by what held before its first batch rate."""
    if "input_mtok" in _batch_rates(info, minute):
        price = _price(at_list.provider, info, _prices(info, minute, _BATCH))
        return msgspec.structs.replace(price, batch=True, basis=BATCH)
    gap = gap_of(at_list.provider, info.id)
    if gap is not None:
        return msgspec.structs.replace(at_list, shares=gap.shares, basis=TABLE + gap.source)
    shares = EARLIER.get(at_list.provider)
    if shares is None or not _batch_rates(info, None):
        return None
    return msgspec.structs.replace(at_list, shares=shares, basis=TABLE + "before the first known batch rate")


def usd(price: Price, tokens: Tokens, minute: int) -> Decimal | None:
    """Return what usage costs in US dollars, unrounded; None when the price does not say, or the usage contradicts itself."""
    if any(count and name in price.modal for name, count in tokens.modal) or not price.tiers:
        dollars = _by_library(price, tokens, minute)
    else:
        dollars = _by_rates(price, tokens)
    if dollars is None:
        return None
    if tokens.us_only:
        dollars *= US_ONLY
    fees = _searched(price.fees, tokens)
    return None if fees is None else dollars + fees


def _searched(fees: Fees, tokens: Tokens) -> Decimal | None:
    """Return what a response's searches cost; None where a fee is not known."""
    in_web = min(1, tokens.web_searches) if fees.once else tokens.web_searches
    dollars = _NOTHING
    for calls, fee in ((in_web, fees.web), (tokens.file_searches, fees.files)):
        if calls and fee is None:
            return None
        dollars += calls * (fee or _NOTHING)
    return dollars


def _by_rates(price: Price, tokens: Tokens) -> Decimal | None:
    uncached = tokens.input - tokens.cache_read - tokens.cache_write
    short = tokens.cache_write - tokens.cache_write_1h
    if uncached < 0 or short < 0:  # contradicts itself: better no price than a wrong one
        return None
    rates = next(tier for tier in price.tiers if tokens.input > tier.above)
    if tokens.summed and rates is not price.tiers[-1]:  # nothing tells whether one of the prompts was so long
        return None
    shares = price.shares
    dollars = uncached * rates.input * shares.input + tokens.output * rates.output * shares.output
    if tokens.cache_read or tokens.cache_write:
        dollars += (tokens.cache_read * rates.cache_read + short * rates.cache_write) * shares.cache
    if tokens.cache_write_1h:
        if rates.cache_write_1h is None:
            return None
        dollars += tokens.cache_write_1h * rates.cache_write_1h * shares.cache
    return dollars / _MILLION


# --- the price library ---


def _find(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    # Imported late: it takes a third of a second, which the command line need not wait for.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    known = _LIBRARY.get(provider, provider)
    if provider == "google":
        model = model.removeprefix("models/")  # the full name of the same
    home = next((each for each in get_snapshot().providers if each.id == known), None)
    info = home.find_model(model) if home else None
    return (home, info) if home and info and is_own(info, model) else None


def _prices(info: ModelInfo, minute: int, context: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the library's prices of a model at that time by their names."""
    prices = info.get_prices(_time(minute), context)
    return {key: value for key, value in vars(prices).items() if value is not None}


def _batch_rates(info: ModelInfo, minute: int | None) -> dict[str, Any]:
    """Return the library's batch rates alone, of that time or (None) of any."""
    return {
        key: value
        for variant in info.price_variants or ()
        if variant.when == _BATCH
        and (minute is None or variant.constraint is None or variant.constraint.active(_time(minute)))
        for key, value in vars(variant.prices).items()
    }


def _price(provider: str, info: ModelInfo, prices: Mapping[str, Any]) -> Price:
    return Price(
        provider=provider,
        model=info.id,
        tiers=tuple(_tiers(prices, LONG_WRITES.get((provider, info.id)), provider)),
        modal=frozenset(key.replace("_mtok", "_tokens") for key in prices if _is_modal(key)),
        fees=_fees(provider, info, prices),
    )


def _fees(provider: str, info: ModelInfo, prices: Mapping[str, Any]) -> Fees:
    web, files = (prices.get(f"{kind}_searches_kcount") for kind in ("web", "storage"))
    return Fees(
        web=web / 1000 if isinstance(web, Decimal) else None,
        files=files / 1000 if isinstance(files, Decimal) else None,
        once=fnmatchcase(info.id, SEARCHED_ONCE.get(provider, "")),
    )


_RATES = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"}
_FEES = {"web_searches_kcount", "storage_searches_kcount"}


def _is_modal(key: str) -> bool:
    return key.endswith("_mtok") and any(part in key for part in ("audio_", "image_", "video_"))


def _tiers(prices: Mapping[str, Any], long_writes: Decimal | None, provider: str) -> Iterator[Rates]:
    """Yield a model's rates, highest tier first; nothing when it has a price that the rates do not know."""
    if any(key not in _RATES | _FEES and not _is_modal(key) for key in prices):
        return
    starts = {tier.start for key in _RATES & prices.keys() for tier in getattr(prices[key], "tiers", ())}
    for above in [*sorted(starts, reverse=True), -1]:
        at = {key: _at(value, above) for key, value in prices.items() if key in _RATES}
        base = at.get("input_mtok", _NOTHING)
        write = at.get("cache_write_mtok", base)
        long = write if provider != "openai" else None if long_writes is None else write * long_writes
        yield Rates(
            above=above,
            input=base,
            cache_read=at.get("cache_read_mtok", base),
            cache_write=write,
            cache_write_1h=at.get("cache_write_1h_mtok", long),
            output=at.get("output_mtok", _NOTHING),
        )


def _at(value: Any, above: int) -> Decimal:
    """Return a price for prompts of more than ``above`` tokens."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= above]  # the library keeps tiers sorted
    rate: Decimal = reached[-1] if reached else value.base
    return rate


@lru_cache(maxsize=4096)
def _by_library(price: Price, tokens: Tokens, minute: int) -> Decimal | None:
    """Price tokens by the library itself, about 400 µs."""
    from genai_prices import Usage  # noqa: PLC0415 - see _find

    found = _find(price.provider, price.model)
    shares = price.shares
    if found is None or (tokens.cache_write_1h and price.provider == "openai"):
        return None
    if shares.cache != shares.input and (tokens.cache_read or tokens.cache_write):
        return None  # the library adds both up
    counts = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        **dict(tokens.modal),
    }
    home, info = found
    try:
        cost = info.calc_price(
            Usage(**counts),
            home,
            genai_request_timestamp=_time(minute),
            price_context=_BATCH if price.batch else None,
        )
    except ValueError:  # usage that contradicts itself
        return None
    return cost.input_price * shares.input + cost.output_price * shares.output


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


# --- prices of one's own ---


def _overridden(
    override: PriceOverride,
    found: tuple[Provider, ModelInfo] | None,
    minute: int,
    *,
    batch: bool,
    discount: Decimal | None,
) -> Price:
    write = override.input if override.cache_write is None else override.cache_write
    rates = Rates(
        above=-1,
        input=override.input,
        cache_read=override.input if override.cache_read is None else override.cache_read,
        cache_write=write,
        cache_write_1h=write if override.cache_write_1h is None else override.cache_write_1h,
        output=override.output,
    )
    share = override.batch_share
    if share is None:
        share = _HALF if discount is None else 1 - discount
    return Price(
        provider="",
        model=override.match,
        tiers=(rates,),
        shares=Shares.of_all(share) if batch else WHOLE,
        fees=_fees(found[0].id, found[1], _prices(found[1], minute)) if found else Fees(),
        basis=OVERRIDE + override.match,
    )
