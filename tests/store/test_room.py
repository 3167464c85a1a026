"""Room by pool: what may be cut and sent, what is believed of a provider for a while, and how lanes' estimates are corrected."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec
import pytest

from batchline.budgets import PARTS, SLIVER, Observed, Pool, Room, lower_of, lua_pattern, pool_of, rules_of
from batchline.lanes import parse_lane
from batchline.settings.rules import Budget
from batchline.store import keys
from batchline.store.accounts import PoolUse
from batchline.store.records import Batch

POOL = "gpt-5-mini"
SECOND = "openai:chat:gpt-5-mini|tenant=second"
PER_REQUEST = 10
"""Tokens of a request here: bodies have 40 bytes."""


def pool(tokens: int = 1_000, requests: int | None = None, name: str = POOL) -> Pool:
    return Pool(name=name, tokens=tokens or None, requests=requests)


def cut(scene: Any, batch_id: str, tokens: int, *, lane: str | None = None, **changes: Any) -> str:
    """Add requests of so many tokens to a lane and cut them; the pool has 1,000 tokens unless told otherwise."""
    lane = lane or f"openai:chat:gpt-5-mini|tenant={batch_id}"
    scene.add(*(f"{batch_id}-{n}" for n in range(tokens // PER_REQUEST)), lane=lane, body=b"x" * 40)
    return again(scene, batch_id, lane, **changes)


def again(scene: Any, batch_id: str, lane: str, **changes: Any) -> str:
    """Walk a lane to its end and cut it."""
    limits = {"max_requests": 10**6, "max_bytes": 10**9, "max_tokens": None, "row_bytes": 0, "bytes_per_token": 4.0}
    seen = scene.store.intake.walk(lane, now_ms=scene.now, **limits)
    while seen.unwalked:
        seen = scene.store.intake.walk(lane, now_ms=scene.now, **limits)
    rules = {"now_ms": scene.now, "max_open": 100, "max_creates": 100, "pool": pool()} | changes
    return str(scene.store.batches.cut(parse_lane(lane), seen, "age", batch_id=batch_id, **rules))


def sent(scene: Any, batch_id: str, tokens: int, *, lane: str | None = None, **changes: Any) -> Batch:
    """Return a batch in submitting that was rendered to so many tokens; whatever is sent already, it gets the room."""
    assert cut(scene, batch_id, PER_REQUEST, lane=lane, pool=Pool(name=changes.get("pool", pool()).name)) == "cut"
    batch = scene.claim(batch_id)
    free = {"pool": Pool(name=changes.get("pool", pool()).name)}
    assert scene.intent(batch, nonce=batch_id, tokens=tokens, **(changes | free)) == "durable"
    return scene.get(batch_id)  # type: ignore[no-any-return]


def entry(scene: Any, batch_id: str) -> tuple[int, int, int, str, str] | None:
    """Return what a batch has of its account's room: requests, tokens, sent, pool, lane."""
    raw = scene.run("HGET", keys.account_open("openai"), batch_id)
    if raw is None:
        return None
    requests, tokens, is_sent, rest = raw.decode().split(":", 3)
    name, _, lane = rest.partition("|")
    return int(requests), int(tokens), int(is_sent), name, lane


def limits_now(scene: Any, *, limits: Pool | None = None, now_ms: int = 0) -> Pool:
    """Return the limits of a pool as they are believed at a time."""
    configured = limits or pool()
    believed = scene.store.accounts.believed(["openai"], now_ms=now_ms or scene.now)
    return lower_of(configured, believed.get(("openai", configured.name), configured))


# --- the cut ---


def test_a_cut_reserves_its_requests_and_tokens_and_is_not_sent(scene: Any) -> None:
    assert cut(scene, "b1", 200, lane=SECOND) == "cut"
    assert entry(scene, "b1") == (20, 200, 0, POOL, SECOND)


def test_what_the_pool_has_no_room_for_is_not_cut_and_changes_nothing(scene: Any) -> None:
    sent(scene, "b1", 800)
    assert cut(scene, "b2", 160, lane=SECOND) == "tokens"
    before = scene.snapshot()
    assert again(scene, "b2", SECOND) == "tokens"
    assert scene.snapshot() == before
    assert entry(scene, "b2") is None


def test_a_pool_counts_what_waits_to_be_sent_as_well(scene: Any) -> None:
    for n in range(PARTS):
        assert cut(scene, f"b{n}", 230) == "cut"
    assert cut(scene, "more", 230) == "tokens"


def test_a_budget_is_full_at_its_limit_less_the_sliver(scene: Any) -> None:
    sent(scene, "b1", 800)
    assert cut(scene, "b2", 150) == "cut"
    sent(scene, "b3", 1)
    assert cut(scene, "b4", 60) == "tokens"


