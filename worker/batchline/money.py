"""What one request cost, exactly: list price and price paid, in integer nano-dollars. Pure apart from its caches.

The prices are those of the library ``genai-prices``. It takes about 400 µs to price one response, which for a batch of
50,000 is 20 s; so its price per token is read once for each model, route and minute, and requests are priced from that. Prices
depend on the length of the single prompt (tiers), so totals of a batch must never be priced. What these few rates
cannot express (audio, paid tools) goes through the library itself. Tests hold both ways equal over all its models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from batchline.requests import NANO, Cost, Route

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

_BATCH_DISCOUNT = {"openai": Decimal("0.5"), "anthropic": Decimal("0.5")}
"""The share off all token prices that a provider documents for its batch API.

The library silently gives the standard price where it has no batch rate (text-embedding-3-small, or any model before
its first dated batch rate); there, and only there, this discount applies. Fees for tools are not discounted.
Source: developers.openai.com/api/docs/guides/batch, docs.claude.com/en/docs/build-with-claude/batch-processing
"""

_BATCH = {"processing": "batch"}
_MILLION = Decimal(1_000_000)
_WHOLE = Decimal(1)
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a response says was used, as it is priced. ``input`` counts all input; the other inputs are shares of it.

    ``cache_write`` includes ``cache_write_1h``. ``output`` includes reasoning and audio. Searches are numbers of calls.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    audio_output: int = 0
    web_searches: int = 0


def price(
    provider_kind: str,
    model: str,
    flavor: str,
    body: bytes | msgspec.Raw,
    when_ms: int,
    *,
    route: Route = "batch",
    discount: Decimal | None = None,
) -> Cost | None:
    """Return the cost of one request from the provider's response body; None when it cannot be priced.

    ``flavor`` is the endpoint's price flavor: ``chat`` (also completions), ``responses``, ``embeddings``,
    ``moderations`` at OpenAI, ``default`` at Anthropic. For the other arguments see ``price_usage``.
    """
    tokens = read_tokens(provider_kind, flavor, body)
    if tokens is None:
        return None
    return price_usage(provider_kind, model, tokens, when_ms, route=route, discount=discount)


def price_usage(
    provider_kind: str,
    model: str,
    tokens: Tokens,
    when_ms: int,
    *,
    route: Route = "batch",
    discount: Decimal | None = None,
) -> Cost | None:
    """Return the cost of one request from its token counts; None when the model has no known price.

    ``when_ms`` (unix ms) picks the price where it changed over time. The realtime route pays the list price. ``discount`` is the
    account's own share off the token prices in a batch (0.5 is half price) in place of the provider's batch rates.
    List and paid are each rounded once, half to even, to a nano-dollar.
    """
    minute = when_ms // 60_000

    def listed(used: Tokens) -> Decimal | None:
        return _usd(provider_kind, model, used, minute, batch=False, discount=None)

    def batched(used: Tokens) -> Decimal | None:
        return _usd(provider_kind, model, used, minute, batch=True, discount=discount)

    as_paid = listed if route == "realtime" else batched
    at_list, paid = listed(tokens), as_paid(tokens)
    if at_list is None or paid is None:
        return None
    saved, extra = _cache(tokens, as_paid)
    return Cost(list_nano=_nano(at_list), paid_nano=_nano(paid), cache_saved_nano=saved, cache_extra_nano=extra)


def _cache(tokens: Tokens, as_paid: Callable[[Tokens], Decimal | None]) -> tuple[int, int]:
    """Return what reading the cache saved and what writing it cost more, in nano-dollars: the same usage without either."""
    if not (tokens.cache_read or tokens.cache_write):
        return 0, 0
    only_read = msgspec.structs.replace(tokens, cache_write=0, cache_write_1h=0)
    plain = msgspec.structs.replace(only_read, cache_read=0)
    full, read, none = as_paid(tokens), as_paid(only_read), as_paid(plain)
    if full is None or read is None or none is None:
        return 0, 0
    return max(0, _nano(none - read)), max(0, _nano(full - read))


def _nano(usd: Decimal) -> int:
    return int((usd * NANO).quantize(_WHOLE, ROUND_HALF_EVEN))


# --- usage, read from the provider's response body; everything else in it is skipped ---


class _OpenAIDetails(msgspec.Struct, frozen=True):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _ChatUsage(msgspec.Struct, frozen=True):
    prompt_tokens: _Count
    completion_tokens: _Count | None = None
    prompt_tokens_details: _OpenAIDetails | None = None
    completion_tokens_details: _OpenAIDetails | None = None


class _ResponsesUsage(msgspec.Struct, frozen=True):
    input_tokens: _Count
    output_tokens: _Count
    input_tokens_details: _OpenAIDetails | None = None


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_1h_input_tokens: _Count | None = None


class _ServerTools(msgspec.Struct, frozen=True):
    web_search_requests: _Count | None = None


class _AnthropicUsage(msgspec.Struct, frozen=True):
    input_tokens: _Count
    output_tokens: _Count
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerTools | None = None


class _Chat(msgspec.Struct, frozen=True):
    usage: _ChatUsage


class _Responses(msgspec.Struct, frozen=True):
    usage: _ResponsesUsage


class _Anthropic(msgspec.Struct, frozen=True):
    usage: _AnthropicUsage


_NO_DETAILS = _OpenAIDetails()


def _chat(body: _Chat) -> Tokens:
    usage = body.usage
    prompt = usage.prompt_tokens_details or _NO_DETAILS
    return Tokens(
        input=usage.prompt_tokens,
        output=usage.completion_tokens or 0,
        cache_read=prompt.cached_tokens or 0,
        cache_write=prompt.cache_write_tokens or 0,
        audio_input=prompt.audio_tokens or 0,
        audio_output=(usage.completion_tokens_details or _NO_DETAILS).audio_tokens or 0,
    )


def _responses(body: _Responses) -> Tokens:
    usage = body.usage
    details = usage.input_tokens_details or _NO_DETAILS
    return Tokens(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cache_read=details.cached_tokens or 0,
        cache_write=details.cache_write_tokens or 0,
    )


def _anthropic(body: _Anthropic) -> Tokens:
    # Unlike OpenAI's, these input tokens leave cached ones out.
    usage = body.usage
    write, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    return Tokens(
        input=usage.input_tokens + write + read,
        output=usage.output_tokens,
        cache_read=read,
        cache_write=write,
        cache_write_1h=usage.cache_creation.ephemeral_1h_input_tokens or 0 if usage.cache_creation else 0,
        web_searches=usage.server_tool_use.web_search_requests or 0 if usage.server_tool_use else 0,
    )


def _reader(shape: type[Any], tokens: Callable[[Any], Tokens]) -> Callable[[bytes | msgspec.Raw], Tokens]:
    decode = msgspec.json.Decoder(shape).decode
    return lambda body: tokens(decode(body))


_READERS: dict[tuple[str, str], Callable[[bytes | msgspec.Raw], Tokens]] = {
    ("openai", "chat"): _reader(_Chat, _chat),
    ("openai", "embeddings"): _reader(_Chat, _chat),
    ("openai", "responses"): _reader(_Responses, _responses),
    ("openai", "moderations"): lambda _: Tokens(),  # free of charge, and its responses carry no usage
    ("anthropic", "default"): _reader(_Anthropic, _anthropic),
}


def read_tokens(provider_kind: str, flavor: str, body: bytes | msgspec.Raw) -> Tokens | None:
    """Return what a response body says was used; None when it does not say, or not in the provider's form.

    Raises KeyError for a flavor that the provider does not have.
    """
    read = _READERS[provider_kind, flavor]
    try:
        return read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


# --- prices ---


class _Rates(msgspec.Struct, frozen=True):
    """US dollars per million tokens for prompts of more than ``above`` tokens. Each share of the input has its own."""

    above: int
    input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal


class _Prices(msgspec.Struct, frozen=True):
    """The price of a model: its tiers, highest first; empty where only the library can tell. ``share`` is what is paid of it."""

    tiers: tuple[_Rates, ...]
    share: Decimal


def _usd(
    kind: str, model: str, tokens: Tokens, minute: int, *, batch: bool, discount: Decimal | None
) -> Decimal | None:
    prices = _prices(kind, model, minute, batch, discount)
    if prices is None:
        return None
    if not prices.tiers or tokens.audio_input or tokens.audio_output or tokens.web_searches:
        return _by_library(kind, model, tokens, minute, batch and discount is None, prices.share)
    uncached = tokens.input - tokens.cache_read - tokens.cache_write
    write_5m = tokens.cache_write - tokens.cache_write_1h
    if uncached < 0 or write_5m < 0:  # contradicts itself: better no price than a wrong one
        return None
    rates = next(tier for tier in prices.tiers if tokens.input > tier.above)
    dollars = uncached * rates.input + tokens.output * rates.output
    if tokens.cache_read or tokens.cache_write:
        dollars += tokens.cache_read * rates.cache_read
        dollars += write_5m * rates.cache_write + tokens.cache_write_1h * rates.cache_write_1h
    return dollars * prices.share / _MILLION


@lru_cache(maxsize=4096)
def _prices(kind: str, model: str, minute: int, batch: bool, discount: Decimal | None) -> _Prices | None:
    """Read a model's rates from the library; None when it has no token price for the model."""
    share = _WHOLE
    if batch and discount is not None:
        batch, share = False, 1 - discount
    try:
        found = _calculate(kind, model, minute, batch)
    except LookupError:
        return None
    if any(vars(found.model_price).values()) and found.model_price.input_mtok is None:
        return None  # sold by the hour or the character, which a response's token counts cannot tell
    if batch and not _has_batch_rate(found, minute):
        share = 1 - _BATCH_DISCOUNT.get(kind, Decimal(0))
    return _Prices(tuple(_tiers(found.model_price)), share)


