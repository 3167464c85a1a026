"""By which names a model has its price: its own aliases and versions, and no sibling's."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from batchline.money import Tokens, price_usage
from batchline.money.names import is_own
from batchline.requests import Cost

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)
USED = Tokens(input=1_000, output=100)
PROVIDERS = ("openai", "anthropic", "google", "groq")


def cost(provider: str, model: str) -> Cost | None:
    return price_usage(provider, model, USED, NOW_MS)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("google", "gemini-3.8-flash-lite"),
        ("google", "models/gemini-3.8-flash-lite"),
        ("google", "gemini-3.5-flash-8b"),
        ("google", "gemini-2.5-pro-image"),
        ("google", "gemini-2.5-pro-computer-use-preview-10-2025"),
        ("google", "gemini-3.5-flash-lite-image"),
        ("google", "gemini-3.1-pro-preview-image"),
        ("openai", "gpt-5-nano-x"),
        ("openai", "gpt-5-nano-search-2026-01-01"),
        ("openai", "gpt-4o-mini-audio-x"),
        ("openai", "ft:gpt-3.5-turbo-16k-0613:org::id"),
        ("openai", "ft:gpt-4o-mini:org"),
        ("anthropic", "claude-sonnet-4-6-fast"),
        ("anthropic", "claude-haiku-4-5-mini-20260101"),
        ("anthropic", "claude-sonnet-4-61"),
    ],
)
def test_a_sibling_that_the_library_does_not_know_is_unpriced(provider: str, model: str) -> None:
    assert cost(provider, model) is None


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("google", "gemini-3.8-flash-001", "gemini-3.8-flash"),
        ("google", "models/gemini-3.8-flash-preview-09-2026", "gemini-3.8-flash"),
        ("google", "gemini-flash-latest", "gemini-3.8-flash"),
        ("google", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("google", "gemini-2.5-pro-exp-03-25", "gemini-2.5-pro"),
        ("google", "gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite"),
        ("google", "gemini-3.1-pro-preview-customtools", "gemini-3.1-pro-preview"),
        ("openai", "gpt-5-nano-2025-08-07", "gpt-5-nano"),
        ("openai", "gpt-5-nano-latest", "gpt-5-nano"),
        ("openai", "gpt-6-luna-20260901", "gpt-6-luna"),
        ("openai", "GPT-5-Nano", "gpt-5-nano"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-6@20260101", "claude-sonnet-4-6"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
    ],
)
def test_a_version_of_a_model_has_its_price(provider: str, model: str, known: str) -> None:
    assert cost(provider, model) == cost(provider, known) is not None


@pytest.mark.parametrize(
    ("model", "of_tuned"),
    [
        ("ft:gpt-4o-mini-2024-07-18:org::abc", "ft:gpt-4o-mini-2024-07-18"),
        ("ft:gpt-4o-mini-2024-07-18:my-org:a-name-of-any-kind:id:ckpt-step-1", "ft:gpt-4o-mini-2024-07-18"),
        ("ft:gpt-3.5-turbo-0125:org", "ft:gpt-3.5-turbo"),
        ("gpt-4o-mini-2024-07-18.ft-0123456789abcdef-suffix", "gpt-4o-mini-2024-07-18.ft-"),
    ],
)
def test_a_fine_tuned_model_has_the_price_of_such_whatever_its_owner_calls_it(model: str, of_tuned: str) -> None:
    listed = price_usage("openai", model, USED, NOW_MS, route="realtime")
    assert listed == price_usage("openai", of_tuned, USED, NOW_MS, route="realtime") is not None
    assert listed != price_usage("openai", "gpt-4o-mini", USED, NOW_MS, route="realtime")


@pytest.mark.parametrize("model", ["omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-stable"])
def test_moderation_is_free_under_all_its_names(model: str) -> None:
    assert cost("openai", model) == Cost(list_nano=0, paid_nano=0)


@pytest.mark.parametrize("model", ["gemma-3-27b-it", "gemma-3-1b-it", "gemma-3n-e4b-it"])
def test_gemma_has_its_price_in_every_size(model: str) -> None:
    assert price_usage("google", model, USED, NOW_MS, route="realtime") is not None


def names(clause: Any) -> Iterator[str]:
    """Yield the names and beginnings of names that a clause of the library has."""
    for part in getattr(clause, "or_", ()) or getattr(clause, "and_", ()):
        yield from names(part)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(clause, kind):
            yield getattr(clause, kind)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_name_that_the_library_has_and_its_versions_are_the_models_own(provider: str) -> None:
    home = next(each for each in get_snapshot().providers if each.id == provider)
    refused = set()
    for model in home.models:
        for name in {model.id, *names(model.match)}:
            for version in ("", "-latest", "-preview", "-2026-01-01", "-20260101", "@20260101", "-001"):
                written = name.rstrip("-@") + version if version else name
                if home.find_model(written) is model and not is_own(model, written):
                    refused.add(written)
    # Not a model's name: "thinking" is a mode of another service, behind which no version stands.
    assert not {name for name in refused if ":thinking" not in name}
