"""Checks of everything that batchline needs of its surroundings: the store, its clock, the accounts' keys, the workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from batchline.errors import KeyRefused, ProviderError, StoreError, StoreUnreachable, UsageError
from batchline.providers.protocol import Job, Provider
from batchline.settings import Account, Settings
from batchline.settings.rules import Durability, Pressure
from batchline.spool import trouble
from batchline.store import Store
from batchline.store.server import ServerFacts

Level = Literal["ok", "warn", "fail"]
ROLES = ("accumulate", "poll")
TICK_AGE_S = 30.0
SKEW_WARN_S = 1.0
SKEW_FAIL_S = 5.0
OLDEST = (7, 0)
"""The oldest version of Redis whose scripts may declare flags. Source: redis.io/docs/latest/develop/programmability/eval-intro"""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: what is so, and what to do about it, if anything."""

    name: str
    level: Level
    found: str
    advice: str = ""


def examine(
    settings: Settings,
    store: Store,
    *,
    clock: Callable[[], int],
    environ: Mapping[str, str],
    provider: Callable[[str], Provider] | None = None,
) -> Iterator[Check]:
    """Check everything, in order; ``clock`` gives unix ms. With ``provider``, each account with a key is also called once.

    A store that cannot be reached is the check ``store`` with ``fail``; the checks that need it are left out.
    """
    used = None
    yield check_spool(settings.spool_dir)
    try:
        store.ping()
        yield _ok("store", "answers")
        facts = store.server.facts()
        yield from check_server(facts, settings.pressure, settings.durability)
        yield check_clock(_skew_s(store, clock))
        yield from check_ticks(store.last_ticks(), now_ms=clock())
        used = {lane.split(":", 1)[0] for lane in store.intake.lanes()}
    except StoreUnreachable as error:
        yield Check(name="store", level="fail", found=str(error), advice="start it, or set BATCHLINE_REDIS_URL")
    except StoreError as error:
        yield _fail("commands", str(error), "let batchline's user run INFO, TIME, PING and its own commands")
    for name, account in settings.accounts.items():
        key = check_key(name, account, environ, needed=used is not None and name in used)
        yield key
        if provider is not None and key.level == "ok":
            yield check_provider(name, provider(name), now_ms=clock())


def reachable(checks: Iterable[Check]) -> bool:
    """Tell whether the store could be reached."""
    return not any(check.name == "store" and check.level == "fail" for check in checks)


def check_server(facts: ServerFacts, pressure: Pressure, durability: Durability) -> Iterator[Check]:
    """Check a store's version, role, eviction, persistence, memory and replicas."""
    yield _version(facts)
    if facts.role != "master":
        yield _fail(
            "role", f"the store is a {facts.role or 'server of unknown role'}", "set BATCHLINE_REDIS_URL to the primary"
        )
    yield _eviction(facts)
    yield from _persistence(facts)
    yield _memory(facts, pressure)
    yield _replicas(facts, durability)


def _version(facts: ServerFacts) -> Check:
    found = f"{facts.product} {facts.version}"
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2])
    if facts.product == "Redis" and numbers < OLDEST:
        return _fail("version", found, "run Redis 7.0 or newer, or Valkey")
    return _ok("version", found)


def _eviction(facts: ServerFacts) -> Check:
    if facts.policy == "noeviction":
        return _ok("eviction", "maxmemory-policy noeviction")
    found = f"maxmemory-policy {facts.policy or 'unknown'}: the store may delete requests and replies when it is full"
    return _fail("eviction", found, "CONFIG SET maxmemory-policy noeviction")


def _persistence(facts: ServerFacts) -> Iterator[Check]:
    if not facts.append_only:
        yield _fail(
            "appendonly", "off: a restart of the store loses requests and the trace of paid batches", "appendonly yes"
        )
        return
    yield _ok("appendonly", "on")
    yield _fsync(facts.fsync)
    if facts.last_write_ok:
        yield _ok("aof", "the last write of the append-only file succeeded")
    else:
        yield _fail(
            "aof", "the last write of the append-only file failed", "look for a full or broken disk at the store"
        )


def _fsync(fsync: str | None) -> Check:
    if fsync == "always":
        return _ok("appendfsync", "always: what is acknowledged is on disk")
    if fsync == "everysec":
        return _warn(
            "appendfsync",
            "everysec: a power loss at the store may lose its last second: requests accepted and replies delivered then, "
            "and marks of what was settled (paid batches are found again by the audit)",
            "appendfsync always, unless that is too slow",
        )
    if fsync is None:
        return _warn("appendfsync", "cannot be read here", "see that the service says `always`, or at least `everysec`")
    return _fail("appendfsync", f"{fsync}: a power loss at the store may lose half a minute", "appendfsync always")


