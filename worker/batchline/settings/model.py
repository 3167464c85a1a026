"""Everything that can be set, with its defaults: frozen data, built once by the composition root and passed on as values."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batchline.errors import UsageError
from batchline.settings import store_url
from batchline.settings.account import Account
from batchline.settings.prices import FULL_NAME, PriceOverride
from batchline.settings.rules import (
    FROZEN,
    Cache,
    CacheChange,
    Durability,
    Flush,
    FlushChange,
    IdWindow,
    LaneBudget,
    Limits,
    Metrics,
    Poll,
    Pressure,
    Reconcile,
    Retry,
    RetryChange,
    Span,
    Stuck,
    Whole,
)
from batchline.settings.units import Seconds

Rules = TypeVar("Rules", Flush, Retry, Cache)
DAY = 86_400


def _broker_url(url: str) -> str:
    # A broker may be of another kind; one of ours is read as the store's URL is.
    return store_url.check(url) if url.startswith(store_url.SCHEMES) else url


def _kept_a_day(seconds: float) -> float:
    if seconds < DAY:
        raise ValueError(
            "the ledger of a day is kept for at least a day (1d), or that day's report lacks what was settled"
        )
    return seconds


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class LanePattern(BaseModel):
    """Flush, retry and cache settings for the lanes whose name matches a glob pattern, and a budget that they share.

    ``budget`` takes the place of the account's for these lanes; those of each account share one of their own.
    """

    model_config = FROZEN
    match: str = Field(min_length=1)
    flush: FlushChange = FlushChange()
    retry: RetryChange = RetryChange()
    cache: CacheChange = CacheChange()
    budget: LaneBudget | None = None


class ModelPattern(BaseModel):
    """Account and endpoint for the models whose name matches a glob pattern, where only a model is given."""

    model_config = FROZEN
    match: str = Field(min_length=1)
    account: str
    endpoint: str


DEFAULT_MODELS = tuple(
    ModelPattern(match=match, account=account, endpoint=endpoint)
    for match, account, endpoint in (
        ("claude-*", "anthropic", "messages"),
        ("gemini-embedding-*", "gemini", "embed"),
        ("gemini-*", "gemini", "generate"),
        ("text-embedding-*", "openai", "embeddings"),
        ("*-moderation-*", "openai", "moderations"),
        ("gpt-3.5-turbo-instruct*", "openai", "completions"),
        ("gpt-*", "openai", "chat"),
        ("o*", "openai", "chat"),
    )
)
"""Tried after the patterns of the settings, in this order."""


def _default_accounts() -> dict[str, Account]:
    return {name: Account.model_validate(fields) for name, fields in DEFAULT_ACCOUNTS.items()}


DEFAULT_ACCOUNTS: dict[str, dict[str, str]] = {
    "openai": {"provider": "openai", "api_key_env": "OPENAI_API_KEY"},
    "anthropic": {"provider": "anthropic", "api_key_env": "ANTHROPIC_API_KEY"},
    "gemini": {"provider": "gemini", "api_key_env": "GEMINI_API_KEY"},
}


class Settings(BaseSettings):
    """All settings. Times are seconds, sizes bytes. ``load_settings`` fills it; it reads nothing by itself."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="BATCHLINE_", env_nested_delimiter="__")

    redis_url: Annotated[str, AfterValidator(store_url.check)] = Field(default="redis://127.0.0.1:6379/0", repr=False)
    broker_url: Annotated[str, AfterValidator(_broker_url)] = Field(default="redis://127.0.0.1:6379/0", repr=False)
    """The Celery broker; the store unless it is set."""
    redis_url_file: Path | None = None
    """The file that holds ``redis_url``, as a mounted secret does; ``load_settings`` reads it."""
    broker_url_file: Path | None = None
    """The file that holds ``broker_url``."""
    flush: Flush = Flush()
    poll: Poll = Poll()
    retry: Retry = Retry()
    cache: Cache = Cache()
    id_window: IdWindow = IdWindow()
    limits: Limits = Limits()
    pressure: Pressure = Pressure()
    stuck: Stuck = Stuck()
    reconcile: Reconcile = Reconcile()
    durability: Durability = Durability()
    metrics: Metrics = Metrics()
    lease_seconds: Span = 30.0
    """How long a worker may act on a batch or lane without renewing its right to."""
    tick_interval: Span = 1.0
    create_timeout: Span = 120.0
    """Most seconds that a provider's create call may take."""
    reply_ttl: Span = 604_800.0
    batch_record_ttl: Span = 604_800.0
    ledger_kept: Annotated[Seconds, AfterValidator(_kept_a_day)] = 34_560_000.0
    """How long the ledger of a single day is kept for reports by day and tenant, a day at the least; the ledger of all time has no end."""
    files_kept: Annotated[Seconds, Field(ge=3600)] = 3600.0
    """How long after settling a batch its files stay at the provider; an hour at the least."""
    shutdown_grace: Span = 25.0
    """How long a worker that was asked to end may take to finish or hand back its steps."""
    spool_dir: Path | None = None
    """Where the rows of batches are spooled while they are sent; None is the system's directory for temporary files."""
    exporter_port: Annotated[Whole, Field(ge=0, le=65_535)] = 9464
    worker_port: Annotated[Whole, Field(ge=0, le=65_535)] | None = None
    """Where a worker serves /livez, /readyz and /metrics of its own process; 0 takes a free port, None serves nothing."""
    live_within: Annotated[Seconds, Field(ge=180)] = 300.0
    """A worker whose loop did not beat for so long is not alive (/livez); 3 minutes at the least.

    While the store drops packets, or names cannot be looked up, one turn of the loop takes up to two and a half minutes;
    an outage must restart no worker.
    """
    log_format: Literal["json", "console"] | None = None
    """None: console on a terminal, else JSON."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    accounts: dict[str, Account] = Field(default_factory=_default_accounts)
    lanes: tuple[LanePattern, ...] = ()
    models: tuple[ModelPattern, ...] = ()
    prices: tuple[PriceOverride, ...] = ()
    """Prices of one's own; the first that matches wins over the known ones."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller only, so that no environment is read behind its back."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _broker_is_the_store(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("broker_url") is None and "redis_url" in data:
            return data | {"broker_url": data["redis_url"]}
        return data

    def flush_for(self, lane: str) -> Flush:
        """Return a lane's flush settings: the general ones, changed by its account, then by each pattern in order."""
        account = self.accounts.get(lane.split(":", 1)[0])
        changes = [account.flush] if account else []
        changes += [pattern.flush for pattern in self.lanes if fnmatchcase(lane, pattern.match)]
        return _changed(self.flush, changes)

    def retry_for(self, lane: str) -> Retry:
        """Return a lane's retry settings: the general ones, changed by its account, then by each pattern in order."""
        account = self.accounts.get(lane.split(":", 1)[0])
        changes = [account.retry] if account else []
        changes += [pattern.retry for pattern in self.lanes if fnmatchcase(lane, pattern.match)]
        return _changed(self.retry, changes)

    def cache_for(self, lane: str) -> Cache:
        """Return a lane's cache settings: the general ones, changed by its account, then by each pattern in order."""
        account = self.accounts.get(lane.split(":", 1)[0])
        changes = [account.cache] if account else []
        changes += [pattern.cache for pattern in self.lanes if fnmatchcase(lane, pattern.match)]
        return _changed(self.cache, changes)

    @property
    def lane_budgets(self) -> list[tuple[str, LaneBudget]]:
        """Return the budgets that lanes share, with the pattern of their names: the first that matches a lane counts."""
        return [(each.match, each.budget) for each in reversed(self.lanes) if each.budget]

    def budget_for(self, lane: str) -> tuple[str, LaneBudget] | None:
        """Return the budget that a lane shares with others, and the pattern of these; None leaves it to its account's budgets."""
        return next(((match, budget) for match, budget in self.lane_budgets if fnmatchcase(lane, match)), None)

    def route_model(self, model: str) -> tuple[str, str]:
        """Return account and endpoint for a model; raises UsageError when no pattern matches.

        A Gemini model is known by its full name ("models/gemini-…") as well.
        """
        short = model.removeprefix(FULL_NAME)
        names = [model, short] if short.startswith("gemini-") else [model]
        patterns = (*self.models, *DEFAULT_MODELS)
        pattern = next((each for each in patterns if any(fnmatchcase(name, each.match) for name in names)), None)
        if pattern is None:
            raise UsageError(
                f"no account is known for the model {model!r}: give account and endpoint, or add a pattern under 'models' to the settings"
            )
        if pattern.account not in self.accounts:
            raise UsageError(
                f"the model {model!r} goes to the account {pattern.account!r}, which is not among 'accounts' in the settings"
            )
        return pattern.account, pattern.endpoint


def _changed(rules: Rules, changes: list[Any]) -> Rules:
    update = {name: getattr(change, name) for change in changes for name in change.model_fields_set}
    return rules.model_copy(update=update) if update else rules
