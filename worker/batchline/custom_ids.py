"""The ``custom_id`` of a rendered row: which attempt, lane, entry and request it belongs to. Pure.

Form: ``nonce_lanehash_ms-seq_check``, at most 62 characters of ``[A-Za-z0-9_-]`` (the providers allow 64):

- nonce: 10 characters ``[a-z2-7]``, drawn anew for each attempt to create a batch
- lanehash: BLAKE2s of the lane's name, 8 hex digits
- ms-seq: the entry id in hex without leading zeros, so that the largest one, 2^64-1 twice, fits too
- check: BLAKE2s of the request's id, 8 hex digits; settle compares it, so a result is never given to another request
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from hashlib import blake2s

import msgspec

NONCE_CHARS = 10
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_HEX64 = "0|[1-9a-f][0-9a-f]{0,15}"
_FORM = re.compile(rf"([a-z2-7]{{{NONCE_CHARS}}})_([0-9a-f]{{8}})_({_HEX64})-({_HEX64})_([0-9a-f]{{8}})")


class CustomId(msgspec.Struct, frozen=True):
    """A parsed custom_id; ``entry_id`` is the entry's id as the store writes it, ``ms-seq`` in decimal."""

    nonce: str
    lane_hash: str
    entry_id: str
    check: str


def new_nonce(random: random.Random) -> str:
    """Return a fresh nonce of 50 random bits."""
    return "".join(random.choices(_ALPHABET, k=NONCE_CHARS))


def make(nonce: str, lane: str, entry_id: str, request_id: str) -> str:
    """Return the custom_id of one row. ``entry_id`` is the store's ``ms-seq``; each number fits 64 bits there."""
    ms, seq = entry_id.split("-")
    return f"{nonce}_{lane_hash(lane)}_{int(ms):x}-{int(seq):x}_{check(request_id)}"


def parse(text: str) -> CustomId | None:
    """Take a custom_id apart; None when it is not one of ours. The inverse of ``make``, with one text for each id."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    nonce, lane, ms, seq, request = found.groups()
    return CustomId(nonce, lane, f"{int(ms, 16)}-{int(seq, 16)}", request)


def matches(custom_id: CustomId, lane: str, request_id: str) -> bool:
    """Tell whether a result's custom_id was made for this lane and this request."""
    return custom_id.lane_hash == lane_hash(lane) and custom_id.check == check(request_id)


@lru_cache(maxsize=4096)
def lane_hash(lane: str) -> str:
    """Return the 8 hex digits that stand for a lane."""
    return _hash(lane)


def check(request_id: str) -> str:
    """Return the 8 hex digits that stand for a request's id."""
    return _hash(request_id)


def _hash(text: str) -> str:
    return blake2s(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