def _memory(facts: ServerFacts, pressure: Pressure) -> Check:
    used = f"{facts.used / 2**20:,.0f} MiB"
    if not facts.limit:
        return _warn(
            "memory",
            f"{used} in use, no maxmemory: a full machine ends the store before batchline can refuse work",
            "set maxmemory to about three quarters of the memory that the store may use",
        )
    share = facts.used / facts.limit
    found = f"{used} of {facts.limit / 2**20:,.0f} MiB in use ({share:.0%})"
    if share >= pressure.pause_above:
        return _fail("memory", f"{found}: settling pauses", "raise maxmemory, or collect replies and drop dead letters")
    if share >= pressure.refuse_above:
        return _warn(
            "memory", f"{found}: new requests are refused", "raise maxmemory, or collect replies and drop dead letters"
        )
    return _ok("memory", found)


def _replicas(facts: ServerFacts, durability: Durability) -> Check:
    found = f"{facts.replicas} connected, durability.replicas is {durability.replicas}"
    if facts.replicas >= durability.replicas:
        return _ok("replicas", found)
    return _fail(
        "replicas", f"{found}: no batch can be created", "connect the replicas, or lower BATCHLINE_DURABILITY__REPLICAS"
    )


def check_clock(skew_s: float) -> Check:
    """Check how far the store's clock is ahead of this machine's, in seconds."""
    ahead = "ahead of" if skew_s >= 0 else "behind"
    found = f"the store is {abs(skew_s):.2f} s {ahead} this machine"
    if abs(skew_s) > SKEW_FAIL_S:
        return _fail("clock", f"{found}: ages and deadlines are wrong", "let both follow a time server (NTP)")
    if abs(skew_s) > SKEW_WARN_S:
        return _warn("clock", found, "let both follow a time server (NTP)")
    return _ok("clock", found)


def _skew_s(store: Store, clock: Callable[[], int]) -> float:
    before = clock()
    theirs = store.server.clock_ms()
    after = clock()
    # What the call itself took is not known better than this: the clock was read somewhere between the two.
    return 0.0 if before <= theirs <= after else (theirs - (before + after) / 2) / 1000


def check_spool(folder: Path | None) -> Check:
    """Check that inputs of batches can be written where they lie until they are uploaded."""
    if problem := trouble(folder):
        return _fail(
            "spool", f"{problem}: no batch can be sent from here", "set spool_dir to a folder that can be written"
        )
    return _ok("spool", f"{folder or 'the folder for temporary files'} can be written")


def check_ticks(ticks: Mapping[str, int], *, now_ms: int) -> Iterator[Check]:
    """Check when each role's tick last did its work; ``ticks`` are unix ms by role."""
    for role in ROLES:
        name, advice = f"tick {role}", "start a worker: batchline worker"
        if role not in ticks:
            yield _warn(name, "no worker has ever ticked", advice)
        elif (age_s := (now_ms - ticks[role]) / 1000) > TICK_AGE_S:
            yield _fail(name, f"the last was {age_s:,.0f} s ago: nothing is cut, sent or polled", advice)
        else:
            yield _ok(name, f"{max(age_s, 0.0):.1f} s ago")


def check_key(name: str, account: Account, environ: Mapping[str, str], *, needed: bool) -> Check:
    """Check that an account has a key; without one it fails only if lanes need it. The key is never shown."""
    try:
        account.read_key(name, environ)
    except UsageError as error:
        found = str(error).removeprefix(f"account {name}: ")
        return Check(
            name=f"account {name}",
            level="fail" if needed else "warn",
            found=found,
            advice="" if needed else "no lane needs it so far",
        )
    return _ok(f"account {name}", "has a key")


def check_provider(name: str, provider: Provider, *, now_ms: int) -> Check:
    """Check that an account's provider answers, by listing what was created in the last moments: that costs nothing."""
    title = f"provider {name}"
    try:
        provider.find(Job(batch_id="doctor", nonce="doctor", endpoint="", model="", rows=0, intent_ms=now_ms))
    except KeyRefused as error:
        return _fail(title, str(error), "set the account's key right")
    except ProviderError as error:
        return _fail(title, str(error), "look at the account's base_url and at the provider's status page")
    return _ok(title, "answers, and takes the key")


def _ok(name: str, found: str) -> Check:
    return Check(name=name, level="ok", found=found)


def _warn(name: str, found: str, advice: str) -> Check:
    return Check(name=name, level="warn", found=found, advice=advice)


def _fail(name: str, found: str, advice: str) -> Check:
    return Check(name=name, level="fail", found=found, advice=advice)