def _has_batch_rate(found: PriceCalculation, minute: int) -> bool:
    when = _time(minute)
    return any(
        variant.when == _BATCH and (variant.constraint is None or variant.constraint.active(when))
        for variant in found.model.price_variants or ()
    )


_RATES = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"}
_NEVER_USED = {"web_searches_kcount", "storage_searches_kcount", "input_audio_mtok", "output_audio_mtok"} | {
    "cache_audio_read_mtok", "input_image_mtok", "output_image_mtok", "cache_image_read_mtok"
}  # fmt: skip
"""Prices of what a request has none of when it is priced by rates."""


def _tiers(model_price: Any) -> Iterator[_Rates]:
    """Yield a model's rates, highest tier first; nothing when it has a price that the rates do not know."""
    prices = {key: value for key, value in vars(model_price).items() if value is not None}
    if prices.keys() - _RATES - _NEVER_USED:
        return
    starts = {tier.start for value in prices.values() for tier in getattr(value, "tiers", ())}
    for above in [*sorted(starts, reverse=True), -1]:
        at = {key: _at(value, above) for key, value in prices.items() if key in _RATES}
        base = at.get("input_mtok", Decimal(0))
        write = at.get("cache_write_mtok", base)
        yield _Rates(
            above=above,
            input=base,
            cache_read=at.get("cache_read_mtok", base),
            cache_write=write,
            cache_write_1h=at.get("cache_write_1h_mtok", write),
            output=at.get("output_mtok", Decimal(0)),
        )


