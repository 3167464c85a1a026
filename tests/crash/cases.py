"""The kill matrix: every script, command and provider call that workers make, both sides, every way to die."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SIDES = ("before", "after")
ACTIONS = ("kill", "raise", "hang", "drop")
KINDS = ("openai", "anthropic", "gemini")
BOTH = ("openai", "anthropic")
"""Where Gemini, with files and tags, goes the way of OpenAI."""
Wake = Literal["", "early", "late"]
WAKES: tuple[Wake, ...] = ("early", "late")


@dataclass(frozen=True, order=True, kw_only=True)
class Case:
    """One crash: the point and what happens there, the scenario, and which provider has the trouble."""

    point: str
    action: str
    nth: int
    scenario: str
    kind: str
    celery: bool = False
    """Whether real workers under Celery run it, rather than forked ones."""
    wake: Wake = ""
    """When a process that hangs goes on: as soon as its lease is over, or when all is done."""

    @property
    def charge(self) -> str:
        """The kill point as the environment arms it."""
        return f"{self.point}:{self.action}:{self.nth}"

    def __str__(self) -> str:
        return " ".join(
            [self.charge, self.scenario, self.kind, *["celery"] * self.celery, *[self.wake] * bool(self.wake)]
        )


ANY = ("",)
"""The provider is chosen by the seed: the point does not depend on it."""

PLACES: tuple[tuple[str, int, str, tuple[str, ...]], ...] = (
    # what workers always do
    ("script.tick", 2, "plain", ANY),
    ("script.ticked", 1, "plain", ANY),
    ("script.look", 1, "plain", ANY),
    ("script.walk", 1, "plain", ANY),
    ("script.cut", 1, "plain", ANY),
    ("script.ring", 3, "plain", ANY),
    ("script.expire", 1, "plain", ANY),
    ("script.claim", 1, "plain", ANY),
    ("script.ride", 1, "plain", ANY),
    ("script.ride", 3, "plain", ANY),  # the third batch has retries
    ("script.room", 1, "plain", ANY),
    ("script.room", 3, "plain", ANY),
    ("script.intent", 1, "plain", ANY),
    ("script.intent", 3, "plain", ANY),
    ("script.submitted", 1, "plain", BOTH),
    ("script.release", 1, "plain", ANY),
    ("script.ended", 1, "plain", ANY),
    ("script.settle", 1, "plain", KINDS),
    ("script.settle", 2, "plain", ANY),
    ("script.retry", 1, "plain", BOTH),
    ("script.settled", 1, "plain", BOTH),
    ("script.note", 1, "plain", ANY),
    ("script.renew", 2, "slow", BOTH),
    # what they do in trouble
    ("script.again", 1, "refused", ("openai",)),
    ("script.settle", 1, "refused", ("openai",)),
    ("script.again", 1, "halved", BOTH),
    ("script.split", 1, "halved", BOTH),
    ("script.split", 2, "halved", ANY),
    ("script.split", 1, "overflow", ("openai",)),
    ("script.lower", 1, "full", ("openai",)),
    ("script.again", 1, "full", ("openai",)),
    ("script.outage", 1, "outage", ("openai",)),
    ("script.erred", 1, "outage", ("openai",)),
    ("script.ambiguous", 1, "lost", BOTH),
    ("script.submitted", 1, "lost", KINDS),
    ("script.ambiguous", 1, "absent", BOTH),
    ("script.again", 1, "absent", KINDS),
    ("script.disown", 1, "foreign", ("anthropic",)),
    # what they do when the store has forgotten
    ("script.replaced", 1, "forgotten", BOTH),
    ("script.adopt", 1, "forgotten", BOTH),
    ("script.embark", 1, "forgotten", KINDS),
    ("script.embark", 2, "forgotten", BOTH),
    ("provider.openai.sent", 1, "forgotten", ("openai",)),
    ("provider.gemini.sent", 1, "forgotten", ("gemini",)),
    # every call to a provider
    ("provider.openai.cancel", 1, "revoked", ("openai",)),
    ("provider.anthropic.cancel", 1, "revoked", ("anthropic",)),
    ("provider.gemini.cancel", 1, "revoked", ("gemini",)),
    ("provider.openai.recent", 1, "plain", ("openai",)),
    ("provider.anthropic.recent", 1, "plain", ("anthropic",)),
    ("provider.gemini.recent", 1, "plain", ("gemini",)),
    ("provider.openai.upload", 1, "plain", ("openai",)),
    ("provider.openai.uploads", 1, "plain", ("openai",)),
    ("provider.gemini.upload", 1, "plain", ("gemini",)),
    ("provider.gemini.uploads", 1, "plain", ("gemini",)),
    ("provider.openai.storage", 1, "plain", ("openai",)),
    ("provider.anthropic.storage", 1, "plain", ("anthropic",)),  # it has no files, and says so
    ("provider.gemini.storage", 1, "plain", ("gemini",)),
    ("provider.openai.create", 1, "plain", ("openai",)),
    ("provider.anthropic.create", 1, "plain", ("anthropic",)),
    ("provider.gemini.create", 1, "plain", ("gemini",)),
    ("provider.openai.find", 1, "lost", ("openai",)),
    ("provider.anthropic.find", 1, "lost", ("anthropic",)),
    ("provider.gemini.find", 1, "lost", ("gemini",)),
    ("provider.openai.find", 1, "absent", ("openai",)),
    ("provider.anthropic.find", 1, "absent", ("anthropic",)),
    ("provider.gemini.find", 1, "absent", ("gemini",)),
    ("provider.openai.poll", 1, "plain", ("openai",)),
    ("provider.anthropic.poll", 1, "plain", ("anthropic",)),
    ("provider.gemini.poll", 1, "plain", ("gemini",)),
    ("provider.openai.results", 1, "plain", ("openai",)),
    ("provider.anthropic.results", 1, "plain", ("anthropic",)),
    ("provider.gemini.results", 1, "plain", ("gemini",)),
    ("provider.openai.results.row", 1, "plain", ("openai",)),
    ("provider.anthropic.results.row", 1, "plain", ("anthropic",)),
    ("provider.openai.results.row", 5, "plain", ("openai",)),
    ("provider.anthropic.results.row", 5, "plain", ("anthropic",)),
    ("provider.gemini.results.row", 1, "plain", ("gemini",)),
    ("provider.gemini.results.row", 5, "plain", ("gemini",)),
    ("provider.openai.delete_file", 1, "absent", ("openai",)),
    ("provider.gemini.delete_file", 1, "absent", ("gemini",)),
    # what else leaves the process
    ("script.carried", 1, "plain", ANY),
    ("script.owed", 1, "plain", ANY),
    ("command.hdel", 1, "outage", ("openai",)),
    ("command.hget", 1, "plain", ANY),
    ("command.hgetall", 1, "plain", ANY),
    ("command.hkeys", 1, "plain", ANY),
    ("command.hset", 1, "plain", ANY),
    ("command.info", 1, "plain", ANY),
    ("command.mget", 1, "lost", ("anthropic",)),
    ("command.sscan", 1, "forgotten", ("anthropic",)),
    ("command.zrange", 1, "plain", ANY),
    ("commands", 1, "lost", ("anthropic",)),
    ("doorbell.submit", 1, "plain", ANY),
    ("doorbell.poll", 1, "plain", ANY),
)
"""Point, which time that the process comes by, scenario, and the providers to try it with."""

_CLIENT = "producers, consumers and operators call it, workers never do"
_FILES_KEPT = "provider files are deleted an hour after settling at the earliest; tests/engine/test_engine_files.py"
_NO_FILES = "this provider's batches are made without files"
_SHARED = "only for callback queues with a name, before a settling that has its own cases; tests/engine/test_engine_pressure.py"
_RIDERS = "only for a rider that another batch answered meanwhile; tests/engine/test_engine_riders.py"
_WAITS = "what follows is a minute's wait at least; tests/engine/test_engine_no_room.py"
_REALTIME = "nothing answers in real time yet"

NEVER: dict[str, str] = {
    "script.duplicate": "only once two batches exist for one attempt, which no single death makes; tests/engine/test_engine_reconcile.py",
    **{
        f"script.{name}": _CLIENT
        for name in (
            *("enqueue", "cancel", "revoke", "take", "reclaim", "redrive", "drop"),
            *("depths", "find", "letters", "prune", "discard"),
        )
    },
    **{
        f"command.{name}": _CLIENT
        for name in (
            *("acknowledge", "blmove", "config get", "expire", "get", "lindex", "lrange", "ping", "time"),
            *("xinfo stream", "zscan", "zscore"),
            *("sadd", "scan", "zcount"),
        )
    },
    "command.zadd": _FILES_KEPT,
    "command.zrem": _RIDERS,
    "script.length": _SHARED,
    "script.deleted": _FILES_KEPT,
    "script.defer": _WAITS,
    "provider.anthropic.sent": _NO_FILES,
    "provider.anthropic.upload": _NO_FILES,
    "provider.anthropic.uploads": _NO_FILES,
    "provider.anthropic.delete_file": _NO_FILES,
    "provider.openai.call": _REALTIME,
    "provider.anthropic.call": _REALTIME,
    "provider.gemini.call": _REALTIME,
}
"""Scripts, commands and verbs that the matrix leaves out, each with its reason. The lint test holds it against the code."""


BY_CELERY: tuple[tuple[str, str, str, str], ...] = (
    ("script.cut.after", "kill", "plain", "openai"),
    ("script.intent.after", "hang", "plain", "openai"),
    ("provider.openai.create.before", "kill", "plain", "openai"),
    ("provider.openai.create.after", "kill", "plain", "openai"),
    ("provider.anthropic.create.after", "hang", "plain", "anthropic"),
    ("provider.anthropic.create.after", "drop", "plain", "anthropic"),
    ("script.submitted.before", "raise", "plain", "anthropic"),
    ("script.settle.after", "kill", "plain", "openai"),
    ("script.settled.before", "kill", "plain", "anthropic"),
    ("doorbell.submit.after", "kill", "plain", "openai"),
    ("doorbell.poll.before", "drop", "plain", "openai"),
)
"""Point, action, scenario and provider of the cases under Celery: a start costs seconds, so there are few."""


def all_cases(seed: int) -> list[Case]:
    """Return the whole matrix, in an order and with free choices drawn from the seed."""
    dice = random.Random(seed)
    cases = list(_all(dice))
    dice.shuffle(cases)
    return cases


def third(cases: list[Case], shard: str) -> list[Case]:
    """Return the part ``1/3`` of the cases (any ``i/n``)."""
    index, _, count = shard.partition("/")
    return cases[int(index) - 1 :: int(count or 1)]


def _all(dice: random.Random) -> Iterator[Case]:
    for point, nth, scenario, kinds in PLACES:
        for side in SIDES:
            for action in ACTIONS:
                for kind in kinds:
                    where = kind or dice.choice(KINDS)
                    yield Case(
                        point=f"{point}.{side}",
                        action=action,
                        nth=nth,
                        scenario=scenario,
                        kind=where,
                        wake=_wake(action, dice),
                    )
    for point, action, scenario, kind in BY_CELERY:
        wake = _wake(action, dice)
        yield Case(point=point, action=action, nth=1, scenario=scenario, kind=kind, celery=True, wake=wake)


def _wake(action: str, dice: random.Random) -> Wake:
    return dice.choice(WAKES) if action == "hang" else ""
