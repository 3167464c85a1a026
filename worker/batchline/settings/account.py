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
from batchline.settings.rules import FROZEN, Count, FlushChange, RetryChange

ProviderKind = Literal["openai", "anthropic"]

_CREATES_PER_HOUR = {"openai": 2000}
"""What a provider allows. Source: developers.openai.com/api/docs/guides/batch (rate limits)"""


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
    """

    model_config = FROZEN
    provider: ProviderKind
    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None
    api_key_file: Path | None = None
    max_open_batches: Count = 100
    creates_per_hour: Count | None = None
    discount: Annotated[Decimal, Field(ge=0, le=1)] | None = None
    on_ambiguous: Literal["adopt", "hold"] = "adopt"
    flush: FlushChange = FlushChange()
    retry: RetryChange = RetryChange()

    @model_validator(mode="before")
    @classmethod
    def _provider_limits(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(kind := data.get("provider"), str):
            return {"creates_per_hour": _CREATES_PER_HOUR.get(kind)} | data
        return data

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