def test_other_pools_and_their_batches_take_no_limits_now(scene: Any) -> None:
    sent(scene, "b1", 1_000, pool=pool(name="gpt-5"))
    assert cut(scene, "b2", 200) == "cut"


def test_requests_are_counted_as_tokens_are(scene: Any) -> None:
    limits = pool(0, 20)
    assert cut(scene, "b1", 4 * PER_REQUEST, pool=limits) == "cut"
    sent(scene, "b2", 1, pool=limits, rows=14)
    assert cut(scene, "b3", 3 * PER_REQUEST, pool=limits) == "requests"


def test_an_empty_budget_takes_a_range_of_any_size_and_holds_only_its_part(scene: Any) -> None:
    assert cut(scene, "b1", 5_000) == "cut"
    assert entry(scene, "b1") == (500, int(1_000 * (1 - SLIVER) / PARTS), 0, POOL, "openai:chat:gpt-5-mini|tenant=b1")
    assert (scene.get("b1").requests, scene.get("b1").tokens) == (500, 5_000)


def test_a_range_larger_than_a_limit_that_was_lowered_waits_for_its_part_and_not_for_all_of_it(scene: Any) -> None:
    sent(scene, "b1", 700)
    assert cut(scene, "b2", 5_000) == "cut"
    assert entry(scene, "b2") is not None
    assert entry(scene, "b2")[1] == 237  # type: ignore[index]


def test_the_sliver_takes_a_small_batch_of_a_lane_that_has_nothing_open(scene: Any) -> None:
    sent(scene, "b1", 950)
    assert cut(scene, "b2", 50) == "cut"


def test_the_sliver_takes_nothing_of_a_lane_that_has_something_open(scene: Any) -> None:
    sent(scene, "b1", 950, lane=SECOND)
    assert cut(scene, "b2", 50, lane=SECOND) == "tokens"


def test_the_sliver_takes_nothing_that_is_larger_than_itself(scene: Any) -> None:
    sent(scene, "b1", 940)
    assert cut(scene, "b2", 60) == "tokens"


def test_small_batches_together_have_no_more_than_the_sliver(scene: Any) -> None:
    sent(scene, "b1", 900)
    assert cut(scene, "b2", 30) == "cut"
    assert cut(scene, "b3", 30) == "tokens"
    assert cut(scene, "b4", 20) == "cut"


def test_nothing_is_cut_beyond_the_limit_itself(scene: Any) -> None:
    sent(scene, "b1", 980)
    assert cut(scene, "b2", 30) == "tokens"
    assert cut(scene, "b3", 20) == "cut"


def test_where_only_the_sliver_is_to_be_had_a_larger_batch_waits_although_there_is_limits_now(scene: Any) -> None:
    sent(scene, "b1", 500)
    assert cut(scene, "b2", 60, squeeze=True) == "tokens"
    assert cut(scene, "b3", 50, squeeze=True) == "cut"
    assert cut(scene, "b4", 10, squeeze=True) == "tokens"


def test_a_batch_of_riders_alone_asks_for_no_room_until_they_are_aboard(scene: Any) -> None:
    scene.pool(3)
    assert scene.cut("b1", riders_only=True, pool=pool()) == "cut"
    assert entry(scene, "b1") == (0, 0, 0, POOL, scene.lane.name)


# --- the intent ---


def test_an_intent_counts_what_was_rendered_riders_included_as_sent(scene: Any) -> None:
    cut(scene, "b1", 100, lane=SECOND)
    assert scene.intent(scene.claim("b1"), rows=25, tokens=250, pool=pool()) == "durable"
    assert entry(scene, "b1") == (25, 250, 1, POOL, SECOND)
    assert (scene.get("b1").sent_tokens, scene.get("b1").body_bytes) == (250, 120)


def test_an_intent_without_room_keeps_the_room_that_it_wants_and_nothing_new_is_cut_into_it(scene: Any) -> None:
    sent(scene, "b1", 800)
    cut(scene, "b2", 60)
    assert scene.intent(scene.claim("b2"), rows=30, tokens=300, pool=pool()) == "no_room"
    assert entry(scene, "b2") == (30, 300, 0, POOL, "openai:chat:gpt-5-mini|tenant=b2")
    assert scene.get("b2").state == "cut"
    scene.end(submitted(scene, scene.get("b1")))
    assert cut(scene, "b3", 700) == "cut"  # its part is 237 of these
    assert cut(scene, "b4", 230) == "cut"
    assert cut(scene, "b5", 230) == "tokens"


def submitted(scene: Any, batch: Batch) -> Any:
    scene.submit(batch, provider_id=f"p-{batch.id}")
    return scene.claim(batch.id)


