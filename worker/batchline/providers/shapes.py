"""What a service may tell in another shape than promised: it is not told then, and stops neither its object nor its list.

Services that are only compatible write null for an empty list, a number for an id, or counts of a kind of their own. Without
its id an object is nothing: it is not what was promised.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from batchline.providers.lines import is_told

T = TypeVar("T")

if TYPE_CHECKING:
    Text = str
else:  # decoded as it comes, and put right by `mend`
    Text = Any

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
"""A number of rows; what is beyond is none."""

_LATEST_MS = 253_402_300_800_000
"""The year 10,000."""


def mend(struct: msgspec.Struct, *names: str) -> None:
    """Put these fields of an object that was just decoded right: each is a text, empty where nothing is told.

    Raises ValueError where "id" is one of them and is empty; msgspec makes a ValidationError of it.
    """
    for name in names:
        text = _text(getattr(struct, name))
        if name == "id" and not text:
            raise ValueError("an object without its id")
        msgspec.structs.force_setattr(struct, name, text)


def shaped(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return a field that was left raw, None where it is missing, null, or of another shape."""
    if not is_told(raw):
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def unix_ms(seconds: float) -> int:
    """Return a time as unix ms, 0 (not told) for what is no time."""
    return int(seconds * 1000) if 0 < seconds < _LATEST_MS / 1000 else 0


def time_ms(told: object) -> int:
    """Return a time that is told in unix seconds or as a text (ISO 8601; UTC without a zone) as unix ms, 0 for what is none."""
    if isinstance(told, str):
        try:
            read = datetime.fromisoformat(told)
            told = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return 0
    return unix_ms(told) if isinstance(told, (int, float)) and not isinstance(told, bool) else 0


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""
