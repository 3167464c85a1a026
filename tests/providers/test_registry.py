"""The table of providers: what it knows without loading an SDK."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from batchline.errors import UsageError
from batchline.money.usage import read_tokens
from batchline.providers import PROVIDERS, facts, make_provider
from batchline.providers.protocol import AccountAccess

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