def test_an_intent_without_room_leaves_no_trace_of_a_create(scene: Any) -> None:
    sent(scene, "b1", 800)
    cut(scene, "b2", 60)
    scene.intent(scene.claim("b2"), rows=7, tokens=300, pool=pool(), tagged=False)
    assert scene.run("ZRANGE", keys.account_creates("openai"), 0, -1) == [b"b1"]
    assert scene.run("HGET", keys.account_intents("openai"), 7) is None
    assert scene.get("b2").nonce == ""


def test_two_that_wait_with_more_than_the_budget_do_not_stop_each_other(scene: Any) -> None:
    sent(scene, "b1", 800)
    for batch_id in ("b2", "b3"):
        assert cut(scene, batch_id, 60) == "cut"
    for batch_id in ("b2", "b3"):
        assert scene.intent(scene.claim(batch_id), nonce=batch_id, tokens=900, pool=pool()) == "no_room"
    scene.end(submitted(scene, scene.get("b1")))
    assert scene.intent(scene.claim("b2"), nonce="b2", tokens=900, pool=pool()) == "durable"
    assert scene.intent(scene.claim("b3"), nonce="b3", tokens=900, pool=pool()) == "no_room"


def test_an_empty_budget_takes_an_intent_of_any_size(scene: Any) -> None:
    cut(scene, "b1", 100)
    assert scene.intent(scene.claim("b1"), tokens=10**9, pool=pool()) == "durable"


@pytest.mark.parametrize(("tokens", "answer"), [(150, "durable"), (151, "no_room"), (40, "durable")])
def test_an_intent_keeps_the_sliver_free_of_large_batches(scene: Any, tokens: int, answer: str) -> None:
    sent(scene, "b1", 800)
    cut(scene, "b2", 10)
    assert scene.intent(scene.claim("b2"), nonce="b2", tokens=tokens, pool=pool()) == answer


def test_a_small_intent_goes_into_the_sliver_whatever_its_lane_has_open(scene: Any) -> None:
    sent(scene, "b1", 950)
    cut(scene, "b2", 10)
    assert scene.intent(scene.claim("b2"), nonce="b2", tokens=50, pool=pool()) == "durable"


def test_a_repeated_intent_is_the_same_whatever_room_there_is_by_then(scene: Any) -> None:
    cut(scene, "b1", 100)
    batch = scene.claim("b1")
    scene.intent(batch, tokens=900, pool=pool())
    sent(scene, "b2", 900)
    before = scene.snapshot()
    assert scene.intent(batch, tokens=900, pool=pool()) == "durable"
    assert scene.snapshot() == before


# --- when settings change while batches are open ---


def under(model: str, *budgets: Budget) -> Pool:
    """Return the pool of a model by these budgets, as the engine hands it to the store."""
    return msgspec.structs.replace(pool_of(model, budgets), rules=rules_of(tuple(budgets)))


APART = Budget(match="gpt-*", tokens=1_000)
TOGETHER = Budget(match="gpt-5*", tokens=1_000, shared=True)
NANO = "openai:chat:gpt-5-nano"


def test_what_is_open_counts_in_the_pool_that_its_lane_has_now(scene: Any) -> None:
    sent(scene, "b1", 600, pool=under(POOL, APART))
    together = under("gpt-5-nano", TOGETHER, APART)
    assert cut(scene, "b2", 350, lane=NANO, pool=together) == "cut"
    assert scene.intent(scene.claim("b2"), nonce="b2", tokens=351, pool=together) == "no_room"
    assert scene.room(scene.claim("b2"), together).short == ""  # its part is 237
    assert cut(scene, "b3", 350, pool=together) == "tokens"


def test_what_left_a_pool_by_the_settings_takes_none_of_its_room(scene: Any) -> None:
    sent(scene, "b1", 900, pool=under(POOL, TOGETHER), lane=SECOND)
    assert cut(scene, "b2", 230, lane=NANO, pool=under("gpt-5-nano", TOGETHER)) == "tokens"
    assert cut(scene, "b3", 230, lane=NANO, pool=under("gpt-5-nano", APART)) == "cut"


def test_without_budgets_each_model_is_its_own_pool(scene: Any) -> None:
    sent(scene, "b1", 900, pool=under(POOL, TOGETHER), lane=SECOND)
    free = msgspec.structs.replace(pool(name="gpt-5-nano"), rules="[]")
    assert cut(scene, "b2", 230, lane=NANO, pool=free) == "cut"
    assert cut(scene, "b3", 230, pool=msgspec.structs.replace(pool(), rules="[]")) == "tokens"


def test_an_intent_notes_its_pool_anew(scene: Any) -> None:
    cut(scene, "b1", 100, lane=SECOND, pool=under(POOL, APART))
    assert scene.intent(scene.claim("b1"), tokens=100, pool=under(POOL, TOGETHER)) == "durable"
    assert scene.get("b1").pool == "gpt-5*"
    assert entry(scene, "b1") == (3, 100, 1, "gpt-5*", SECOND)


