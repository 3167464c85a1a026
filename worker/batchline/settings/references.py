"""Names in the settings that must lead to something else in them, or to a lane: those that lead nowhere are found here. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import get_args

from batchline.settings.account import Account, PriceSource, ProviderKind
from batchline.settings.file import Place
from batchline.settings.model import ModelPattern, Settings
from batchline.settings.names import meant
from batchline.settings.prices import PriceOverride
from batchline.settings.services import ENDPOINTS

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9._/@=,+-]{1,100}")
"""What a lane can name: the characters of a lane's name but for those that end its account."""
_GLOB = re.compile(r"[*?\[]")

Found = tuple[Place, str]
"""Where a name stands, and what is wrong with it."""


def dead_ends(settings: Settings) -> Iterator[Found]:
    """Yield each name that leads nowhere."""
    for name in settings.accounts:
        if not ACCOUNT_NAME.fullmatch(name):
            yield (
                ("accounts", name),
                "no lane can name this account: 1 to 100 of A-Z a-z 0-9 . _ / @ = , + -",
            )
    for at, model in enumerate(settings.models):
        yield from _of_model(("models", at), model, settings.accounts)
    for at, lane in enumerate(settings.lanes):
        yield from _of_lane(("lanes", at, "match"), lane.match, settings.accounts)
    for at, price in enumerate(settings.prices):
        yield from _of_price(("prices", at, "match"), price, settings.accounts)
        if price.account is not None and price.account not in settings.accounts:
            yield ("prices", at, "account"), no_account(price.account, settings.accounts)
    for name, account in settings.accounts.items():
        for at, budget in enumerate(account.budgets or ()):
            yield from _of_budget(("accounts", name, "budgets", at, "match"), budget.match, settings.accounts)


def no_account(name: str, accounts: Mapping[str, Account]) -> str:
    """Return what is said of an account that is not configured."""
    return f"there is no account {name!r} among 'accounts'{meant(name, accounts)}"


def _of_model(place: Place, pattern: ModelPattern, accounts: Mapping[str, Account]) -> Iterator[Found]:
    account = accounts.get(pattern.account)
    if account is None:
        yield (*place, "account"), no_account(pattern.account, accounts)
        return
    if problem := _no_endpoint(pattern.endpoint, pattern.account, account):
        yield (*place, "endpoint"), problem


def _no_endpoint(endpoint: str, name: str, account: Account) -> str | None:
    """Return what is said of an endpoint that the account does not have, None where it has it."""
    offered = ENDPOINTS.get(account.preset or account.provider)
    if not offered or endpoint in offered:
        return None
    return f"the account {name} has no endpoint {endpoint!r}, but {', '.join(offered)}"


def _of_lane(place: Place, match: str, accounts: Mapping[str, Account]) -> Iterator[Found]:
    head, colon, rest = match.partition(":")
    if _GLOB.search(head):
        return
    endpoint = rest.partition(":")[0]
    if not colon:
        yield place, "no lane's name is like that: they are account:endpoint:model, e.g. openai:chat:*"
    elif head not in accounts:
        yield place, no_account(head, accounts)
    elif not _GLOB.search(endpoint) and (problem := _no_endpoint(endpoint, head, accounts[head])):
        yield place, problem


def _of_price(place: Place, price: PriceOverride, accounts: Mapping[str, Account]) -> Iterator[Found]:
    # A model's own name may have a colon (ft:gpt-…, llama3:8b): only what was meant as something else is refused.
    head, colon, rest = price.match.partition(":")
    kinds = get_args(ProviderKind)
    if not colon or head in kinds or _GLOB.search(head):
        return
    account = accounts.get(price.account or "")
    said = f"before the colon stands a provider ({', '.join(kinds)}); "
    if head in accounts and price.account is None:
        yield place, f"{said}for an account write match: {rest!r}, account: {head}"
    elif account is not None and account.service in {None, "vllm"}:
        return  # it may call its models as it likes
    elif head == "google":
        yield place, f"{said}write 'gemini:{rest}'"
    elif head in get_args(PriceSource):
        yield place, f"{said}write match: {rest!r}, and its account beside it"
    elif near := get_close_matches(head, kinds, n=1, cutoff=0.8):
        yield place, f"there is no provider {head!r}; did you mean {near[0]}?"


def _of_budget(place: Place, match: str, accounts: Mapping[str, Account]) -> Iterator[Found]:
    # A model may be called as its account is (llama3:8b): a lane's name has two colons, or leaves the model open.
    head, colon, rest = match.partition(":")
    of_lanes = head in accounts and (":" in rest or not rest.strip("*?"))
    if colon and (of_lanes or head in get_args(ProviderKind)):
        yield (
            place,
            f"it is held against the model's name alone, of all lanes of this account: {rest.rpartition(':')[2]!r}",
        )
