"""Times and sizes as people write them: ``90s``, ``15m``, ``6h``, ``1d``; ``64MiB``, ``64MB``, ``8KiB``."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

_TIME = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_NUMBER = r"(\d+(?:\.\d+)?)\s*"


def parse_seconds(value: object) -> float:
    """Return a time in seconds, from a number of seconds or text such as ``90s``; raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    found = re.fullmatch(_NUMBER + "([smhd]?)", value.strip().lower(), re.ASCII) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a time: write seconds, or text such as 90s, 15m, 6h, 1d")
    return float(found[1]) * _TIME[found[2] or "s"]


def parse_bytes(value: object) -> int:
    """Return a size in bytes, from a number of bytes or text such as ``64MiB`` (2^20) or ``64MB`` (10^6); raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(_NUMBER + "([kmg]?i?)b?", value.strip().lower(), re.ASCII) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZE:
        raise ValueError(f"{value!r} is not a size: write bytes, or text such as 8KiB, 64MiB, 64MB")
    return int(float(found[1]) * _SIZE[found[2]]) if "." in found[1] else int(found[1]) * _SIZE[found[2]]


Seconds = Annotated[float, BeforeValidator(parse_seconds)]
"""A time in seconds."""

Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""A size in bytes."""
