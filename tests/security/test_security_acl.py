"""The example ACLs (config/acl/batchline.acl) on a real server: each role can do its work, and not another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from tests.security.stores import ADMIN, GuardedStore, store_with_users, url_for

from batchline import Client, figures
from batchline.budgets import Pool
from batchline.exporter import StoreCollector
from batchline.figures import Figures
from batchline.local.stack import Emulation, Stack
from batchline.settings import Settings, load_settings
from batchline.store import Store
from batchline.store.accounts import STORAGE, PoolUse, StorageFacts

EXAMPLE = Path(__file__).parents[2] / "config" / "acl" / "batchline.acl"
TEAM, OTHER = "batchline-team-a", "team-b"
LANE = "openai:chat:gpt-5-mini|tenant=team-a"
OTHER_LANE = "openai:chat:gpt-5-mini|tenant=team-b"
SECRET = "secret-of-team-b"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStore]:
    store = store_with_users(tmp_path_factory.mktemp("acl"), EXAMPLE.read_text(encoding="utf-8"))
    store.start()
    yield store
    store.kill()


@pytest.fixture
def admin(guarded: GuardedStore) -> Iterator[Any]:
    """An administrator in a store that holds what another team put there."""
    with redis.Redis.from_url(url_for(guarded, ADMIN)) as client:
        client.flushall()
        client.execute_command("ACL", "LOG", "RESET")
        client.xadd(f"batchline:{{{OTHER_LANE}}}:requests", {"id": "1", "body": SECRET})
        client.xadd(f"batchline:{{{LANE}}}:requests", {"id": "1", "body": SECRET})
        client.sadd("batchline:lanes", OTHER_LANE, LANE)
        client.set(f"batchline:{{{OTHER_LANE}}}:id:1", "1-1:1")
        client.rpush("batchline:reply:team-b", SECRET)
        client.rpush("batchline:reply:team-ab", SECRET)
        client.rpush("batchline:reading:team-b:r1", SECRET)
        client.rpush(f"batchline:reply:{OTHER_LANE}:1", SECRET)
        client.xadd("batchline:replies:team-b", {"reply": SECRET})
        client.rpush("batchline:undelivered", SECRET)
        client.hset(f"batchline:{{{OTHER_LANE}}}:dead", "1-1", SECRET)
        client.hset("batchline:ledger:openai:chat:gpt-5-mini", "paid_nano:batch", "5")
        client.hset("batchline:batch:b1", mapping={"lane": OTHER_LANE})
        client.rpush("batchline:celery:batchline.poll", SECRET)
        yield client


@pytest.fixture
def as_user(guarded: GuardedStore, admin: redis.Redis) -> Iterator[Any]:
    """Return a function that opens a connection as a user of the example."""
    opened: list[redis.Redis] = []

    def connect(user: str) -> redis.Redis:
        opened.append(redis.Redis.from_url(url_for(guarded, user)))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def refused(admin: redis.Redis) -> list[str]:
    """Return what the server refused to anybody."""
    client: Any = admin
    entries = client.execute_command("ACL", "LOG")
    found = [{_text(key): _text(value) for key, value in dict(entry).items()} for entry in entries]
    return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in found]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


EVERYWHERE = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "REWRITE"),
    ("SHUTDOWN",),
    ("SAVE",),
    ("MONITOR",),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "x"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("SLOWLOG", "GET"),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"),
    ("SUBSCRIBE", "batchline:celery:/0.celery.pidbox"),
    ("PUBLISH", "batchline:celery:/0.celery.pidbox", "{}"),
]
OTHERS = [
    ("LRANGE", "batchline:reply:team-b", "0", "-1"),
    ("LPOP", "batchline:reply:team-b"),
    ("LRANGE", "batchline:reply:team-ab", "0", "-1"),
    ("LRANGE", "batchline:reading:team-b:r1", "0", "-1"),
    ("LRANGE", f"batchline:reply:{OTHER_LANE}:1", "0", "-1"),
    ("XRANGE", "batchline:replies:team-b", "-", "+"),
    ("LRANGE", "batchline:undelivered", "0", "-1"),
    ("HGETALL", f"batchline:{{{OTHER_LANE}}}:dead"),
    ("XRANGE", f"batchline:{{{OTHER_LANE}}}:requests", "-", "+"),
    ("XREAD", "STREAMS", f"batchline:{{{OTHER_LANE}}}:requests", "0"),
    ("DUMP", f"batchline:{{{OTHER_LANE}}}:requests"),
    ("COPY", f"batchline:{{{OTHER_LANE}}}:requests", "batchline:replies:team-a"),
    ("RENAME", "batchline:reply:team-b", "batchline:reply:team-a"),
    ("LMOVE", "batchline:reply:team-b", "batchline:reply:team-a", "LEFT", "RIGHT"),
    ("EVAL", "return redis.call('LRANGE', 'batchline:reply:team-b', 0, -1)", "0"),
    ("EVAL", "return redis.call('XRANGE', ARGV[1], '-', '+')", "0", f"batchline:{{{OTHER_LANE}}}:requests"),
    ("LRANGE", "batchline:celery:batchline.poll", "0", "-1"),
    ("LPUSH", "batchline:celery:batchline.poll", "{}"),
    ("XADD", f"batchline:{{{OTHER_LANE}}}:requests", "*", "id", "2", "body", "{}"),
    ("RPUSH", "batchline:reply:team-b", "{}"),
    ("DEL", "batchline:reply:team-b"),
    ("DEL", f"batchline:{{{OTHER_LANE}}}:requests"),
    ("HSET", "batchline:ledger:openai:chat:gpt-5-mini", "paid_nano:batch", "0"),
    ("HSET", "batchline:batch:b1", "state", "settled"),
    ("SREM", "batchline:lanes", OTHER_LANE),
    ("DEL", "batchline:lanes"),
]
TEAMS_OWN = [
    ("XRANGE", f"batchline:{{{LANE}}}:requests", "-", "+"),
    ("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", "1", f"batchline:{{{LANE}}}:requests"),
    ("XINFO", "STREAM", f"batchline:{{{LANE}}}:requests"),
    ("XDEL", f"batchline:{{{LANE}}}:requests", "1-1"),
    ("HGETALL", "batchline:ledger:openai:chat:gpt-5-mini"),
    ("HGETALL", "batchline:batch:b1"),
    ("SMEMBERS", "batchline:lanes"),
    ("SET", "batchline:lanes", "x"),
    ("GET", "batchline:lanes"),
    ("EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", "batchline:lanes"),
    ("SET", f"batchline:{{{LANE}}}:requests", "x"),
    ("SADD", f"batchline:{{{LANE}}}:requests", "x"),
    ("GET", f"batchline:{{{OTHER_LANE}}}:id:1"),
    ("SET", f"batchline:{{{OTHER_LANE}}}:id:2", "1-1:1"),
    ("CONFIG", "GET", "appendfsync"),
]


def name(command: tuple[str, ...]) -> str:
    return " ".join(command)[:60]


@pytest.mark.parametrize("command", [*EVERYWHERE, *OTHERS, *TEAMS_OWN], ids=name)
def test_a_producer_is_refused(command: tuple[str, ...], as_user: Any) -> None:
    refuses(as_user(TEAM), command)


@pytest.mark.parametrize("command", [*EVERYWHERE, *OTHERS], ids=name)
def test_the_exporter_is_refused(command: tuple[str, ...], as_user: Any) -> None:
    refuses(as_user("batchline-exporter"), command)


WORKER_MAY = {"SUBSCRIBE", "PUBLISH", "SCAN", "RANDOMKEY"}  # of its own database it may see every name


@pytest.mark.parametrize("command", [each for each in EVERYWHERE if each[0] not in WORKER_MAY], ids=name)
def test_the_worker_is_refused(command: tuple[str, ...], as_user: Any) -> None:
    refuses(as_user("batchline-worker"), command)


@pytest.mark.parametrize("command", [("GET", "other:x"), ("SET", "other:x", "1"), ("PUBLISH", "other", "x")], ids=name)
def test_the_worker_has_no_business_outside_its_prefix(command: tuple[str, ...], as_user: Any) -> None:
    refuses(as_user("batchline-worker"), command)


def refuses(client: Any, command: tuple[str, ...]) -> None:
    with pytest.raises(redis.ResponseError, match=r"(?i)no permission|noperm|NOPERM|can't access|ACL failure"):
        client.execute_command(*command)


def test_nobody_comes_in_without_a_user(guarded: GuardedStore, admin: redis.Redis) -> None:
    with redis.Redis(port=guarded.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_shipped_users_have_no_password_and_so_no_way_in(tmp_path: Path) -> None:
    assert all(
        ">" not in line and "#" not in line and "nopass" not in line for line in EXAMPLE.read_text().splitlines()
    )


# --- what each may do, it can do ---


def test_a_producer_enqueues_by_the_raw_protocol_and_reads_its_replies(as_user: Any, admin: redis.Redis) -> None:
    client = as_user(TEAM)
    with client.pipeline(transaction=True) as pipeline:
        pipeline.xadd(f"batchline:{{{LANE}}}:requests", {"id": "7", "body": "{}", "reply_to": "team-a"})
        pipeline.sadd("batchline:lanes", LANE)
        assert len(pipeline.execute()) == 2
    admin.rpush("batchline:reply:team-a", "r1")
    admin.rpush("batchline:reply:team-a.jobs", "r2")
    admin.rpush(f"batchline:reply:{LANE}:7", "r3")
    admin.xadd("batchline:replies:team-a", {"reply": "r4"})
    assert client.blpop(["batchline:reply:team-a"], timeout=1)[1] == b"r1"
    assert client.lpop("batchline:reply:team-a.jobs") == b"r2"
    assert client.lpop(f"batchline:reply:{LANE}:7") == b"r3"
    assert len(client.xread({"batchline:replies:team-a": "0"})) == 1
    assert refused(admin) == []


@pytest.mark.e2e
def test_producer_worker_and_exporter_do_their_work_with_nothing_else(
    guarded: GuardedStore, admin: redis.Redis, tmp_path: Path
) -> None:
    admin.flushall()
    worker = url_for(guarded, "batchline-worker")
    settings = {
        "BATCHLINE_REDIS_URL": worker,
        "BATCHLINE_BROKER_URL": worker,
        "BATCHLINE_FLUSH__MAX_AGE": "0",
        "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
        "BATCHLINE_TICK_INTERVAL": "0.2",
    }
    ask: dict[str, Any] = {"model": "gpt-5-mini", "tenant": "team-a"}
    words = [{"role": "user", "content": "x"}]
    with Stack(tmp_path, emulation=Emulation(latency_s=0.1), settings=settings) as stack:
        with Client(url_for(guarded, TEAM), settings=load_settings(environ={})) as client:
            own = client.enqueue(messages=words, **ask)
            client.enqueue(messages=words, reply_to="team-a", **ask)
            refused_row = client.enqueue(messages=[{"role": "user", "content": "[[reject]]"}], **ask)
            assert own.wait(timeout=60).status == "succeeded"
            assert refused_row.wait(timeout=60).status == "failed"
            assert next(iter(client.replies("team-a", timeout=60))).status == "succeeded"
        store = Store(url_for(guarded, "batchline-exporter"))
        names = {family.name for family in StoreCollector(store, Settings()).collect()}
        store.close()
        log = (stack.folder / "worker-0.log").read_text()
    assert "batchline_requests_settled" in names
    assert refused(admin) == []
    assert "doorbell.failed" not in log


# --- what the exporter reads is what there is ---


def test_the_exporter_reads_the_same_figures_as_an_administrator(guarded: GuardedStore, admin: redis.Redis) -> None:
    """A script asks with pcall: what the exporter may not read would be missing without a word."""
    now_ms = 1_795_000_000_000
    for key in (f"batchline:{{{LANE}}}:requests", f"batchline:{{{OTHER_LANE}}}:requests"):
        admin.delete(key)
    admin.delete(f"batchline:{{{OTHER_LANE}}}:dead", "batchline:batch:b1")
    admin.xadd(f"batchline:{{{LANE}}}:requests", {"id": "1", "body": "{}"}, id=f"{now_ms - 9_000}-1")
    admin.xadd(f"batchline:{{{OTHER_LANE}}}:requests", {"id": "1", "body": "{}"}, id=f"{now_ms - 5_000}-1")
    admin.hset(f"batchline:{{{LANE}}}:dead", "1-1", "a letter")
    admin.zadd("batchline:ledgers", {"openai:chat:gpt-5-mini": now_ms})
    admin.hset("batchline:ledger:openai:chat:gpt-5-mini", "enqueued_pruned", "7")
    admin.hset("batchline:expired", "callbacks:list:expired", "3")
    stores = [Store(url_for(guarded, user)) for user in (ADMIN, "batchline-exporter")]
    limits: dict[str, Any] = {"max_requests": 10, "max_bytes": 10**9, "max_tokens": None}
    stores[0].intake.walk(LANE, row_bytes=100, bytes_per_token=4.0, now_ms=now_ms, **limits)
    admin.hset(f"batchline:{{{LANE}}}:walk", mapping={"per_token": "3.2", "estimated": "90", "counted": "80"})
    admin.hset("batchline:account:openai:open", "b1", f"5:250:1:gpt-5-mini|{LANE}")
    admin.hset("batchline:account:openai:believed", "told|gpt-5-mini", f"1000:0:{now_ms + 60_000}")
    admin.hset("batchline:account:openai", mapping=dict(zip(STORAGE, (3, 900, 2, 600, now_ms), strict=True)))
    by_admin, by_exporter = (_without_memory(figures.read(each, Settings(), now_ms=now_ms)) for each in stores)
    depths = {each.lane: each for each in stores[1].ledger.depths()}
    for each in stores:
        each.close()
    assert by_exporter == by_admin
    walked, unwalked = depths[LANE], depths[OTHER_LANE]
    assert (walked.since_ms, walked.added, walked.dead) == (now_ms - 9_000, 1, 1)
    assert (unwalked.since_ms, unwalked.owed, unwalked.added) == (now_ms - 5_000, 1, 0)
    assert (walked.per_token, walked.estimated, walked.counted) == (3.2, 90, 80)
    (openai,) = [each for each in by_exporter.accounts if each.name == "openai"]
    believed = Pool(name="gpt-5-mini", tokens=1_000)
    assert openai.pools == {
        "gpt-5-mini": PoolUse(tokens=250, requests=5, believed=believed, believed_until=now_ms + 60_000)
    }
    assert openai.storage == StorageFacts(3, 900, 2, 600, now_ms)
    assert refused(admin) == []


def _without_memory(read: Figures) -> Figures:
    return msgspec.structs.replace(read, server=msgspec.structs.replace(read.server, used=0))
