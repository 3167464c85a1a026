"""The providers: the only room that knows an SDK. A new one is one file beside this one and its line in ``PROVIDERS``.

The name there is the one that it has in the settings (``ProviderKind``); docs/providers.md says how one is added.
Importing this imports no SDK; that is left to the first call, since SDKs load slowly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchline.budgets import Limit
from batchline.errors import UsageError
from batchline.providers.anthropic import AnthropicProvider
from batchline.providers.gemini import GeminiProvider
from batchline.providers.openai import OpenAIProvider
from batchline.providers.protocol import AccountAccess, Facts, Known, Options, Provider
from batchline.settings import Account

PROVIDERS: Mapping[str, type[Known]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "gemini": GeminiProvider,
}

__all__ = ["PROVIDERS", "Facts", "budgets_of", "facts", "facts_of", "make_provider", "options_of"]


def facts(kind: str, options: Options = Options()) -> Facts:  # noqa: B008 - frozen
    """Return what is true of all accounts of a kind with these options. Raises UsageError on an unknown kind."""
    return _provider(kind).facts(options)


def facts_of(account: Account) -> Facts:
    """Return what is true of an account, without calling its provider."""
    return facts(account.provider, options_of(account))


def budgets_of(account: Account) -> Sequence[Limit]:
    """Return an account's budgets, of which the first that matches a model counts: its own, then those that its provider documents.

    What its own say of one model thus takes nothing from the others. An empty list of its own is for no budget at all.
    """
    if account.budgets is not None and not account.budgets:
        return ()
    return (*(account.budgets or ()), *facts_of(account).budgets)


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


def _provider(kind: str) -> type[Known]:
    try:
        return PROVIDERS[kind]
    except KeyError:
        raise UsageError(f"unknown provider {kind!r}; known are {', '.join(PROVIDERS)}") from None