@pytest.mark.parametrize(
    "glob",
    ["*", "gpt-5*", "gpt-?", "gpt-5.?*", "*mini", "[gc]*", "[!g]*", "gpt-[4-5]*", "ft:*:acme", "a[]b", "[]x]*", "[^g]*",
     "gpt-5", "a%b", "a[%d]*", "[-g]*", "g**5", "(gpt)", "$x", "*[a-c]", "a[!]b", "a[.-9]*", "[+--]g", "a[%1]1", "a[[]]b"],
)  # fmt: skip
def test_a_pattern_means_in_the_store_what_it_means_in_the_settings(scene: Any, glob: str) -> None:
    models = ["gpt-5", "gpt-5-mini", "gpt-5x1", "gpt-5.1", "claude-haiku", "ft:gpt-4o:acme", "ft:gpt-4o:acme:x", "a[]b",
              "]x", "^g1", "a%b", "ad1", "a%1", "-g", "(gpt)", "$x", "xa", "a1b", "aa", "gpt-", "a[!]b", "a!b"]  # fmt: skip
    ask = "return string.match(ARGV[1], ARGV[2]) and 1 or 0"
    found = {model for model in models if scene.run("EVAL", ask, 0, model, lua_pattern(glob))}
    assert found == {model for model in models if fnmatchcase(model, glob)}


# --- batches at the provider at one time, and creates of the hour ---


def test_what_waits_takes_no_place_of_what_may_be_sent(scene: Any) -> None:
    cut(scene, "b1", 20)
    cut(scene, "b2", 20)
    assert scene.room(scene.claim("b1"), max_open=1).fits
    assert scene.intent(scene.claim("b1"), nonce="b1", max_open=1) == "durable"
    assert scene.room(scene.claim("b2"), max_open=1).short == "open"
    assert scene.intent(scene.claim("b2"), nonce="b2", max_open=1) == "no_room"
    scene.end(submitted(scene, scene.get("b1")))
    assert scene.intent(scene.claim("b2"), nonce="b2", max_open=1) == "durable"


def test_a_pool_whose_batches_wait_has_no_more_cut_than_may_be_open(scene: Any) -> None:
    assert [cut(scene, f"b{n}", 20, max_open=2) for n in range(3)] == ["cut", "cut", "open"]
    assert cut(scene, "b9", 20, lane=NANO, pool=pool(name="gpt-5-nano"), max_open=2) == "cut"


def test_what_went_again_takes_no_place_of_what_may_be_cut_but_is_bounded(scene: Any) -> None:
    for n in range(PARTS):
        assert cut(scene, f"b{n}", 20, max_open=1) == "cut"
        scene.store.batches.again(scene.claim(f"b{n}"), not_before_ms=scene.now + 60_000, reason="no room")
    assert cut(scene, "more", 20, max_open=1) == "open"


def test_what_waits_counts_against_the_creates_of_the_hour(scene: Any) -> None:
    assert [cut(scene, f"b{n}", 20, max_creates=2) for n in range(3)] == ["cut", "cut", "creates"]


def test_a_batch_without_a_create_left_is_told_before_it_is_rendered(scene: Any) -> None:
    cut(scene, "b1", 20)
    cut(scene, "b2", 20)
    scene.intent(scene.claim("b1"), nonce="b1", pool=pool())
    assert scene.room(scene.claim("b2"), max_creates=1).short == "creates"
    assert scene.room(scene.claim("b2"), max_creates=2).fits
    later = scene.now + 3_600_001
    assert scene.room(scene.claim("b2"), max_creates=1, now_ms=later).fits


def test_a_lane_does_not_wait_for_its_batch_that_went_again(scene: Any) -> None:
    cut(scene, "b1", 20, lane=SECOND)
    assert cut(scene, "b2", 20, lane=SECOND) == "waiting"
    scene.store.batches.again(scene.claim("b1"), not_before_ms=scene.now + 60_000, reason="no room")
    assert again(scene, "b2", SECOND) == "cut"
    assert cut(scene, "b3", 20, lane=SECOND) == "waiting"


def test_a_lane_waits_for_its_batch_that_keeps_room_again(scene: Any) -> None:
    sent(scene, "b0", 940)
    cut(scene, "b1", 60, lane=SECOND, pool=Pool(name=POOL))
    scene.store.batches.again(scene.claim("b1"), not_before_ms=scene.now, reason="no room")
    assert scene.room(scene.claim("b1"), pool()).short == "tokens"
    assert cut(scene, "b2", 20, lane=SECOND) == "waiting"


