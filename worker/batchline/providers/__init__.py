"""The providers: the only room that knows an SDK. A new one is one file beside this one and one line in ``PROVIDERS``.

Importing this imports no SDK; that is left to the first call, since SDKs load slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchline.errors import UsageError
from batchline.providers.anthropic import AnthropicProvider
from batchline.providers.openai import OpenAIProvider
from batchline.providers.protocol import AccountAccess, Endpoint, Limits, Provider

PROVIDERS: Mapping[str, type[OpenAIProvider | AnthropicProvider]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of all accounts of a kind, without calling the provider."""

    kind: str
    limits: Limits
    endpoints: Mapping[str, Endpoint]
    has_files: bool
    tagged: bool
    results_kept_s: int


def facts(kind: str) -> Facts:
    """Return the limits and endpoints of a kind of provider. Raises UsageError on an unknown kind."""
    provider = _provider(kind)
    return Facts(
        kind=kind,
        limits=provider.limits,
        endpoints=provider.endpoints,
        has_files=provider.has_files,
        tagged=provider.tagged,
        results_kept_s=provider.results_kept_s,
    )


def make_provider(kind: str, access: AccountAccess) -> Provider:
    """Return an account's provider; the SDK is loaded at its first call. Raises UsageError on an unknown kind."""
    return _provider(kind)(access)


def _provider(kind: str) -> type[OpenAIProvider | AnthropicProvider]:
    try:
        return PROVIDERS[kind]
    except KeyError:
        raise UsageError(f"unknown provider {kind!r}; known are {', '.join(PROVIDERS)}") from None
