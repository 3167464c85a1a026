"""The table of providers: what it knows without loading an SDK."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from genai_prices.data_snapshot import get_snapshot

from batchline import logs
from batchline.errors import UsageError
from batchline.money import price
from batchline.money.usage import read_tokens, reader_of
from batchline.providers import PROVIDERS, facts, facts_of, failures, make_provider
from batchline.providers.protocol import AccountAccess, Options
from batchline.settings import Account
from batchline.settings.account import PriceSource, ProviderKind

CUSTOM_ID = "a-Z_9" * 12
ROOT = Path(__file__).parents[2]
OTHERS = {"batchline", "msgspec", "httpx2", "structlog", "jsonschema"}


def imported() -> set[str]:
    """Return the SDKs that the files of the providers import: all packages but Python's own and ``OTHERS``."""
    found: set[str] = set()
    for file in (ROOT / "worker/batchline/providers").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - OTHERS


def test_settings_name_the_providers_of_the_table_and_no_others() -> None:
    assert set(get_args(ProviderKind)) == set(PROVIDERS)


def test_what_every_sdk_raises_is_translated_and_what_it_logs_is_quiet() -> None:
    assert imported() == failures._SDKS
    assert imported() <= set(logs._CHATTY)


def test_nobody_but_the_providers_may_import_an_sdk() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (protected,) = [each["protected_modules"] for each in contracts if "SDKs" in each["name"]]
    assert set(protected) == imported()


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
            assert reader_of(known.price_provider, endpoint.price_flavor) is not None


def test_an_answer_of_a_flavor_that_is_not_known_is_unpriced_and_stops_nothing() -> None:
    assert read_tokens("", "say", b'{"said":"hi"}') is None
    assert price("", "toy-1", "say", b'{"said":"hi"}', 0) is None


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
            assert reader_of(price_as, endpoint.price_flavor) is not None


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


@pytest.mark.parametrize(
    ("preset", "base_url", "taken"),
    [
        (None, None, True),
        (None, "https://eu.api.openai.com/v1", True),
        (None, "http://127.0.0.1:8700/v1", True),
        (None, "https://api.together.xyz/v1", False),
        (None, "http://10.0.0.7:8000/v1", False),
        ("azure", "https://mine.openai.azure.com/openai/v1", True),
        ("groq", "https://api.groq.com/openai/v1", False),
        ("groq", "http://127.0.0.1:8700/openai/v1", False),
        ("vllm", "http://10.0.0.7:8000/v1", False),
    ],
)
def test_a_key_for_the_prompt_cache_is_for_services_that_document_it(
    preset: str | None, base_url: str | None, taken: bool
) -> None:
    assert facts("openai", Options(preset=preset, base_url=base_url)).cache_key is taken
    assert not facts("anthropic").cache_key
    assert not facts("gemini").cache_key
