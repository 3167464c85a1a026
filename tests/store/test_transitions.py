"""intent, submitted, ambiguous, again, ended: one fenced script per arrow between the states of a batch."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.store import keys


def again(scene: Any, batch: Any) -> None:
    scene.store.batches.again(batch, not_before_ms=scene.now + 5_000, reason="no room")


def agendas(scene: Any) -> tuple[list[Any], list[Any]]:
    read = [scene.run("ZRANGE", name, 0, -1, "WITHSCORES") for name in (keys.AGENDA_ACCUMULATE, keys.AGENDA_POLL)]
    return read[0], read[1]


def test_an_intent_is_on_record_before_the_provider_is_asked(scene: Any) -> None:
    batch = scene.submitting("r1")
    assert (batch.state, batch.nonce, batch.rows, batch.row_bytes) == ("submitting", "nonce-b1", 3, 300)
    assert (batch.input_ref, batch.intent_ms) == ("file-1", scene.now)


def test_an_intent_notes_when_it_was_made_by_the_clock_of_the_store(scene: Any) -> None:
    batch = scene.submitting("r1")
    assert 0 < scene.get().asked_ms < scene.get().call_until
    scene.store.batches.ambiguous(batch, look_ms=scene.now)
    scene.run("HSET", keys.batch(batch.id), "call_until", 1)
    scene.store.batches.again(scene.claim(), not_before_ms=scene.now, reason="absent")
    assert scene.get().asked_ms == 0


def test_an_intent_holds_the_lease_until_the_call_cannot_be_running(scene: Any) -> None:
    batch = scene.submitting("r1")
    assert batch.lease_until == batch.call_until
    left = batch.call_until - int(scene.run("TIME")[0]) * 1000
    assert 88_000 < left <= 91_000


def test_an_intent_counts_as_a_create_of_the_hour(scene: Any) -> None:
    scene.submitting("r1")
    key = keys.account_creates("openai")
    assert scene.run("ZRANGE", key, 0, -1) == [b"nonce-b1"]
    assert 0 < scene.run("TTL", key) <= 3600


def test_creates_older_than_an_hour_are_forgotten(scene: Any) -> None:
    key = keys.account_creates("openai")
    scene.run("ZADD", key, scene.now - 3_600_001, "ancient")
    scene.submitting("r1")
    assert scene.run("ZRANGE", key, 0, -1) == [b"nonce-b1"]


def test_an_intent_is_refused_when_the_creates_of_the_hour_are_used_up(scene: Any) -> None:
    scene.submitting("r1", batch_id="b1")
    batch = scene.batch("r2", batch_id="b2")
    before = scene.snapshot()
    assert scene.intent(batch, max_creates=1) == "creates"
    assert scene.snapshot() == before


def test_an_intent_is_refused_once_another_attempt_has_one(scene: Any) -> None:
    batch = scene.submitting("r1")
    with pytest.raises(StoreError, match="STATE"):
        scene.intent(batch, nonce="another")


@pytest.mark.parametrize("state", ["submitting", "reconciling"])
def test_a_submitted_batch_moves_to_the_poll_agenda_and_gives_its_lease_back(scene: Any, state: str) -> None:
    batch = scene.submitting("r1")
    if state == "reconciling":
        scene.store.batches.ambiguous(batch, look_ms=scene.now)
    assert scene.submit(batch)
    batch = scene.get()
    assert (batch.state, batch.provider_id, batch.lease_until) == ("submitted", "p1", 0)
    assert (batch.submitted_ms, batch.expires_ms) == (scene.now - 7_000, scene.now + 9_000)
    assert agendas(scene) == ([], [[b"b1", scene.now + 1_000]])


def test_a_provider_batch_belongs_to_one_batch_alone(scene: Any) -> None:
    assert scene.submit(scene.submitting("r1", batch_id="b1"))
    other = scene.submitting("r2", batch_id="b2")
    before = scene.snapshot()
    assert not scene.submit(other)
    assert scene.snapshot() == before


def test_a_batch_without_intent_cannot_be_submitted(scene: Any) -> None:
    with pytest.raises(StoreError, match="STATE"):
        scene.submit(scene.batch("r1"))


def test_a_batch_is_not_submitted_twice_with_two_provider_batches(scene: Any) -> None:
    batch = scene.submitted("r1")
    with pytest.raises(StoreError, match="STATE"):
        scene.submit(batch, provider_id="p2")


def test_an_ambiguous_create_is_looked_into_later_and_counted(scene: Any) -> None:
    batch = scene.submitting("r1")
    scene.store.batches.ambiguous(batch, look_ms=scene.now + 5_000)
    batch = scene.get()
    assert (batch.state, batch.nonce, batch.next_ms, batch.lease_until) == (
        "reconciling",
        "nonce-b1",
        scene.now + 5_000,
        0,
    )
    assert agendas(scene)[0] == [[b"b1", scene.now + 5_000]]
    assert scene.run("HGET", keys.account("openai"), "ambiguous") == b"1"


@pytest.mark.parametrize("state", ["batch", "submitted", "ended"])
def test_only_a_create_call_can_be_ambiguous(scene: Any, state: str) -> None:
    batch = getattr(scene, state)("r1")
    with pytest.raises(StoreError, match="STATE"):
        scene.store.batches.ambiguous(batch, look_ms=0)


def test_again_keeps_range_and_riders_and_forgets_the_attempt(scene: Any) -> None:
    scene.pool(2)
    cut = scene.batch("r1")
    scene.store.batches.ride(cut, horizon_ms=scene.now, max_requests=100)
    carried = scene.carried(cut)
    scene.intent(cut)
    scene.submit(scene.get())
    again(scene, scene.claim())
    batch = scene.get()
    assert (batch.state, batch.reason, batch.again, batch.next_ms) == ("cut", "no room", 1, scene.now + 5_000)
    assert (batch.rows, batch.row_bytes, batch.input_ref, batch.intent_ms) == (0, 0, "", 0)
    assert (batch.provider_id, batch.submitted_ms, batch.expires_ms, batch.lease_until) == ("", 0, 0, 0)
    assert (batch.riders, batch.retried) == (2, 0)
    assert scene.carried(batch) == carried
    assert agendas(scene) == ([[b"b1", scene.now + 5_000]], [])


def test_again_lets_the_claim_on_the_dead_provider_batch_lapse_later(scene: Any) -> None:
    again(scene, scene.submitted("r1"))
    assert scene.run("TTL", keys.provider_batch("openai", "provider-b1")) > 30 * 86400


def test_again_counts_each_time_it_happens_and_no_repeat(scene: Any) -> None:
    for _ in range(2):
        batch = scene.claim() if scene.entries() else scene.batch("r1")
        scene.intent(batch, nonce=f"n{batch.fence}")
        again(scene, batch)
        again(scene, batch)
    assert scene.get().again == 2


def test_again_waits_until_the_create_call_can_no_longer_be_running(scene: Any) -> None:
    batch = scene.submitting("r1")
    scene.store.batches.ambiguous(batch, look_ms=scene.now)
    before = scene.snapshot()
    with pytest.raises(StoreError, match="create call"):
        again(scene, batch)
    assert scene.snapshot() == before
    scene.age()
    again(scene, batch)
    assert scene.get().state == "cut"


def test_a_create_that_was_refused_goes_again_at_once(scene: Any) -> None:
    again(scene, scene.submitting("r1"))
    assert scene.get().state == "cut"


def test_results_are_never_thrown_away_by_again(scene: Any) -> None:
    with pytest.raises(StoreError, match="STATE"):
        again(scene, scene.ended("r1"))


def test_a_batch_can_be_submitted_again_under_a_new_nonce(scene: Any) -> None:
    again(scene, scene.submitted("r1"))
    assert scene.intent(scene.claim(), nonce="second") == "durable"
    assert scene.submit(scene.get(), provider_id="p2")
    assert (scene.get().nonce, scene.get().provider_id) == ("second", "p2")


def test_an_ended_batch_gives_the_room_back_and_keeps_lease_and_agenda(scene: Any) -> None:
    batch = scene.submitted("r1")
    assert scene.run("HLEN", keys.account_open("openai")) == 1
    ended = scene.end(batch)
    assert (ended.state, ended.outcome, ended.ended_ms, ended.results) == (
        "ended",
        "completed",
        scene.now - 1_000,
        "{}",
    )
    assert ended.lease_until == batch.lease_until
    assert scene.run("HLEN", keys.account_open("openai")) == 0
    assert len(agendas(scene)[1]) == 1


def test_only_a_submitted_batch_ends(scene: Any) -> None:
    with pytest.raises(StoreError, match="STATE"):
        scene.end(scene.submitting("r1"))


def test_records_are_read_together_and_missing_ones_left_out(scene: Any) -> None:
    scene.batch("r1")
    assert [batch.id for batch in scene.store.batches.records(["nowhere", "b1"])] == ["b1"]
    assert scene.store.batches.get("nowhere") is None


def test_an_intent_is_refused_when_its_batch_was_cancelled_after_it_was_read(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.store.intake.revoke(batch.id, now_ms=scene.now)
    before = scene.snapshot()
    assert scene.intent(batch) == "cancelled"
    assert scene.snapshot() == before
    assert scene.intent(scene.get(batch.id)) == "durable"


def test_without_tags_no_create_starts_while_one_with_as_many_rows_may_run(scene: Any) -> None:
    scene.intent(scene.batch("r1", batch_id="b1"), tagged=False)
    twin = scene.batch("r2", batch_id="b2")
    before = scene.snapshot()
    assert scene.intent(twin, nonce="n2", tagged=False) == "twin_submitting"
    assert scene.snapshot() == before


def test_without_tags_an_unresolved_attempt_holds_up_only_those_with_as_many_rows(scene: Any) -> None:
    first = scene.batch("r1", batch_id="b1")
    scene.intent(first, tagged=False)
    scene.store.batches.ambiguous(first, look_ms=scene.now)
    other = scene.batch("r2", batch_id="b2")
    assert scene.intent(other, nonce="n2", tagged=False) == "twin_reconciling"
    assert scene.intent(other, nonce="n2", rows=2, tagged=False) == "durable"


def test_without_tags_a_recorded_batch_holds_up_nobody(scene: Any) -> None:
    scene.intent(scene.batch("r1", batch_id="b1"), tagged=False)
    scene.submit(scene.get("b1"))
    assert scene.run("EXISTS", keys.account_intents("openai")) == 0
    assert scene.intent(scene.batch("r2", batch_id="b2"), nonce="n2", tagged=False) == "durable"


def test_tags_make_twins_harmless(scene: Any) -> None:
    scene.submitting("r1", batch_id="b1")
    assert scene.intent(scene.batch("r2", batch_id="b2"), nonce="n2") == "durable"


def test_an_attempt_that_the_store_forgot_is_put_on_record_from_cut(scene: Any) -> None:
    batch = scene.batch("r1")
    assert scene.store.batches.submitted(
        batch, provider_id="p1", submitted_ms=1, expires_ms=0, first_poll_ms=2, forgotten=("lost", 1)
    )
    assert (scene.get().state, scene.get().nonce, scene.get().rows) == ("submitted", "lost", 1)


def test_a_batch_in_cut_is_not_submitted_without_a_forgotten_attempt(scene: Any) -> None:
    with pytest.raises(StoreError, match="STATE"):
        scene.submit(scene.batch("r1"))


@pytest.mark.parametrize("state", ["submitted", "ended"])
def test_a_disowned_provider_batch_is_free_for_others_and_remembered_here(scene: Any, state: str) -> None:
    batch = scene.submitted("r1") if state == "submitted" else scene.ended("r1")
    scene.store.batches.disown(batch, look_ms=scene.now)
    found = scene.get()
    assert (found.state, found.provider_id, found.disowned) == ("reconciling", "", "provider-b1")
    assert scene.run("EXISTS", keys.provider_batch("openai", "provider-b1")) == 0
    assert scene.run("HEXISTS", keys.account_open("openai"), "b1") == 1


def test_the_time_at_which_the_input_file_was_deleted_is_kept_until_the_batch_goes_again(scene: Any) -> None:
    batch = scene.submitting("r1")
    scene.store.batches.ambiguous(batch, look_ms=1, fenced_ms=77)
    scene.store.batches.ambiguous(batch, look_ms=1)
    assert scene.get().fenced_ms == 77
    scene.age()
    again(scene, batch)
    assert scene.get().fenced_ms == 0
