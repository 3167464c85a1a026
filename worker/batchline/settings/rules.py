"""The numbers that rule flushing, retrying and polling; an account or a lane pattern may change some of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from batchline.settings.units import Bytes, Seconds

FROZEN = ConfigDict(frozen=True, extra="forbid")


def _a_number(value: object) -> object:
    # Else YAML's true and yes were 1.
    if not isinstance(value, bool):
        return value
    raise ValueError("it is a number, not true or false")


Whole = Annotated[int, BeforeValidator(_a_number)]
Count = Annotated[Whole, Field(ge=1)]
Wait = Annotated[Seconds, Field(ge=0)]
Span = Annotated[Seconds, Field(gt=0)]
Size = Annotated[Bytes, Field(ge=1)]
Share = Annotated[float, BeforeValidator(_a_number), Field(gt=0, le=1)]


class Flush(BaseModel):
    """When a range is due: by its requests, bytes, tokens (None: no matter how many) or the age of its first entry."""

    model_config = FROZEN
    max_requests: Count = 50_000
    max_bytes: Size = 180 * 2**20
    """Bytes of rendered rows: 188,743,680, so that a file stays under OpenAI's 200,000,000."""
    max_tokens: Count | None = None
    max_age: Wait = 60.0


class FlushChange(Flush):
    """Flush settings of an account or a lane pattern. Only fields that were set count; the others stay as elsewhere."""


class Retry(BaseModel):
    """How often a request is sent, and the time before it goes again: doubled with each attempt between the two bounds."""

    model_config = FROZEN
    max_attempts: Count = 3
    backoff_min: Wait = 30.0
    backoff_max: Wait = 3600.0


class RetryChange(Retry):
    """Retry settings of an account or a lane pattern. Only fields that were set count; the others stay as elsewhere."""


class LaneBudget(BaseModel):
    """The most that the lanes of a pattern may have enqueued at an account at one time, all together.

    ``tokens`` are of input, ``requests`` count; None: no limit known.
    """

    model_config = FROZEN
    tokens: Count | None = None
    requests: Count | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.tokens is None and self.requests is None:
            raise ValueError("a budget limits tokens or requests, and this one neither")
        return self


class Budget(LaneBudget):
    """The most that may be enqueued at a provider at one time, over the models whose name matches a glob pattern.

    ``shared``: one budget for all these models together, else one for each. An account's ``budgets: []`` is none at all.
    """

    match: str = Field(default="*", pattern=r"^[^|]+$")
    shared: bool = False


class Cache(BaseModel):
    """What is asked of providers' prompt caches, beyond that requests with the same beginning stand together in a batch.

    ``anthropic_ttl``: shared system prompts are marked to be cached for so long. ``openai_key``: requests with the same
    beginning are sent with one ``prompt_cache_key``. Bodies that say something of their own are left as they are.
    """

    model_config = FROZEN
    anthropic_ttl: Literal["5m", "1h"] | None = None
    openai_key: bool = False


class CacheChange(Cache):
    """Cache settings of an account or a lane pattern. Only fields that were set count; the others stay as elsewhere."""


class Poll(BaseModel):
    """How often a batch is asked after.

    The longest interval is 15 minutes and not 5: a batch of 6 hours may cost at most 120 polls, and its end is to
    be seen within 5 % of its age, which is 18 minutes then.
    """

    model_config = FROZEN
    min_interval: Span = 10.0
    max_interval: Span = 900.0

    @model_validator(mode="after")
    def _in_order(self) -> Poll:
        if self.min_interval > self.max_interval:
            raise ValueError("min_interval is longer than max_interval")
        return self


class IdWindow(BaseModel):
    """How long after its settling a request's id is still refused as a repeat: chosen by the caller, or made up by the client."""

    model_config = FROZEN
    chosen: Wait = 86_400.0
    generated: Wait = 600.0


class Limits(BaseModel):
    """What is accepted: the largest body, and how many lanes."""

    model_config = FROZEN
    max_body_bytes: Size = 8 * 2**20
    max_lanes: Count = 10_000


class Pressure(BaseModel):
    """When a store that fills up takes no new requests, and when settling pauses: shares of its maxmemory.

    ``max_queue`` is the most replies that may wait in one callback queue before settling into it pauses.
    """

    model_config = FROZEN
    refuse_above: Share = 0.8
    pause_above: Share = 0.9
    max_queue: Count = 1_000_000


class Stuck(BaseModel):
    """What becomes of a batch that made no progress for so long: it is reported, and then waited for or cancelled.

    A cancelled one is settled with what it has, and the rest goes again. Providers that tell no progress count from submission.
    """

    model_config = FROZEN
    after: Span = 93_600.0
    action: Literal["wait", "cancel"] = "wait"


class Reconcile(BaseModel):
    """How submissions of unknown end are resolved, and how the provider's list is audited for batches nobody knows.

    ``listing_lag``: nothing is absent before a provider's list had so long. ``audit_every`` and ``audit_window``: how often
    the batches of an account are listed, and how far back.
    """

    model_config = FROZEN
    listing_lag: Wait = 60.0
    audit_every: Span = 900.0
    audit_window: Span = 259_200.0


class Durability(BaseModel):
    """What an intent needs before its create: acknowledgement by so many replicas, within so long; always an fsync."""

    model_config = FROZEN
    replicas: Annotated[Whole, Field(ge=0)] = 0
    timeout: Span = 5.0


class Metrics(BaseModel):
    """What metrics are labelled with: so many models by their own names, those used later together as ``other``."""

    model_config = FROZEN
    max_models: Count = 100