def test_a_lane_has_no_more_batches_that_went_again_than_its_budget_has_parts(scene: Any) -> None:
    for n in range(PARTS):
        assert cut(scene, f"b{n}", 20, lane=SECOND) == "cut"
        scene.store.batches.again(scene.claim(f"b{n}"), not_before_ms=scene.now + 60_000, reason="no room")
    assert cut(scene, "more", 20, lane=SECOND) == "waiting"


def test_one_request_larger_than_its_part_waits_for_all_that_it_needs(scene: Any) -> None:
    sent(scene, "b1", 500)
    scene.add("huge", lane=SECOND, body=b"x" * 2_400)
    assert again(scene, "b2", SECOND) == "cut"
    assert scene.room(scene.claim("b2"), pool()).short == "tokens"
    assert entry(scene, "b2")[:3] == (1, 600, 0)  # type: ignore[index]
    assert scene.intent(scene.claim("b2"), nonce="b2", rows=1, tokens=600, pool=pool()) == "no_room"
    assert scene.room(scene.claim("b2"), pool()).short == "tokens"
    assert scene.room(scene.claim("b2"), pool(1_200)).fits


# --- giving it back ---


def test_a_batch_that_goes_again_gives_its_room_back_and_keeps_its_place(scene: Any) -> None:
    batch = sent(scene, "b1", 900, lane=SECOND)
    scene.store.batches.again(scene.claim("b1"), not_before_ms=scene.now, reason="no room")
    assert entry(scene, "b1") == (0, 0, 0, POOL, SECOND)
    record = scene.get("b1")
    assert (record.state, record.sent_tokens, record.body_bytes, record.again) == ("cut", 0, 0, batch.again + 1)


def test_an_end_gives_the_room_back(scene: Any) -> None:
    scene.end(submitted(scene, sent(scene, "b1", 900)))
    assert entry(scene, "b1") is None


def test_a_disowned_batch_takes_the_room_of_what_it_sent_again(scene: Any) -> None:
    batch = scene.end(submitted(scene, sent(scene, "b1", 900, rows=90, lane=SECOND)))
    scene.store.batches.disown(batch, look_ms=scene.now)
    assert entry(scene, "b1") == (90, 900, 1, POOL, SECOND)


def test_a_forgotten_intent_counts_as_sent_once_its_provider_batch_is_found(scene: Any) -> None:
    cut(scene, "b1", 100)
    scene.store.batches.submitted(
        scene.claim("b1"),
        provider_id="p1",
        submitted_ms=scene.now,
        expires_ms=0,
        first_poll_ms=scene.now,
        forgotten=("lost", 10),
    )
    assert entry(scene, "b1") == (10, 100, 1, POOL, "openai:chat:gpt-5-mini|tenant=b1")


def test_a_batch_that_went_again_and_is_found_at_its_provider_takes_its_room(scene: Any) -> None:
    cut(scene, "b1", 100, lane=SECOND)
    scene.intent(scene.claim("b1"), nonce="n1", rows=10, tokens=100, pool=pool())
    scene.store.batches.again(scene.get("b1"), not_before_ms=scene.now, reason="absent")
    found: dict[str, Any] = {"submitted_ms": scene.now, "expires_ms": 0, "first_poll_ms": scene.now}
    scene.store.batches.submitted(scene.claim("b1"), provider_id="p1", forgotten=("n1", 10), **found)
    assert entry(scene, "b1") == (10, 100, 1, POOL, SECOND)
    assert (scene.get("b1").rows, scene.get("b1").sent_tokens) == (10, 100)


def test_a_split_reserves_no_more_than_the_whole_had(scene: Any) -> None:
    cut(scene, "b1", 5_000, lane=SECOND)
    whole = entry(scene, "b1")
    assert whole is not None
    batch = scene.claim("b1")
    entries = [each.decode() for each, _ in scene.run("XRANGE", keys.requests(SECOND), "-", "+")]
    scene.store.batches.split(
        batch,
        new_id="b2",
        at=entries[249],
        requests=250,
        tokens=2_500,
        total_bytes=10_000,
        keep_riders=10**9,
        not_before_ms=scene.now,
    )
    for half in ("b1", "b2"):
        found = entry(scene, half)
        assert found is not None
        assert found[0] <= whole[0]
        assert found[1] <= whole[1]
        assert found[2:] == (0, POOL, SECOND)
    assert (scene.get("b2").pool, scene.get("b2").tokens) == (POOL, 2_500)


