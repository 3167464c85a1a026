"""``batchline prune`` says what it would remove, and with --yes removes it."""

from __future__ import annotations

import json

import pytest
from tests.cli.kit import CHAT, Command

from batchline.store import Store, keys


@pytest.fixture
def idle(store: Store) -> Store:
    """A store with a lane whose only entry was in the year 2001 and is answered, and a lane in use."""
    store.connection.run("XADD", keys.requests(CHAT), "1000000000000-0", "id", "r", "body", "{}")
    store.connection.run("XDEL", keys.requests(CHAT), "1000000000000-0")
    store.connection.run("XADD", keys.requests(f"{CHAT}-2"), "*", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, CHAT, f"{CHAT}-2")
    return store


def lanes(store: Store) -> set[bytes]:
    found: set[bytes] = store.connection.run("SMEMBERS", keys.LANES)
    return found


def test_without_yes_it_only_says_what_it_would_do(batchline: Command, idle: Store) -> None:
    done = batchline("prune")
    assert (done.code, done.err) == (0, "nothing was removed; --yes does it\n")
    assert done.out.splitlines()[1].split() == ["lanes", "1"]
    assert "1 lanes stay: owed replies" in done.out
    assert len(lanes(idle)) == 2


def test_with_yes_it_does_it(batchline: Command, idle: Store) -> None:
    done = batchline("prune", "--yes")
    assert (done.code, done.err) == (0, "")
    assert lanes(idle) == {f"{CHAT}-2".encode()}
    assert batchline("prune", "--yes").out.splitlines()[1].split() == ["lanes", "0"]


def test_the_same_as_json(batchline: Command, idle: Store) -> None:
    said = json.loads(batchline("prune", "--json").out)
    assert said == {
        "done": False,
        "lanes": 1,
        "kept": {"owed": 1},
        "found": 0,
        "dead_letters": None,
        "days": None,
        "undelivered": None,
    }


def test_only_what_is_named_is_touched(batchline: Command, idle: Store) -> None:
    idle.connection.run("ZADD", keys.DAYS, 1, "1970-01-01|a:b:c|")
    idle.connection.run("HSET", keys.day("1970-01-01|a:b:c|"), "batches", 1)
    idle.connection.run("RPUSH", keys.UNDELIVERED, '{"timing":{"settled":5}}')
    said = json.loads(
        batchline(
            *("prune", "--days-older", "400d", "--undelivered-older", "30d", "--dead-older", "90d", "--yes", "--json")
        ).out
    )
    assert (said["lanes"], said["days"], said["undelivered"], said["dead_letters"]) == (None, 1, 1, 0)
    assert len(lanes(idle)) == 2
    assert idle.connection.run("EXISTS", keys.DAYS, keys.UNDELIVERED, keys.day("1970-01-01|a:b:c|")) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--idle", "soon"), "--idle: 'soon' is not a time"),
        (("--idle", "1h"), "audit_window"),
        (("--days-older", "1h"), "1d or more"),
    ],
)
def test_wrong_criteria_remove_nothing(batchline: Command, idle: Store, arguments: tuple[str, ...], said: str) -> None:
    done = batchline("prune", "--yes", *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(lanes(idle)) == 2


def test_a_store_that_is_away_is_exit_code_3(command: Command) -> None:
    assert command("prune").code == 3
