"""The table of providers: what it knows without loading an SDK."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import get_args

import pytest
from genai_prices.data_snapshot import get_snapshot

from batchline.errors import UsageError
from batchline.money.usage import read_tokens
from batchline.providers import PROVIDERS, facts, facts_of, make_provider
from batchline.providers.protocol import AccountAccess, Options
from batchline.settings import Account
from batchline.settings.account import PriceSource

CUSTOM_ID = "a-Z_9" * 12


def test_neither_importing_nor_facts_nor_making_loads_an_sdk() -> None:
    program = (
        "import sys; from batchline.providers import PROVIDERS, AccountAccess, facts, make_provider\n"
        "for kind in PROVIDERS:\n"
        "    facts(kind); make_provider(kind, AccountAccess(name='a', key=lambda: 'k'))\n"
        "print([m for m in ('openai', 'anthropic', 'google.genai', 'httpx2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", PROVIDERS)
def test_facts_are_those_of_the_provider(kind: str) -> None:
    provider = make_provider(kind, AccountAccess(name="a", key=lambda: "k"))
    known = facts(kind)
    assert (known.limits, known.endpoints, known.has_files) == (
        provider.limits,
        provider.endpoints,
        provider.has_files,
    )
    assert provider.kind == known.kind == kind


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'cohere'; known are openai, anthropic, gemini"):
        facts("cohere")


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_row_is_one_line_around_the_body_as_it_is(kind: str) -> None:
    provider = make_provider(kind, AccountAccess(name="a", key=lambda: "k"))
    body = '{"model":"m","text":"\u2028 é"}'.encode()
    for endpoint in provider.endpoints:
        row = provider.render(CUSTOM_ID, endpoint, body)
        assert body in row
        assert b"\n" not in row
        assert re.match(rb'\{"(custom_id|key)":"' + CUSTOM_ID.encode() + rb'",', row)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_every_price_flavor_is_one_that_usage_is_read_by(kind: str) -> None:
    known = facts(kind)
    for endpoint in known.endpoints.values():
        if endpoint.price_flavor:
            read_tokens(known.price_provider, endpoint.price_flavor, b"{}")


@pytest.mark.parametrize(
    ("base_url", "prices"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://EU.api.OpenAI.com:443/v1", "openai"),
        ("http://127.0.0.1:8700/v1", "openai"),
        ("http://127.8.9.1/v1", "openai"),
        ("http://[::1]:8700/v1", "openai"),
        ("http://localhost:8700/v1", "openai"),
        ("https://api.together.xyz/v1", ""),
        ("http://emulator:8090/v1", ""),
        ("http://10.0.0.7:8000/v1", ""),
        ("https://myapi.openai.com/v1", ""),
        ("https://api.openai.com.example.com/v1", ""),
    ],
)
def test_openais_prices_count_at_openai_and_on_this_machine_only(base_url: str | None, prices: str) -> None:
    assert facts("openai", Options(base_url=base_url)).price_provider == prices


def test_whose_prices_count_is_as_the_account_says_else_as_its_preset_says() -> None:
    assert facts("openai", Options(base_url="http://emulator:8090/v1", price_as="openai")).price_provider == "openai"
    assert facts("openai", Options(base_url="http://x/v1", preset="groq")).price_provider == "groq"
    assert facts("openai", Options(base_url="http://x/v1", preset="vllm", price_as="azure")).price_provider == "azure"


@pytest.mark.parametrize("price_as", get_args(PriceSource))
def test_every_endpoint_of_openais_shape_is_read_at_every_price(price_as: str) -> None:
    assert price_as in {each.id for each in get_snapshot().providers}
    for endpoint in facts("openai").endpoints.values():
        if endpoint.price_flavor:
            read_tokens(price_as, endpoint.price_flavor, b"{}")


def test_an_account_says_whose_prices_count() -> None:
    account = Account.model_validate(
        {"provider": "openai", "base_url": "http://emulator:8090/v1", "price_as": "openai"}
    )
    assert facts_of(account).price_provider == "openai"


def test_openais_regions_are_checked_as_openai_and_others_are_not() -> None:
    found = [
        facts("openai", Options(base_url=f"https://{host}/v1")).check for host in ("eu.api.openai.com", "mine.com")
    ]
    assert found[0] is facts("openai").check
    assert found[1] is not facts("openai").check