def _at(value: Any, above: int) -> Decimal:
    """Return a price for prompts of more than ``above`` tokens."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= above]  # the library keeps tiers sorted
    rate: Decimal = reached[-1] if reached else value.base
    return rate


@lru_cache(maxsize=4096)
def _by_library(kind: str, model: str, tokens: Tokens, minute: int, batch: bool, share: Decimal) -> Decimal | None:
    """Price by the library itself, about 400 µs; ``share`` of the token prices, fees in full."""
    try:
        found = _calculate(kind, model, minute, batch, tokens)
    except ValueError:  # usage that contradicts itself
        return None
    in_tokens = found.input_price + found.output_price
    return in_tokens * share + (found.total_price - in_tokens)


def _calculate(kind: str, model: str, minute: int, batch: bool, tokens: Tokens | None = None) -> PriceCalculation:
    # Imported late: it takes a third of a second, which the command line need not wait for.
    from genai_prices import Usage, calc_price  # noqa: PLC0415

    tokens = tokens or Tokens()
    counts = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "input_audio_tokens": tokens.audio_input,
        "output_audio_tokens": tokens.audio_output,
        "web_searches": tokens.web_searches,
    }
    return calc_price(
        Usage(**counts),
        model_ref=model,
        provider_id=kind,
        genai_request_timestamp=_time(minute),
        price_context=_BATCH if batch else None,
    )


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
