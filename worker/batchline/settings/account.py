"""A configured provider credential: provider kind, base URL, where its key is, its limits. The key itself is never stored."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from batchline.errors import UsageError
from batchline.settings.rules import FROZEN, Budget, CacheChange, Count, FlushChange, RetryChange, Size
from batchline.settings.services import DAY_S, address_problem, expiry_problem, is_elsewhere, window_problem
from batchline.settings.units import Seconds

ProviderKind = Literal["openai", "anthropic", "gemini"]
PresetName = Literal["azure", "groq", "vllm"]
PriceSource = Literal["openai", "anthropic", "google", "azure", "groq"]

_CREATES_PER_HOUR = {"openai": 2000}
"""What a provider allows; no such limit is known of compatible services. Source: developers.openai.com/api/docs/guides/batch (rate limits)"""


def _variable(name: str) -> str:
    # It may be a key that was put into the wrong place: it is not quoted.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            "it is the name of the environment variable that holds the key (letters, digits and _), and not the key itself"
        )
    return name


class Account(BaseModel):
    """How to reach one account of a provider, and how much it takes.

    ``discount`` is the account's own share off the list price in a batch (0.5 is half price), None for the provider's
    known batch prices. ``on_ambiguous`` says what happens when a create may have gone through and nothing proves whether it
    did: ``adopt`` what was found, and send again what was not found; or ``hold`` the batch, neither adopted nor sent again,
    until a person sets ``adopt`` or cancels it. What is proven (our tag, or its absence) is never held.
    ``price_as`` says whose known prices count at an OpenAI-compatible service (the price library's names): None for the preset's,
    OpenAI's at OpenAI and on this machine, and nobody's at any other address.
    ``preset`` names an OpenAI-compatible service whose differences are known (providers/presets.py) and which needs a ``base_url``;
    ``completion_window`` is one that the service offers (OpenAI: 24h). ``max_batch_requests`` and ``max_batch_bytes`` lower the
    provider's own limits of a batch. ``inline``: Gemini's small batches go in the create call, without a file. ``files_expire``:
    after so long the provider itself deletes what is uploaded and what it makes of that, where it takes such a wish (an hour to
    30 days; Azure 14 to 30 days). ``budgets``: None for what the provider documents, which also follows after those that are set;
    an empty list for none at all.
    """

    model_config = FROZEN
    provider: ProviderKind
    preset: PresetName | None = None
    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None
    api_key_file: Path | None = None
    max_open_batches: Count = 100
    creates_per_hour: Count | None = None
    completion_window: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[hd]$")] | None = None
    max_batch_requests: Count | None = None
    max_batch_bytes: Size | None = None
    inline: bool = False
    files_expire: Annotated[Seconds, Field(ge=3600, le=30 * DAY_S)] | None = None
    budgets: tuple[Budget, ...] | None = None
    discount: Annotated[Decimal, Field(ge=0, le=1)] | None = None
    price_as: PriceSource | None = None
    on_ambiguous: Literal["adopt", "hold"] = "adopt"
    flush: FlushChange = FlushChange()
    retry: RetryChange = RetryChange()
    cache: CacheChange = CacheChange()

    @model_validator(mode="before")
    @classmethod
    def _provider_limits(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(kind := data.get("provider"), str):
            known = None if data.get("preset") else _CREATES_PER_HOUR.get(kind)
            return {"creates_per_hour": known} | data
        return data

    @model_validator(mode="after")
    def _of_its_kind(self) -> Account:
        if self.provider != "openai" and (self.preset or self.completion_window):
            raise ValueError("preset and completion_window are of OpenAI-compatible services (provider: openai)")
        for problem in (
            address_problem(self.preset, self.base_url),
            window_problem(self.service, self.completion_window),
            expiry_problem(self.service, self.files_expire),
        ):
            if problem:
                raise ValueError(problem)
        if self.provider != "openai" and self.price_as:
            raise ValueError("price_as is of OpenAI-compatible services (provider: openai)")
        if self.provider != "gemini" and self.inline:
            raise ValueError("inline is of Gemini (provider: gemini)")
        return self

    @property
    def service(self) -> str | None:
        """Return the preset or the kind of provider; None for a compatible service of which nothing else is known."""
        if self.provider == "openai" and self.preset is None and is_elsewhere(self.base_url):
            return None
        return self.preset or self.provider

    def read_key(self, name: str, environ: Mapping[str, str] | None = None) -> str:
        """Return the API key of the account ``name``, read anew so that a changed key file is seen.

        The file wins over the variable. Raises UsageError that names the file or variable to set; never shows a key.
        """
        if self.api_key_file is not None:
            source = f"file {self.api_key_file}"
            try:
                text = self.api_key_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
                raise UsageError(f"account {name}: cannot read its API key from {source}: {reason}") from None
        elif self.api_key_env:
            source = f"environment variable {self.api_key_env}"
            text = (os.environ if environ is None else environ).get(self.api_key_env, "")
        else:
            raise UsageError(f"account {name}: set api_key_env or api_key_file in its settings")
        key = text.strip()
        if not key:
            raise UsageError(f"account {name}: no API key: set {source}")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(f"account {name}: {source} holds characters that no API key has")
        return key
