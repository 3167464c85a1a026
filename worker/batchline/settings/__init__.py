"""Settings: one entry, ``load_settings``; everything else is inert data that is passed on. Nothing is read at import."""

from batchline.settings.account import Account, ProviderKind
from batchline.settings.load import load_settings
from batchline.settings.model import DEFAULT_MODELS, LanePattern, ModelPattern, Settings
from batchline.settings.prices import FULL_NAME
from batchline.settings.rules import (
    Budget,
    Cache,
    Flush,
    FlushChange,
    IdWindow,
    LaneBudget,
    Limits,
    Poll,
    Retry,
    RetryChange,
)
from batchline.settings.units import Bytes, Seconds, parse_bytes, parse_seconds

__all__ = [
    "DEFAULT_MODELS",
    "FULL_NAME",
    "Account",
    "Budget",
    "Bytes",
    "Cache",
    "Flush",
    "FlushChange",
    "IdWindow",
    "LaneBudget",
    "LanePattern",
    "Limits",
    "ModelPattern",
    "Poll",
    "ProviderKind",
    "Retry",
    "RetryChange",
    "Seconds",
    "Settings",
    "load_settings",
    "parse_bytes",
    "parse_seconds",
]
