"""Every model of the price library in a batch: at a batch rate of the library, by our own table, or without a price."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from batchline.money import Tokens, price_usage
from batchline.money.gaps import GAPS
from batchline.money.rates import BATCH, LIST, TABLE, Price, price_of

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE = NOW_MS // 60_000
PROVIDERS = ("openai", "anthropic", "google", "groq")


@cache
def models(provider: str) -> tuple[Any, ...]:
    """The models of a provider that their own id finds."""
    home = next(each for each in get_snapshot().providers if each.id == provider)
    return tuple(model for model in home.models if home.find_model(model.id) is model)


EVERY = [(provider, model.id) for provider in PROVIDERS for model in models(provider)]


def of(provider: str, model: str, *, batch: bool) -> Price | None:
    return price_of(provider, model, MINUTE, batch, None, None)


def batch_rates(model: Any) -> dict[str, Any]:
    """What the library says of batches now, without the names' defaults."""
    when = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    return {
        key: value
        for variant in model.price_variants or ()
        if variant.when == {"processing": "batch"} and (not variant.constraint or variant.constraint.active(when))
        for key, value in vars(variant.prices).items()
    }


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_is_priced_in_a_batch_by_the_librarys_batch_rate_by_our_table_or_not_at_all(provider: str) -> None:
    for model in models(provider):
        listed, batch = of(provider, model.id, batch=False), of(provider, model.id, batch=True)
        named = any(gap.provider == provider and fnmatchcase(model.id, gap.model) for gap in GAPS)
        if listed is None:
            assert batch is None, model.id  # sold by the hour or the character
        elif not any(tier.input or tier.output for tier in listed.tiers):
            assert batch == listed, model.id  # free
        elif "input_mtok" in batch_rates(model):
            assert batch is not None, model.id
            assert batch.basis == BATCH, model.id
        elif named:
            assert batch is not None, model.id
            assert batch.basis.startswith(TABLE), model.id
        else:
            assert batch is None, model.id


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_batch_price_is_the_list_price_unless_the_table_says_so(provider: str) -> None:
    the_same = set()
    for model in models(provider):
        for tokens in (Tokens(input=10_000), Tokens(input=300_000), Tokens(output=10_000)):
            cost = price_usage(provider, model.id, tokens, NOW_MS)
            if cost is not None and cost.list_nano and cost.paid_nano >= cost.list_nano:
                the_same.add(model.id)
    assert the_same == ({"gpt-3.5-turbo-1106"} if provider == "openai" else set())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_never_costs_more_than_the_list_price(provider: str) -> None:
    usages = (
        Tokens(input=10_000, cache_read=9_000),
        Tokens(input=300_000, cache_read=100_000, cache_write=100_000),
        Tokens(input=10_000, output=7, modal=(("input_audio_tokens", 500), ("cache_audio_read_tokens", 0))),
    )
    for model in models(provider):
        for tokens in usages:
            cost = price_usage(provider, model.id, tokens, NOW_MS)
            assert cost is None or cost.paid_nano <= cost.list_nano, model.id


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: f"{gap.provider}:{gap.model}")
def test_each_row_of_the_table_closes_a_gap_and_names_its_source(gap: Any) -> None:
    closed = [
        model.id
        for model in models(gap.provider)
        if fnmatchcase(model.id, gap.model) and "input_mtok" not in batch_rates(model)
    ]
    assert closed, "the library has learned these batch rates: the row can go"
    assert "." in gap.source.split("/")[0]


def test_the_table_is_small_and_the_library_large() -> None:
    assert len(GAPS) <= 20
    assert len(EVERY) > 200


def test_models_of_azure_are_priced_as_openais() -> None:
    for model in models("openai"):
        assert of("azure", model.id, batch=True) == of("openai", model.id, batch=True)


def test_claude_at_google_is_not_priced_by_anthropics_batch_rates() -> None:
    # The library falls back from Google to Anthropic, and drops the batch rate on the way.
    assert of("google", "claude-opus-4-1", batch=True) is None


def test_a_list_price_says_that_it_is_one() -> None:
    price = of("openai", "gpt-5-mini", batch=False)
    assert price is not None
    assert price.basis == LIST
