"""How amounts are written for people: money with as many decimals as its size asks for, shares, counts. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from batchline.requests import NANO

CENTS = 2
_FINEST = 6


def decimals(largest_nano: int) -> int:
    """Return how many decimals show about four significant digits of an amount: at least cents, at most millionths."""
    digits = len(str(abs(largest_nano) * 10 // NANO))
    if abs(largest_nano) >= NANO // 10:
        return max(CENTS, 5 - digits)
    return _FINEST


def dollars(nano: int, places: int) -> str:
    """Write nano-dollars rounded to so many decimals: ``$1,234.50``, ``-$0.02``; nothing at all is ``$0``."""
    if not nano:
        return "$0"
    rounded = (Decimal(nano) / NANO).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    return f"{'-' if rounded < 0 else ''}${abs(rounded):,f}"


def exact(nano: int) -> str:
    """Write nano-dollars in full: ``$1,000.0532525``, ``-$0.02``."""
    return f"{'-' if nano < 0 else ''}${Decimal(abs(nano)) / NANO:,f}"


def percent(share: float | None) -> str:
    """Write a share: ``49.8%``; a dash for none. What is not quite nothing, or not quite all, is not rounded to it."""
    if share is None:
        return "-"
    if 0 < share < 0.0001:
        return "<0.01%"
    if 0.9999 < share < 1:
        return ">99.99%"
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + "%"