def test_a_split_into_small_parts_reserves_what_these_have(scene: Any) -> None:
    cut(scene, "b1", 100, lane=SECOND)
    entries = [each.decode() for each, _ in scene.run("XRANGE", keys.requests(SECOND), "-", "+")]
    figures = {"requests": 3, "tokens": 30, "total_bytes": 120, "keep_riders": 0, "not_before_ms": scene.now}
    scene.store.batches.split(scene.claim("b1"), new_id="b2", at=entries[2], **figures)
    assert (entry(scene, "b1"), entry(scene, "b2")) == (
        (3, 30, 0, POOL, SECOND),
        (7, 70, 0, POOL, SECOND),
    )


def test_an_orphan_takes_room_by_the_bodies_of_what_embarks(scene: Any) -> None:
    entries = scene.add(*(f"r{n}" for n in range(3)), body=b"x" * 40)
    scene.adopt("b1")
    assert entry(scene, "b1") is None
    batch = scene.claim("b1")
    scene.store.orphans.embark(batch, entries, record=b"{}")
    assert entry(scene, "b1") == (3, 30, 1, POOL, scene.lane.name)
    scene.store.orphans.embark(batch, entries, record=b"{}")
    assert entry(scene, "b1") == (3, 30, 1, POOL, scene.lane.name)


def test_an_entry_of_a_batch_that_went_again_since_the_lane_was_looked_at_embarks(scene: Any) -> None:
    lane = scene.lane.name
    cut(scene, "b1", 10, lane=lane)
    (entry_id,) = (each[0] for each in scene.run("XRANGE", keys.requests(lane), "-", "+"))
    scene.store.batches.again(scene.claim("b1"), not_before_ms=scene.now, reason="no room")
    assert cut(scene, "b2", 10, lane=lane) == "cut"  # the lane's newest is another one now
    holder = scene.claim("b1")
    scene.adopt("b9")
    assert scene.store.orphans.embark(scene.claim("b9"), [entry_id.decode()], record=b"{}") == 1
    assert scene.get("b1").fence == holder.fence + 1


# --- what the room looks like, and what is believed ---


def test_a_batch_may_be_sent_beside_what_was_sent_while_its_budget_has_room(scene: Any) -> None:
    sent(scene, "b1", 600)
    cut(scene, "b2", 200)
    room = scene.room(scene.claim("b2"), pool())
    assert room == Room(limits=pool())


def test_a_batch_that_may_not_be_sent_keeps_the_room_that_it_wants(scene: Any) -> None:
    sent(scene, "b1", 900)
    cut(scene, "b2", 200, pool=Pool(name=POOL))
    scene.store.batches.again(scene.claim("b2"), not_before_ms=scene.now, reason="no room")
    assert not scene.room(scene.claim("b2"), pool()).fits
    found = entry(scene, "b2")
    assert found is not None
    assert found[1:3] == (200, 0)


def test_what_a_batch_asked_for_at_its_last_intent_counts_its_riders_too(scene: Any) -> None:
    sent(scene, "b1", 800)
    cut(scene, "b2", 100, pool=Pool(name=POOL))
    assert scene.intent(scene.claim("b2"), nonce="b2", tokens=220, pool=pool()) == "no_room"
    batch = scene.claim("b2")
    assert not scene.room(batch, pool(1_000)).fits
    assert scene.room(batch, pool(1_200)).fits


def test_a_batch_that_finds_room_after_it_went_again_keeps_it_while_it_is_uploaded(scene: Any) -> None:
    sent(scene, "b1", 700)
    cut(scene, "b2", 200, lane=SECOND, pool=pool(5_000))
    scene.store.batches.again(scene.claim("b2"), not_before_ms=scene.now, reason="no room")
    assert scene.room(scene.claim("b2"), pool()).fits
    assert cut(scene, "b3", 200) == "tokens"


def test_a_batch_that_was_forgotten_keeps_the_room_of_its_range_when_requests_embark(scene: Any) -> None:
    lane = scene.lane.name
    assert cut(scene, "b1", 100, lane=lane) == "cut"
    known: dict[str, Any] = {
        "provider_id": "p1",
        "submitted_ms": scene.now,
        "expires_ms": 0,
        "first_poll_ms": scene.now,
    }
    scene.store.batches.submitted(scene.claim("b1"), **known, forgotten=("lost", 13))
    extra = scene.add("x1", "x2", "x3", lane=lane, body=b"x" * 40)
    scene.store.orphans.embark(scene.claim("b1"), extra, record=b"{}")
    found = entry(scene, "b1")
    assert found is not None
    assert found[:3] == (13, 130, 1)


def test_a_limit_that_the_provider_named_is_believed_until_it_lapses(scene: Any) -> None:
    sent(scene, "b1", 500)
    assert scene.lower(sent(scene, "b2", 200), told=600, tokens=200, pool=pool()) == 600
    lapses = scene.now + 1_000_000
    assert limits_now(scene, now_ms=lapses - 1) == pool(600)
    assert limits_now(scene, now_ms=lapses) == pool(1_000)


