"""Prices of one's own: what a model costs where the known prices are wrong, negotiated otherwise, or missing."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, Field

from batchline.settings.rules import FROZEN

Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=0, le=1)]

FULL_NAME = "models/"
"""What the full name of a Gemini model begins with."""


class PriceOverride(BaseModel):
    """The list price of the models whose name matches a glob pattern, in US dollars per million tokens.

    ``match`` is held against ``model`` and ``provider:model`` (``openai:gpt-*``; the provider as in ``accounts``), of Gemini
    also without the ``models/`` of a full name. ``account`` limits it to one of ``accounts``. Cached input is priced as plain
    input unless ``cache_read``, ``cache_write`` (of any length of time) and ``cache_write_1h`` (an hour or longer) say otherwise.
    ``batch_share`` is what is paid of the list price in a batch; None: what the account's ``discount`` leaves, else half.
    """

    model_config = FROZEN
    match: str = Field(min_length=1)
    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    batch_share: Share | None = None
    account: str | None = None

    def applies(self, kind: str, account: str, model: str) -> bool:
        """Tell whether this is the price of a model at an account of this kind of provider."""
        if self.account not in (None, account):
            return False
        names = {model, model.removeprefix(FULL_NAME)} if kind == "gemini" else {model}
        return any(fnmatchcase(name, self.match) or fnmatchcase(f"{kind}:{name}", self.match) for name in names)


def price_for(prices: Iterable[PriceOverride], *, kind: str, account: str, model: str) -> PriceOverride | None:
    """Return the first price of one's own that applies; None leaves it to the known prices."""
    return next((each for each in prices if each.applies(kind, account, model)), None)
