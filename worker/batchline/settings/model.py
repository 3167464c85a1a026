"""What can be set, with its defaults: frozen data, built once by the composition root and passed on as values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batchline.errors import UsageError
from batchline.settings.units import Bytes, Seconds

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_CREATES_PER_HOUR = {"openai": 2000}
"""What the providers allow. Source: developers.openai.com/api/docs/guides/batch#rate-limits"""

Count = Annotated[int, Field(ge=1)]
Span = Annotated[Seconds, Field(gt=0)]
Size = Annotated[Bytes, Field(ge=1)]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Flush(BaseModel):
    """When a range is due: by its requests, bytes, tokens (None: no matter how many) or the age of its first entry."""

    model_config = _FROZEN
    max_requests: Count = 50_000
    # 188,743,680 bytes of bodies; their rows add up to 150 bytes each, and an OpenAI file may have 200,000,000.
    max_bytes: Size = 180 * 2**20
    max_tokens: Count | None = None
    max_age: Annotated[Seconds, Field(ge=0)] = 60.0


class FlushChange(BaseModel):
    """Flush settings of an account or a lane pattern; what is left out stays as it is elsewhere."""

    model_config = _FROZEN
    max_requests: Count = 50_000
    max_bytes: Size = 180 * 2**20
    max_tokens: Count | None = None
    max_age: Annotated[Seconds, Field(ge=0)] = 60.0


class Retry(BaseModel):
    """How often a request is sent, and the time before it goes again: doubled with each attempt between the two bounds."""

    model_config = _FROZEN
    max_attempts: Count = 3
    backoff_min: Annotated[Seconds, Field(ge=0)] = 30.0
    backoff_max: Annotated[Seconds, Field(ge=0)] = 3600.0


class Poll(BaseModel):
    """How often a batch is asked after.

    The longest interval is 15 minutes and not 5: a batch of 6 hours may cost at most 120 polls, and its end is to
    be seen within 5 % of its age, which is 18 minutes then.
    """

    model_config = _FROZEN
    min_interval: Span = 10.0
    max_interval: Span = 900.0

    @model_validator(mode="after")
    def _in_order(self) -> Poll:
        if self.min_interval > self.max_interval:
            raise ValueError("min_interval is longer than max_interval")
        return self


class IdWindow(BaseModel):
    """How long after its settling a request's id is still refused as a repeat: chosen by the caller, or made up by the client."""

    model_config = _FROZEN
    chosen: Annotated[Seconds, Field(ge=0)] = 86_400.0
    generated: Annotated[Seconds, Field(ge=0)] = 600.0


class Limits(BaseModel):
    """What is accepted: the largest body, and how many lanes."""

    model_config = _FROZEN
    max_body_bytes: Size = 8 * 2**20
    max_lanes: Count = 10_000