def test_a_believed_limit_lapses_in_the_store_too(scene: Any) -> None:
    sent(scene, "b1", 500)
    cut(scene, "b3", 60)
    scene.lower(sent(scene, "b2", 200), told=600, tokens=200, pool=pool())
    batch, lapses = scene.claim("b3"), scene.now + 1_000_000
    assert scene.room(batch, pool(), now_ms=lapses - 1).limits == pool(600)
    assert scene.room(batch, pool(), now_ms=lapses).limits == pool(1_000)


def test_a_refusal_without_a_figure_teaches_what_was_let_in_for_a_shorter_while(scene: Any) -> None:
    sent(scene, "b1", 500)
    assert scene.lower(sent(scene, "b2", 200), tokens=200, pool=pool()) == 500
    lapses = scene.now + 100_000
    assert limits_now(scene, now_ms=lapses - 1) == pool(500)
    assert limits_now(scene, now_ms=lapses) == pool(1_000)


def test_a_refusal_teaches_nothing_where_nothing_of_ours_was_let_in(scene: Any) -> None:
    assert scene.lower(sent(scene, "b1", 200), tokens=200, pool=pool()) == 0
    assert limits_now(scene) == pool()


def test_a_limit_that_does_not_explain_the_refusal_is_believed_and_a_guess_as_well(scene: Any) -> None:
    sent(scene, "b1", 300)
    assert scene.lower(sent(scene, "b2", 200), told=900, tokens=200, pool=pool()) == 300
    assert limits_now(scene) == pool(300)
    assert limits_now(scene, now_ms=scene.now + 100_000) == pool(900)
    assert limits_now(scene, now_ms=scene.now + 1_000_000) == pool(1_000)


def test_a_guess_is_never_less_than_the_least_that_may_be_guessed(scene: Any) -> None:
    sent(scene, "b1", 1)
    assert scene.lower(sent(scene, "b2", 100), told=900, tokens=100, pool=pool(), least=45) == 45


def test_what_is_believed_of_creates_is_no_limit_of_a_pool_and_is_never_shortened(scene: Any) -> None:
    scene.store.accounts.defer("openai", until_ms=scene.now + 900_000)
    scene.store.accounts.defer("openai", until_ms=scene.now + 60_000)
    assert scene.run("HGET", keys.account_believed("openai"), "creates") == b"%d" % (scene.now + 900_000)
    assert scene.store.accounts.believed(["openai"], now_ms=scene.now) == {}
    assert scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert cut(scene, "b1", 10) == "creates"
    scene.now += 900_000
    assert cut(scene, "b1", 10) == "cut"


def test_a_believed_limit_above_the_configured_one_changes_nothing(scene: Any) -> None:
    sent(scene, "b1", 900)
    scene.lower(sent(scene, "b2", 900), told=1_500, tokens=900, pool=pool())
    assert limits_now(scene) == pool(1_000)


def test_a_limit_is_believed_where_none_is_configured(scene: Any) -> None:
    unknown = Pool(name=POOL)
    sent(scene, "b1", 500)
    scene.lower(sent(scene, "b2", 200), told=600, tokens=200, pool=unknown)
    assert limits_now(scene, limits=unknown) == Pool(name=POOL, tokens=600)
    assert cut(scene, "b3", 200, pool=unknown) == "tokens"


def test_a_budget_of_requests_is_lowered_in_requests(scene: Any) -> None:
    limits = pool(0, 100)
    sent(scene, "b1", 1, rows=40, pool=limits)
    batch = sent(scene, "b2", 1, rows=30, pool=limits)
    assert scene.lower(batch, pool=limits) == 40
    assert limits_now(scene, limits=limits) == pool(0, 40)


def test_what_is_believed_of_one_pool_says_nothing_of_another(scene: Any) -> None:
    sent(scene, "b1", 500)
    scene.lower(sent(scene, "b2", 200), tokens=200, pool=pool())
    other = pool(name="gpt-5")
    assert limits_now(scene, limits=other) == other


def test_a_believed_limit_holds_at_cut_and_intent(scene: Any) -> None:
    sent(scene, "b1", 500)
    cut(scene, "b3", 60)
    scene.lower(sent(scene, "b2", 200), tokens=200, pool=pool())
    scene.store.batches.again(scene.claim("b2"), not_before_ms=scene.now, reason="no room")
    assert scene.intent(scene.claim("b3"), nonce="b3", tokens=60, pool=pool()) == "no_room"
    assert cut(scene, "b4", 60) == "tokens"


