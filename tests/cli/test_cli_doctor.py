"""``batchline doctor``: what each check says, and the exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.kit import CHAT, Command

from batchline import doctor
from batchline.doctor import Check
from batchline.errors import KeyRefused, Retryable, StoreError
from batchline.providers.protocol import Found
from batchline.settings import Settings
from batchline.store import Store, keys
from batchline.store.server import ServerFacts

GOOD = ServerFacts(
    product="Redis",
    version="7.0.15",
    role="master",
    used=10 * 2**20,
    limit=100 * 2**20,
    policy="noeviction",
    append_only=True,
    fsync="always",
    last_write_ok=True,
    last_rewrite_ok=True,
    replicas=0,
)


def server(facts: ServerFacts, **settings: Any) -> dict[str, Check]:
    given = Settings(**settings)
    return {check.name: check for check in doctor.check_server(facts, given.pressure, given.durability)}


def test_a_store_as_it_should_be_is_ok_throughout() -> None:
    checks = server(GOOD)
    assert {check.level for check in checks.values()} == {"ok"}
    assert list(checks) == ["version", "eviction", "appendonly", "appendfsync", "aof", "memory", "replicas"]


@pytest.mark.parametrize(
    ("change", "name", "level"),
    [
        ({"version": "6.2.14"}, "version", "fail"),
        ({"version": ""}, "version", "fail"),
        ({"product": "Valkey", "version": "9.1.2"}, "version", "ok"),
        ({"role": "slave"}, "role", "fail"),
        ({"policy": "allkeys-lru"}, "eviction", "fail"),
        ({"policy": "volatile-ttl"}, "eviction", "fail"),
        ({"append_only": False}, "appendonly", "fail"),
        ({"fsync": "everysec"}, "appendfsync", "warn"),
        ({"fsync": "no"}, "appendfsync", "fail"),
        ({"fsync": None}, "appendfsync", "warn"),
        ({"last_write_ok": False}, "aof", "fail"),
        ({"limit": 0}, "memory", "warn"),
        ({"used": 80 * 2**20}, "memory", "warn"),
        ({"used": 90 * 2**20}, "memory", "fail"),
    ],
)
def test_what_is_wrong_with_a_store_is_told_with_what_to_set(change: dict[str, Any], name: str, level: str) -> None:
    check = server(msgspec.structs.replace(GOOD, **change))[name]
    assert check.level == level
    assert bool(check.advice) == (level != "ok")


def test_everysec_says_what_can_be_lost() -> None:
    assert "last second" in server(msgspec.structs.replace(GOOD, fsync="everysec"))["appendfsync"].found


@pytest.mark.parametrize(("connected", "level"), [(0, "fail"), (1, "ok"), (2, "ok")])
def test_fewer_replicas_than_intents_need_is_a_failure(connected: int, level: str) -> None:
    facts = msgspec.structs.replace(GOOD, replicas=connected)
    assert server(facts, durability={"replicas": 1})["replicas"].level == level


@pytest.mark.parametrize(
    ("skew_s", "level"), [(0, "ok"), (-1, "ok"), (1.5, "warn"), (-4, "warn"), (5.5, "fail"), (-60, "fail")]
)
def test_a_clock_that_differs_is_told(skew_s: float, level: str) -> None:
    assert doctor.check_clock(skew_s).level == level


def test_ticks_are_fresh_old_or_never() -> None:
    checks = doctor.check_ticks({"accumulate": 100_000}, now_ms=131_000)
    assert [(check.name, check.level) for check in checks] == [("tick accumulate", "fail"), ("tick poll", "warn")]
    checks = doctor.check_ticks({"accumulate": 100_000, "poll": 101_000}, now_ms=101_000)
    assert [check.level for check in checks] == ["ok", "ok"]


def test_a_missing_key_fails_where_lanes_need_it_and_is_never_shown() -> None:
    account = Settings().accounts["openai"]
    assert doctor.check_key("openai", account, {}, needed=True).level == "fail"
    assert doctor.check_key("openai", account, {}, needed=False).level == "warn"
    found = doctor.check_key("openai", account, {"OPENAI_API_KEY": "sk-secret"}, needed=True)
    assert (found.level, "sk-secret" in found.found) == ("ok", False)


class Listing:
    """A provider whose list answers, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def find(self, _job: object) -> Found:
        if self.error:
            raise self.error
        return Found()


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (None, "ok"),
        (KeyRefused("the key is wrong", account="openai", call="find"), "fail"),
        (Retryable("overloaded", account="openai", call="find"), "fail"),
    ],
)
def test_a_provider_answers_or_not(error: Exception | None, level: str) -> None:
    provider: Any = Listing(error)
    assert doctor.check_provider("openai", provider, now_ms=1_000).level == level


@pytest.fixture
def well(store: Store) -> Iterator[Store]:
    """A store that ticks, has a maxmemory, and syncs every second."""
    before = store.connection.run("CONFIG GET", "appendfsync")["appendfsync"]
    for role in doctor.ROLES:
        store.note_tick(role, time.time_ns() // 1_000_000)
    store.connection.run("CONFIG SET", "maxmemory", 2**30, "appendfsync", "everysec")
    yield store
    store.connection.run("CONFIG SET", "maxmemory", 0, "appendfsync", before)


def test_warnings_are_exit_code_0(batchline: Command, well: Store) -> None:
    done = batchline("doctor")
    assert done.code == 0
    lines = {line[6:24].strip(): line for line in done.out.splitlines()}
    assert lines["appendfsync"].startswith("warn")
    assert lines["account openai"].startswith("warn")
    assert lines["store"].startswith("ok")
    assert lines["clock"].startswith("ok")


def test_a_failed_check_is_exit_code_1(batchline: Command, well: Store) -> None:
    well.connection.run("SADD", keys.LANES, CHAT)
    done = batchline("doctor", "--json")
    assert done.code == 1
    assert [check["name"] for check in json.loads(done.out) if check["level"] == "fail"] == ["account openai"]


def test_providers_without_a_key_are_not_called(batchline: Command, well: Store) -> None:
    done = batchline("doctor", "--providers")
    assert done.code == 0
    assert "provider" not in "".join(line[6:24] for line in done.out.splitlines())


def test_an_unreachable_store_is_exit_code_3_and_the_keys_are_checked_all_the_same(command: Command) -> None:
    done = command("doctor", "--json")
    assert done.code == 3
    checks = json.loads(done.out)
    assert [(check["name"], check["level"]) for check in checks] == [
        ("spool", "ok"),
        ("store", "fail"),
        ("account openai", "warn"),
        ("account anthropic", "warn"),
        ("account gemini", "warn"),
    ]


def test_a_store_that_refuses_a_command_is_a_failed_check(
    batchline: Command, well: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> ServerFacts:
        raise StoreError("INFO: the store answered with an error: NOPERM")

    monkeypatch.setattr("batchline.store.server.Server.facts", refused)
    done = batchline("doctor")
    assert done.code == 1
    assert "NOPERM" in done.out


def test_a_folder_that_cannot_be_written_fails_since_no_batch_could_be_sent(tmp_path: Path) -> None:
    assert doctor.check_spool(tmp_path).level == "ok"
    check = doctor.check_spool(tmp_path / "nowhere")
    assert (check.level, "nowhere" in check.found, "spool_dir" in check.advice) == ("fail", True, True)
