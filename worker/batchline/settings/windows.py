"""The completion windows that OpenAI-compatible services offer, by preset; what else differs stands in providers/presets.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

WINDOWS_H: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"azure": (24, 24), "groq": (24, 7 * 24), "vllm": (1, 9999)}
)
"""From the shortest to the longest, in hours. Sources: those of the presets."""

_WINDOW = re.compile(r"(\d+)([hd])")


def hours_of(window: str) -> int:
    """Return a window ("36h", "7d") in hours, 0 for what is none."""
    found = _WINDOW.fullmatch(window)
    return int(found[1]) * (24 if found[2] == "d" else 1) if found else 0


def window_problem(preset: str | None, window: str | None) -> str | None:
    """Return what is wrong with a window; None where the service offers it. Without a preset any goes: it may be any service's."""
    if preset is None or window is None or preset not in WINDOWS_H:
        return None
    shortest, longest = WINDOWS_H[preset]
    if shortest <= hours_of(window) <= longest:
        return None
    offered = f"{shortest}h" if shortest == longest else f"{shortest}h to {longest}h"
    return f"completion_window {window!r} is none that {preset} offers: {offered}"
