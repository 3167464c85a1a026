"""The providers: the only room that knows an SDK. A new one is one file beside this one and one line in ``PROVIDERS``.

Importing this imports no SDK; that is left to the first call, since SDKs load slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchline.errors import UsageError
from batchline.providers.anthropic import AnthropicProvider
from batchline.providers.gemini import GeminiProvider
from batchline.providers.openai import OpenAIProvider
from batchline.providers.protocol import AccountAccess, Facts, Options, Provider
from batchline.settings import Account

Kind = type[OpenAIProvider | AnthropicProvider | GeminiProvider]

PROVIDERS: Mapping[str, Kind] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "gemini": GeminiProvider,
}

__all__ = ["PROVIDERS", "Facts", "facts", "facts_of", "make_provider", "options_of"]


def facts(kind: str, options: Options = Options()) -> Facts:  # noqa: B008 - frozen
    """Return what is true of all accounts of a kind with these options. Raises UsageError on an unknown kind."""
    return _provider(kind).facts(options)


def facts_of(account: Account) -> Facts:
    """Return what is true of an account, without calling its provider."""
    return facts(account.provider, options_of(account))


def options_of(account: Account) -> Options:
    """Return how an account differs from its provider's usual."""
    return Options(
        preset=account.preset,
        completion_window=account.completion_window,
        max_requests=account.max_batch_requests,
        max_bytes=account.max_batch_bytes,
        inline=account.inline,
        base_url=account.base_url,
        price_as=account.price_as,
        files_expire_s=None if account.files_expire is None else int(account.files_expire),
    )


def make_provider(kind: str, access: AccountAccess) -> Provider:
    """Return an account's provider; the SDK is loaded at its first call. Raises UsageError on an unknown kind."""
    return _provider(kind)(access)


def _provider(kind: str) -> Kind:
    try:
        return PROVIDERS[kind]
    except KeyError:
        raise UsageError(f"unknown provider {kind!r}; known are {', '.join(PROVIDERS)}") from None
