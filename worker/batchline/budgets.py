"""Pure rules of budgets: what may be enqueued at a provider at one time, how large a range may grow, what a batch has in tokens.

A provider limits the tokens (OpenAI, Gemini: of each model) or the requests (Anthropic: of all models together) that it holds
unfinished. A pool is the name under which their use is summed: the model, or the pattern of a budget that models share (``all``
for that of all models), or that lanes share.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Protocol

import msgspec

ALL = "all"
SLIVER = 0.05
"""The share of a budget that is kept for small batches of lanes that have nothing open: ten requests do not wait behind a million."""
PARTS = 4
"""A lane fills its budget with so many batches, so that room comes back bit by bit."""
NO_LIMIT = 10**9
"""Stands for "any number of them" where a number is wanted."""
BYTES_PER_TOKEN = 4.0
"""Bytes of a body per token of its input, until a lane's own answers tell better."""
SAFE = 0.95
"""Estimates are kept on the safe side by so much: a batch of more tokens than thought is refused as a whole."""
SETTLES_AT = 100
"""Answers of a batch with so many rows weigh as much as all that was known before."""
TELLING = 0.9
"""Share of a batch's rows that must have succeeded for its usage to tell something."""


Unit = Literal["tokens", "requests"]
"""What a budget counts."""


class Limit(Protocol):
    """A budget as it is configured or documented."""

    @property
    def match(self) -> str:
        """Return the glob pattern over models."""

    @property
    def tokens(self) -> int | None:
        """Return the most tokens."""

    @property
    def requests(self) -> int | None:
        """Return the most requests."""

    @property
    def shared(self) -> bool:
        """Return whether all models that match share it."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and its limits, None where none is known."""

    name: str
    tokens: int | None = None
    requests: int | None = None
    rules: str = ""
    """Which pool each lane of the account counts in, for the store's scripts (``rules_of``); '' where they go by what was noted."""

    @property
    def unit(self) -> Unit:
        """Return what this budget counts where a provider says that it is full."""
        return "requests" if self.requests and not self.tokens else "tokens"


Short = Literal["", "tokens", "requests", "open", "creates"]
"""What there is no room in; '' where there is."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a batch may be sent now as far as its account's room goes, and the limits of its budget as they are believed."""

    limits: Pool
    short: Short = ""

    @property
    def fits(self) -> bool:
        """Return whether nothing is short."""
        return not self.short


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What a settled batch tells of its lane: bytes of body per token (0: nothing), and how much that weighs (0 to 1)."""

    per_token: float = 0.0
    weight: float = 0.0
    default: float = BYTES_PER_TOKEN


NOTHING_OBSERVED = Observed()


def pool_of(model: str, limits: Iterable[Limit]) -> Pool:
    """Return a model's pool by the first budget that matches; without one it is a pool without limits."""
    for limit in limits:
        if fnmatchcase(model, limit.match):
            return Pool(name=shared_name(limit) or model, tokens=limit.tokens, requests=limit.requests)
    return Pool(name=model)


def shared_name(limit: Limit) -> str:
    """Return the name of the pool that all models of a budget share, '' where each has its own."""
    return (ALL if limit.match == "*" else limit.match) if limit.shared else ""


def lane_pool(match: str) -> str:
    """Return the name of the pool that lanes of a pattern share: it has a blank, which no model's has, and no bar."""
    return f"lanes {match.replace('|', ';')}"


@functools.lru_cache(maxsize=100)
def rules_of(limits: tuple[Limit, ...], lanes: tuple[str, ...] = ()) -> str:
    """Return an account's budgets as the store's scripts read them (JSON): Lua pattern, shared name, and what it is held against.

    That is the lane's name (true) for the patterns of ``lanes``, which come first, else the model's. Budgets may change while
    batches are open: what these take counts in the pool that their lane is in now.
    """
    of_lanes = [(lua_pattern(match), lane_pool(match), True) for match in lanes]
    of_models = [(lua_pattern(limit.match), shared_name(limit), False) for limit in limits]
    return msgspec.json.encode(of_lanes + of_models).decode()


_GLOB = re.compile(r"\*+|\?|\[(!|(?!!))(\][^\]]*|[^\]]+)\]|.", re.DOTALL)
_SPECIAL = re.compile(r"[%\]^]")


def lua_pattern(glob: str) -> str:
    """Return a Lua pattern that matches just what a glob pattern (``fnmatchcase``) does."""
    return f"^{_GLOB.sub(_in_lua, glob)}$"


def _in_lua(part: re.Match[str]) -> str:
    told, inverted, members = part[0], part[1], part[2]
    if told.startswith("*"):
        return ".*"
    if told == "?":
        return "."
    if members is None:
        return _literal(told)
    escaped = _SPECIAL.sub(r"%\g<0>", members)
    return f"[^{escaped}]" if inverted else f"[{escaped}]"


def _literal(character: str) -> str:
    return character if character.isalnum() or not character.isascii() else f"%{character}"


def lower_of(pool: Pool, believed: Pool) -> Pool:
    """Return a pool with the lower of two limits each."""
    return Pool(
        name=pool.name, tokens=_lower(pool.tokens, believed.tokens), requests=_lower(pool.requests, believed.requests)
    )


def _lower(one: int | None, other: int | None) -> int | None:
    return min(one, other) if one and other else one or other


def most_in_range(limit: int | None) -> int | None:
    """Return how much of a budget one range may take, so that a lane fills what it may have in whole batches."""
    return None if limit is None else max(1, math.floor(limit * (1 - SLIVER) / PARTS))


def estimate(size: int, per_token: float) -> int:
    """Return the tokens of a body of so many bytes, at ``per_token`` bytes each (0: not known yet)."""
    return math.ceil(size / (per_token or BYTES_PER_TOKEN))


def observed(*, rows: int, succeeded: int, body_bytes: int, input_tokens: int) -> Observed:
    """Return what the answers of a batch tell of the bytes per token in its lane, on the safe side."""
    if not rows or not input_tokens or succeeded < rows * TELLING:
        return NOTHING_OBSERVED
    per_token = SAFE * body_bytes * (succeeded / rows) / input_tokens
    return Observed(per_token=per_token, weight=rows / (rows + SETTLES_AT))
