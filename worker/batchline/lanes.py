"""Pure rules: what a lane is, when its open range is due, when to poll next, how long to back off.

No clock and no dice of its own: time (unix ms) and randomness come in as arguments.
"""

from __future__ import annotations

import random
import re
from typing import Literal

import msgspec

from batchline.errors import InvalidRequest

Trigger = Literal["requests", "bytes", "tokens", "age", "drain", "deadline"]

LANE_NAME = re.compile(r"[A-Za-z0-9._:/@|=,+-]{1,200}\Z")
PARTS = frozenset({"tenant", "beta", "version"})
"""What may follow a bar in a lane's name."""
POLL_SHARE = 0.05
"""A batch's end is seen within this share of its age."""


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's name taken apart. ``base`` is ``account:endpoint:model``, the name that metrics and the ledger use."""

    name: str
    account: str
    endpoint: str
    model: str
    tenant: str | None = None
    beta: str | None = None
    version: str | None = None
    """The API version that its requests need, where a provider has such (Anthropic)."""

    @property
    def base(self) -> str:
        """Return the name without the parts after the bar."""
        return f"{self.account}:{self.endpoint}:{self.model}"


def parse_lane(name: str) -> Lane:
    """Take a lane's name apart; raises InvalidRequest (``not_configured``) when it is not one."""
    if not LANE_NAME.match(name):
        raise InvalidRequest(
            "the lane's name may hold only A-Z a-z 0-9 . _ : / @ | = , + - and at most 200 of them",
            code="not_configured",
        )
    base, *parts = name.split("|")
    head = base.split(":", 2)
    if len(head) != 3 or not all(head):
        raise InvalidRequest(f"lane {name}: a lane is named account:endpoint:model", code="not_configured")
    options = _lane_parts(name, parts)
    account, endpoint, model = head
    return Lane(name=name, account=account, endpoint=endpoint, model=model, **options)


def _lane_parts(name: str, parts: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in PARTS or not value or key in options:
            raise InvalidRequest(
                f"lane {name}: what follows a bar is tenant=NAME, beta=HEADER or version=DATE, each once",
                code="not_configured",
            )
        options[key] = value
    return options


def lane_name(
    *,
    account: str,
    endpoint: str,
    model: str,
    tenant: str | None = None,
    beta: str | None = None,
    version: str | None = None,
) -> str:
    """Build a lane's name and check it; raises InvalidRequest."""
    name = f"{account}:{endpoint}:{model}"
    name += f"|beta={beta}" if beta else ""
    name += f"|version={version}" if version else ""
    name += f"|tenant={tenant}" if tenant else ""
    return parse_lane(name).name


class OpenRange(msgspec.Struct, frozen=True, kw_only=True):
    """What the walk has added up since the last cut. Bytes are of rendered rows, tokens are an estimate of the input.

    ``full`` names the flush limit at which the walk stopped; ``since_ms`` is the time of the first entry, ``retry_ms`` the
    earliest not-before of the retry pool.
    """

    lane: str
    since_ms: int = 0
    last: str = "0-0"
    requests: int = 0
    bytes: int = 0
    tokens: int = 0
    full: Trigger | None = None
    retry_ms: int | None = None
    cut_ms: int = 0
    """When a range of the lane was cut last, 0 for never."""
    unwalked: bool = False
    """Whether entries beyond ``last`` wait to be walked."""


def entry_ms(entry: str) -> int:
    """Return the time at which an entry was enqueued, unix ms: an entry id is ``ms-sequence``."""
    return int(entry.split("-", 1)[0])


def due(open_range: OpenRange, *, max_age_s: float, now_ms: int) -> Trigger | None:
    """Return why a lane is due for a cut, or None: a full range, its first entry's age, or a retry whose time came."""
    if open_range.full:
        return open_range.full
    if open_range.requests and now_ms - open_range.since_ms >= max_age_s * 1000:
        return "age"
    if open_range.retry_ms is not None and open_range.retry_ms <= now_ms:
        return "age"
    return None


def next_poll_s(age_s: float, *, min_interval_s: float, max_interval_s: float) -> float:
    """Return the seconds to wait before a batch of this age is polled again.

    The larger of the minimum interval and 5 % of the age, at most the maximum: a batch of 6 h costs at most 120 polls
    with the defaults.
    """
    return min(max_interval_s, max(min_interval_s, POLL_SHARE * age_s))


def backoff_s(failures: int, *, min_s: float, max_s: float, dice: random.Random) -> float:
    """Return the seconds to wait after so many failures in a row (1 = the first): doubling, capped, jittered downwards by half."""
    ceiling = min(max_s, min_s * 2.0 ** min(failures - 1, 32))
    return ceiling * (0.5 + dice.random() / 2)
