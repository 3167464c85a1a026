"""Keys: no two things share one, and the promised names are as promised."""

from __future__ import annotations

import inspect
from itertools import product

from batchline.store import keys

LANES = ["a:b:c", "a:b:c:d", "a:b:c:c", "a:bb:c", "aa:b:c", "a:b:c|beta=d", "a:b:c|tenant=d", "a:b:c|tenant=d|beta=e"]
NAMES = ["a", "b", "aa", "a.b", "a-b", "a_b", "open", "creates", "aside", "settled"]
ANY = ["a", "b", "a:b", "a:b:c", ":", "{a}", "}:walk", "walk", "riders", "open", "*", "ü", "a:open", "provider:a"]
BY_LANE = [keys.requests, keys.walk, keys.retry, keys.attempts, keys.cancels, keys.dead, keys.ledger]
BY_NAME = [keys.batch, keys.riders, keys.account, keys.account_open, keys.account_creates, keys.readers, keys.tick]
BY_NAME += [keys.reply_list, keys.reply_stream, keys.account_intents, keys.account_duplicates, keys.audit_turn]
BY_NAME += [keys.account_errors, keys.day, keys.account_believed, keys.sent]
CONSTANTS = [value for name, value in vars(keys).items() if name.isupper() and name != "PREFIX"]


def every_key() -> list[str]:
    """Return the keys of all lanes, names and request ids above, each built once."""
    made = [build(lane) for build, lane in product(BY_LANE, LANES)]
    made += [build(name) for build, name in product(BY_NAME, NAMES)]
    made += [keys.request_id(lane, request_id) for lane, request_id in product(LANES, ANY)]
    made += [build(name, other) for build, name, other in product([keys.provider_batch, keys.reading], NAMES, ANY)]
    return [*made, *CONSTANTS]


def test_no_two_things_share_a_key() -> None:
    made = every_key()
    assert len(set(made)) == len(made)


def test_the_default_queue_of_a_request_is_no_other_key() -> None:
    defaults = {keys.reply_default(lane, request_id) for lane, request_id in product(LANES, ANY)}
    assert not defaults & set(every_key())


def test_every_key_function_is_tested_here_and_builds_on_the_prefix() -> None:
    tested = [*BY_LANE, *BY_NAME, keys.request_id, keys.provider_batch, keys.reading, keys.reply_default]
    assert {function.__name__ for function in tested} == {
        name for name, _ in inspect.getmembers(keys, inspect.isfunction)
    }
    assert all(key.startswith(keys.PREFIX) for key in every_key())


def test_the_promised_names_are_as_promised() -> None:
    assert keys.LANES == "batchline:lanes"
    assert keys.requests("a:chat:m") == "batchline:{a:chat:m}:requests"
    assert keys.reply_list("out") == "batchline:reply:out"
    assert keys.reply_stream("out") == "batchline:replies:out"
    assert keys.reply_default("a:chat:m", "id 1") == "batchline:reply:a:chat:m:id 1"
