"""What the services that accounts lead to offer, as far as settings can ask for it: endpoints, windows, expiries, addresses.

By preset, else by kind of provider; what else differs stands in providers/presets.py and in the providers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

DAY_S = 86_400
HOME = "api.openai.com"
"""OpenAI's own host; its regions' are below it."""

WINDOWS_H: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"openai": (24, 24), "azure": (24, 24), "groq": (24, 7 * 24), "vllm": (1, 9999)}
)
"""Completion windows from the shortest to the longest, in hours. Sources: those of the presets."""

EXPIRIES_S: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"openai": (3600, 30 * DAY_S), "azure": (14 * DAY_S, 30 * DAY_S), "vllm": (3600, 30 * DAY_S)}
)
"""After how long files may be told to expire, from the shortest to the longest, in seconds; others take no such wish."""

ADDRESSES: Mapping[str, str] = MappingProxyType(
    {
        "azure": "https://RES.openai.azure.com/openai/v1/",
        "groq": "https://api.groq.com/openai/v1",
        "vllm": "http://batch-gateway:8000/v1",
    }
)
"""What a ``base_url`` looks like there."""

_OPENAI = ("chat", "responses", "embeddings", "completions", "moderations")
ENDPOINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openai": _OPENAI,
        "azure": ("chat", "responses", "embeddings"),
        "groq": ("chat",),
        "vllm": _OPENAI,
        "anthropic": ("messages",),
        "gemini": ("generate", "embed"),
    }
)
"""The endpoints that lanes may name."""

_WINDOW = re.compile(r"(\d+)([hd])")


def hours_of(window: str) -> int:
    """Return a window ("36h", "7d") in hours, 0 for what is none."""
    found = _WINDOW.fullmatch(window)
    return int(found[1]) * (24 if found[2] == "d" else 1) if found else 0


def host_of(url: str | None) -> str:
    """Return the host of an address in small letters, empty without one."""
    return urlsplit(url or "").hostname or ""


def is_elsewhere(base_url: str | None) -> bool:
    """Whether an account is of another service, which may take what OpenAI does not; its regions are OpenAI's own hosts."""
    host = host_of(base_url)
    return base_url is not None and host != HOME and not host.endswith(f".{HOME}")


def address_problem(preset: str | None, base_url: str | None) -> str | None:
    """Return what is wrong with a preset's address: without one its prompts and its key would go to OpenAI."""
    if preset is None or is_elsewhere(base_url):
        return None
    return (
        f"preset {preset} needs the service's own base_url, e.g. {ADDRESSES[preset]}; "
        "without it prompts and the key would go to OpenAI"
    )


def window_problem(service: str | None, window: str | None) -> str | None:
    """Return what is wrong with a window; None where the service offers it. Of an unknown service (None) any goes."""
    if service is None or window is None or service not in WINDOWS_H:
        return None
    shortest, longest = WINDOWS_H[service]
    if shortest <= hours_of(window) <= longest:
        return None
    offered = f"{shortest}h" if shortest == longest else f"{shortest}h to {longest}h"
    return f"completion_window {window!r} is none that {service} offers: {offered}"


def expiry_problem(service: str | None, seconds: float | None) -> str | None:
    """Return what is wrong with ``files_expire``; None where the service takes it. An unknown service (None) may."""
    if service is None or seconds is None:
        return None
    if service not in EXPIRIES_S:
        return f"files_expire does nothing at {service}, which takes no such wish: leave it out"
    shortest, longest = EXPIRIES_S[service]
    if shortest <= seconds <= longest:
        return None
    return f"files_expire is none that {service} takes: {_span(shortest)} to {_span(longest)}"


def _span(seconds: int) -> str:
    return f"{seconds // DAY_S}d" if seconds >= DAY_S else f"{seconds // 3600}h"