def test_believed_limits_are_read_by_account_and_pool_while_they_last(scene: Any) -> None:
    sent(scene, "b1", 300)
    scene.lower(sent(scene, "b2", 200), told=900, tokens=200, pool=pool())
    believed = scene.store.accounts.believed
    assert believed(["openai", "anthropic"], now_ms=scene.now) == {("openai", POOL): pool(300)}
    assert believed(["openai"], now_ms=scene.now + 100_000) == {("openai", POOL): pool(900)}
    assert believed(["openai"], now_ms=scene.now + 1_000_000) == {}


def test_an_account_shows_what_each_pool_has_in_use(scene: Any) -> None:
    sent(scene, "b1", 300, rows=30)
    cut(scene, "b2", 100)
    sent(scene, "b3", 70, rows=7, pool=pool(name="gpt-5"))
    (facts,) = scene.store.accounts.facts(["openai"], now_ms=scene.now)
    assert dict(facts.pools) == {POOL: PoolUse(tokens=400, requests=40), "gpt-5": PoolUse(tokens=70, requests=7)}


# --- estimates ---


def learn(scene: Any, batch_id: str, per_token: float, weight: float) -> None:
    """Settle a batch whose answers tell so."""
    batch = scene.ended(f"r-{batch_id}", batch_id=batch_id)
    scene.settle(scene.answer(scene.carried(batch)[0], f"r-{batch_id}"), batch=batch)
    assert scene.settled(batch, observed=Observed(per_token=per_token, weight=weight))


def per_token(scene: Any) -> float:
    return float(scene.run("HGET", keys.walk(scene.lane.name), "per_token") or 0)


def test_an_estimate_moves_from_the_usual_one_by_the_weight_of_what_was_seen(scene: Any) -> None:
    learn(scene, "b1", 8.0, 0.5)
    assert 1 / per_token(scene) == pytest.approx((1 / 4 + 1 / 8) / 2, rel=1e-4)
    learn(scene, "b2", 2.0, 0.25)
    assert 1 / per_token(scene) == pytest.approx(0.75 * (1 / 4 + 1 / 8) / 2 + 0.25 / 2, rel=1e-4)


def test_a_batch_that_tells_nothing_leaves_the_estimate(scene: Any) -> None:
    learn(scene, "b1", 0.0, 0.0)
    assert per_token(scene) == 0


def test_a_repeated_settled_learns_once(scene: Any) -> None:
    batch = scene.ended("r1")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    seen = Observed(per_token=8.0, weight=0.5)
    scene.settled(batch, observed=seen)
    once = per_token(scene)
    scene.settled(batch, observed=seen)
    assert per_token(scene) == once


def test_a_walk_that_was_pruned_is_not_made_again_by_a_late_batch(scene: Any) -> None:
    batch = scene.ended("r1")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    scene.run("DEL", keys.walk(scene.lane.name))
    scene.settled(batch, observed=Observed(per_token=8.0, weight=0.5))
    assert keys.walk(scene.lane.name) not in scene.key_names()


def test_the_walk_and_the_batch_use_the_estimate_of_their_lane(scene: Any) -> None:
    learn(scene, "b1", 8.0, 1.0)
    scene.add("r2", body=b"x" * 40)
    seen = scene.walk_all()
    assert seen.tokens == 5
    assert scene.cut("b2", seen=seen) == "cut"
    assert (scene.get("b2").tokens, scene.get("b2").per_token) == (5, pytest.approx(8.0))


def test_what_embarks_is_estimated_as_its_lane_is(scene: Any) -> None:
    learn(scene, "b1", 8.0, 1.0)
    entries = scene.add("r2", body=b"x" * 40)
    scene.adopt("b9")
    scene.store.orphans.embark(scene.claim("b9"), entries, record=b"{}")
    assert entry(scene, "b9") == (1, 5, 1, POOL, scene.lane.name)


# --- rows that went without a file ---


def test_the_custom_ids_of_inline_rows_are_kept_in_their_order_until_they_are_settled(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.intent(batch, sent=("c3", "c1", "c2"))
    assert scene.store.batches.sent("b1") == ["c3", "c1", "c2"]
    ended = scene.end(submitted(scene, scene.get("b1")))
    assert scene.store.batches.sent("b1") == ["c3", "c1", "c2"]
    scene.settle(scene.answer(scene.carried(ended)[0]), batch=ended)
    assert scene.settled(ended)
    assert scene.store.batches.sent("b1") == []
    assert keys.sent("b1") not in scene.key_names()


def test_the_custom_ids_of_inline_rows_are_forgotten_when_the_batch_goes_again(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.intent(batch, sent=("c1", "c2"))
    scene.store.batches.again(scene.claim("b1"), not_before_ms=scene.now, reason="no room")
    assert scene.store.batches.sent("b1") == []


def test_rows_in_a_file_leave_no_custom_ids(scene: Any) -> None:
    scene.submitting("r1")
    assert keys.sent("b1") not in scene.key_names()
