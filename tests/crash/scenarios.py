"""What the workers of one crash case have to do, and what must have come of it, whoever died meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

CHAT = "openai:chat:gpt-5-mini"
SECOND = f"{CHAT}|tenant=second"
EMBED = "openai:embeddings:text-embedding-3-small"
HAIKU = "anthropic:messages:claude-haiku-4-5"
FLASH = "gemini:generate:gemini-2.5-flash"
LANES = {"openai": CHAT, "anthropic": HAIKU, "gemini": FLASH}
GUILTY = "guilty"
ROLES = ("accumulate", "poll")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request: its lane, id and body, and how it must end ('': answered or cancelled). ``errors``: executions that end in an error, uncharged."""

    lane: str
    id: str
    body: str
    status: str = "succeeded"
    errors: int = 0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is asked, and what the workers' surroundings are made to do, so that a certain script is called.

    ``guilty``: the provider refuses each create that has a guilty row. ``slow_s``: time between two results.
    ``max_enqueued``: the tokens (of two bytes each) that OpenAI takes of a model at one time, 0 for any number.
    ``revoke``: what a batch at its provider carries is cancelled. ``max_inputs``: a small limit of a batch. ``unchecked``: what only a provider should see is not refused before. ``foreign``: another application's batch of as many rows at Anthropic.
    ``forgotten``: before the first worker starts, another one submits all of it and dies, the batches end, and the store
    loses everything since the requests were accepted. ``roles``: what the first worker ticks for. ``with_charges`` are kill points armed besides the case's own, in the first worker.
    """

    asks: tuple[Ask, ...]
    guilty: bool = False
    slow_s: float = 0.0
    max_inputs: int = 0
    unchecked: bool = False
    max_enqueued: int = 0
    foreign: int = 0
    revoke: bool = False
    forgotten: bool = False
    roles: tuple[str, ...] = ROLES
    latency_s: float = 0.6
    with_charges: tuple[str, ...] = ()


def scenario(name: str, kind: str) -> Scenario:
    """Return a scenario by name; ``kind`` is the provider that gets the trouble."""
    return SCENARIOS[name](kind)


def body(lane: str, text: str) -> str:
    """Return a provider's body for a lane with this text as the user's message."""
    model = lane.partition("|")[0].rpartition(":")[2]
    if lane == EMBED:
        return json.dumps({"model": model, "input": [f"{text} a", f"{text} b"]})
    if lane == FLASH:
        return json.dumps({"contents": [{"role": "user", "parts": [{"text": text}]}]})
    more = {"max_tokens": 64} if lane == HAIKU else {}
    return json.dumps({"model": model, **more, "messages": [{"role": "user", "content": text}]})


def _asks(lane: str, count: int, *, mark: str = "") -> list[Ask]:
    return [Ask(lane=lane, id=f"r{n}{mark}", body=body(lane, f"{lane} question {n} {mark}")) for n in range(count)]


def _marked(lane: str) -> list[Ask]:
    """Gemini's jobs expire as a whole, so there no single request does."""
    once = Ask(lane=lane, id="fail", body=body(lane, f"{lane} [[fail-once]]"), errors=1)
    if lane == FLASH:
        return [once]
    return [once, Ask(lane=lane, id="expire", body=body(lane, f"{lane} [[expire-once]]"))]


def _guilty(lane: str, *, seen_by_validation: bool) -> Ask:
    text = json.dumps({"model": lane.rpartition(":")[2]}) if seen_by_validation else body(lane, GUILTY)
    return Ask(lane=lane, id=GUILTY, body=text, status="failed")


def _plain(kind: str) -> Scenario:
    """Both lanes, retries in both; one lane has more, so that two batches never have as many rows."""
    other = next(lane for each, lane in LANES.items() if each != kind)
    mine = LANES[kind]
    return Scenario(asks=(*_asks(mine, 5), *_marked(mine), *_asks(other, 3), *_marked(other)))


def _halved(kind: str) -> Scenario:
    lane = LANES[kind]
    return Scenario(asks=(*_asks(lane, 5), *_marked(lane), _guilty(lane, seen_by_validation=False)), guilty=True)


def _refused(_kind: str) -> Scenario:
    return Scenario(
        asks=(*_asks(CHAT, 5), *_marked(CHAT), _guilty(CHAT, seen_by_validation=True), *_asks(HAIKU, 3)), unchecked=True
    )


def _overflow(_kind: str) -> Scenario:
    return Scenario(asks=(*_asks(EMBED, 8), *_asks(HAIKU, 3)), max_inputs=6)


def _full(_kind: str) -> Scenario:
    """Two lanes of one model, whose batches together are more than OpenAI takes of it."""
    return Scenario(asks=(*_asks(CHAT, 7), *_asks(SECOND, 5)), max_enqueued=170, latency_s=1.5)


def _slow(kind: str) -> Scenario:
    lane = LANES[kind]
    return Scenario(asks=(*_asks(lane, 8), *_marked(lane)), slow_s=0.15)


def _revoked(kind: str) -> Scenario:
    asks = [replace(ask, status="") for ask in _asks(LANES[kind], 10)]
    return Scenario(asks=tuple(asks), revoke=True, latency_s=4.0)


def _forgotten(kind: str) -> Scenario:
    """Without tags, a forgotten batch is found only when it has ended; so there is one lane, and its batch has.

    Who polls might settle such a batch before the audit has brought its requests aboard; so the first does not poll.
    """
    lane = LANES[kind]
    return Scenario(asks=(*_asks(lane, 5), *_marked(lane)), forgotten=True, roles=("accumulate",))


def _foreign(_kind: str) -> Scenario:
    charge = "provider.anthropic.create.before:drop"
    return Scenario(asks=(*_asks(HAIKU, 5), *_marked(HAIKU)), foreign=7, with_charges=(charge,))


def _with(*charges: str) -> Callable[[str], Scenario]:
    def made(kind: str) -> Scenario:
        plain = _plain(kind)
        return Scenario(asks=plain.asks, with_charges=tuple(charge.format(kind=kind) for charge in charges))

    return made


SCENARIOS: dict[str, Callable[[str], Scenario]] = {
    "plain": _plain,
    "halved": _halved,
    "refused": _refused,
    "overflow": _overflow,
    "full": _full,
    "slow": _slow,
    "foreign": _foreign,
    "revoked": _revoked,
    "forgotten": _forgotten,
    "lost": _with("provider.{kind}.create.after:drop"),
    "absent": _with("provider.{kind}.create.before:drop"),
    "outage": _with("provider.{kind}.upload.before:drop"),
    "deaf": _with("provider.{kind}.create.after:drop", "provider.{kind}.find.before:drop"),
}
