"""settle: a request is answered once; reply, ledger, batch sums and all traces change together."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.requests import Cost, Usage
from batchline.store import keys
from batchline.store.settling import Queue

OUT = keys.reply_list("out")


def stream(request_id: str = "r1") -> Queue:
    return Queue(kind="stream", key=keys.reply_stream("out"), default=default(request_id))


def default(request_id: str = "r1") -> str:
    return keys.reply_default("openai:chat:gpt-5-mini", request_id)


def test_a_reply_lies_in_its_list_and_the_entry_is_gone(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    assert scene.settle(scene.answer(entry), batch=batch) == [1]
    assert scene.replies() == [b"reply r1"]
    assert scene.entries() == []


def test_replies_lie_in_the_order_of_their_answers(scene: Any) -> None:
    first, second = scene.add("r1", "r2")
    scene.settle(scene.answer(second, "r2"), scene.answer(first, "r1"))
    assert scene.replies() == [b"reply r2", b"reply r1"]


def test_a_reply_lies_in_its_stream_under_one_field(scene: Any) -> None:
    (entry,) = scene.add("r1")
    assert scene.settle(scene.answer(entry, queue=stream())) == [1]
    ((_, fields),) = scene.run("XRANGE", keys.reply_stream("out"), "-", "+")
    assert fields == {b"reply": b"reply r1"}


@pytest.mark.parametrize("kind", ["list", "stream"])
def test_a_callback_queue_expires(scene: Any, kind: str) -> None:
    (entry,) = scene.add("r1")
    answer = scene.answer(entry, queue=stream()) if kind == "stream" else scene.answer(entry)
    scene.settle(answer)
    assert scene.waiting() == [answer.queue.key]
    assert 604_000 < scene.run("TTL", answer.queue.key) - 86_400 <= 604_800


def test_an_answered_entry_is_skipped_and_counted_once(scene: Any) -> None:
    (entry,) = scene.add("r1")
    assert scene.settle(scene.answer(entry), scene.answer(entry)) == [1, 0]
    assert scene.settle(scene.answer(entry)) == [0]
    assert scene.replies() == [b"reply r1"]
    assert scene.ledger()["settled:succeeded:batch"] == 1


def test_no_answers_are_no_call(scene: Any) -> None:
    assert scene.settle() == []
    assert scene.key_names() == set()


def test_a_success_settles_an_entry_that_waits_in_the_retry_pool(scene: Any) -> None:
    (entry,) = scene.pool(1)
    batch = scene.ended("r2")
    assert scene.settle(scene.answer(entry), batch=batch) == [1]
    assert not scene.key_names() & {keys.retry(scene.lane.name), keys.attempts(scene.lane.name)}


def test_a_success_settles_an_entry_that_another_batch_carries(scene: Any) -> None:
    late = scene.ended("r1", batch_id="b1")
    scene.submitted("r2", batch_id="b2")
    (entry,) = scene.carried(scene.get("b2"))
    assert scene.settle(scene.answer(entry), batch=late) == [1]
    assert scene.carried(scene.get("b2")) == []


def test_a_failure_settles_what_the_batch_carries(scene: Any) -> None:
    batch = scene.ended("r1")
    (entry,) = scene.carried(batch)
    assert scene.settle(scene.answer(entry, status="failed", own=True), batch=batch) == [1]


def test_a_failure_settles_a_rider(scene: Any) -> None:
    batch = scene.riders(1)
    (entry,) = scene.carried(batch)
    assert scene.settle(scene.answer(entry, status="failed", own=True), batch=batch) == [1]
    assert keys.riders("b1") not in scene.key_names()


def test_a_failure_from_a_batch_that_does_not_carry_the_entry_is_skipped(scene: Any) -> None:
    late = scene.ended("r1", batch_id="b1")
    (entry,) = scene.carried(late)
    scene.retry(late, [entry])
    assert scene.settle(scene.answer(entry, status="failed", own=True), batch=late) == [0]
    assert scene.entries() == [entry]
    assert scene.replies() == []


def test_an_entry_beyond_ten_in_its_millisecond_belongs_to_the_batch_by_number(scene: Any) -> None:
    entries = scene.add_many(12)
    scene.walk(max_requests=9)
    scene.cut(seen=scene.walk(max_requests=9))
    batch = scene.claim()
    answers = [scene.answer(entry, status="failed", own=True) for entry in entries]
    assert scene.settle(*answers, batch=batch) == [1] * 9 + [0] * 3


def test_without_a_batch_a_failure_settles_only_what_no_batch_carries(scene: Any) -> None:
    (pooled,) = scene.pool(1)
    scene.batch("r1", batch_id="b1")
    (carried,) = scene.carried(scene.get())
    (unwalked,) = scene.add("r2")
    answers = [scene.answer(entry, status="failed", own=True) for entry in (pooled, carried, unwalked)]
    assert scene.settle(*answers) == [1, 0, 1]
    assert scene.entries() == [carried]


@pytest.mark.parametrize("queue", [stream(), Queue(kind="list", key=OUT, default=default())])
def test_a_queue_of_another_type_sends_the_reply_to_the_default_queue(scene: Any, queue: Queue) -> None:
    first, second = scene.add("r1", "r2")
    scene.run("SET", queue.key, "mine")
    assert scene.settle(scene.answer(first, queue=queue), scene.answer(second, "r2", queue=stream("r2"))) in (
        [2, 1],
        [2, 2],
    )
    assert scene.replies(default("r1")) == [b"reply r1"]
    assert scene.run("TTL", default("r1")) > 0
    assert scene.run("GET", queue.key) == b"mine"
    assert scene.run("TTL", queue.key) == -1


def test_a_list_is_no_stream(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("RPUSH", keys.reply_stream("out"), "x")
    assert scene.settle(scene.answer(entry, queue=stream())) == [2]


def test_a_stream_whose_ids_are_used_up_sends_the_reply_to_the_default_queue(scene: Any) -> None:
    first, second = scene.add("r1", "r2")
    scene.run("XADD", keys.reply_stream("out"), "18446744073709551615-18446744073709551615", "reply", "last")
    assert scene.settle(scene.answer(first, queue=stream()), scene.answer(second, "r2")) == [2, 1]


def test_a_reply_that_fits_nowhere_is_kept_with_the_undelivered(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("SET", OUT, "x")
    scene.run("SET", default(), "x")
    assert scene.settle(scene.answer(entry)) == [3]
    assert scene.replies(keys.UNDELIVERED) == [b"reply r1"]
    assert scene.run("TTL", keys.UNDELIVERED) > 0
    assert scene.ledger()["callbacks:list:undelivered"] == 1


def test_the_id_window_begins_when_its_own_entry_is_settled(scene: Any) -> None:
    scene.enqueue("r1", window_ms=50_000)
    (raw,) = scene.add("r1", ms=scene.now * 2)
    window = keys.request_id(scene.lane.name, "r1")
    scene.settle(scene.answer(raw))
    assert scene.run("PTTL", window) == -1
    scene.settle(scene.answer(scene.entries()[0]))
    assert 40_000 < scene.run("PTTL", window) <= 50_000


def test_an_id_window_of_another_type_spoils_nothing(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.run("RPUSH", keys.request_id(scene.lane.name, "r1"), "x")
    assert scene.settle(scene.answer(entry)) == [1]
    assert scene.entries() == []


def test_a_settled_entry_leaves_no_trace_in_pool_attempts_cancels_and_riders(scene: Any) -> None:
    batch = scene.riders(1)
    (entry,) = scene.carried(batch)
    scene.store.intake.cancel(scene.lane.name, entry)
    scene.settle(scene.answer(entry, status="cancelled", own=True), batch=batch)
    lane = scene.lane.name
    traces = {keys.retry(lane), keys.attempts(lane), keys.cancels(lane), keys.riders("b1")}
    assert not scene.key_names() & traces


@pytest.fixture
def mixed(scene: Any) -> Any:
    """Settle six different answers; enqueued 10 s ago (the second 20 s ago), submitted 7 s ago."""
    scene.add("r0", "r1", ms=scene.now - 20_000)
    batch = scene.ended("r2", "r3", "r4", "r5")
    e0, e1, e2, e3, e4, e5 = scene.carried(batch)
    scene.run("SET", keys.reply_list("wrong"), "x")
    scene.run("SET", default("r4"), "x")
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=30, cache_write_tokens=10)
    cost, dear = Cost(list_nano=1_000, paid_nano=500), Cost(list_nano=7, paid_nano=9)
    wrong = [Queue(kind="list", key=keys.reply_list("wrong"), default=default(f"r{i}")) for i in range(6)]
    codes = scene.settle(
        scene.answer(e0, "r0", usage=usage, cost=cost, deadline_ms=scene.now),
        scene.answer(e1, "r1", usage=Usage(input_tokens=50, output_tokens=5), cost=dear, queue=stream("r1")),
        scene.answer(e2, "r2", usage=Usage(input_tokens=1, output_tokens=2), cost=None, unpriced=True),
        scene.answer(e3, "r3", status="failed", own=True, queue=wrong[3], deadline_ms=scene.now - 1),
        scene.answer(e4, "r4", status="failed", own=True, queue=wrong[4], deadline_ms=scene.now + 1),
        scene.answer(e5, "r5", status="cancelled", own=True),
        batch=batch,
    )
    assert codes == [1, 1, 1, 2, 3, 1]
    return scene


def test_the_ledger_of_mixed_answers_equals_a_hand_calculation(mixed: Any) -> None:
    assert mixed.ledger() == {
        "cut:age": 1,
        "settled:succeeded:batch": 3,
        "settled:failed:batch": 2,
        "settled:cancelled:batch": 1,
        "tokens:input_uncached": 60 + 50 + 1,
        "tokens:cache_read": 30,
        "tokens:cache_write": 10,
        "tokens:output": 20 + 5 + 2,
        "list_nano:batch": 1_007,
        "paid_nano:batch": 509,
        "saved_nano:batch": 500,
        "unpriced": 1,
        "latency:batch:2": 4,  # 10 s
        "latency:batch:3": 2,  # 20 s
        "latency_ms:batch": 4 * 10_000 + 2 * 20_000,
        "queue:1": 4,  # 3 s
        "queue:2": 2,  # 13 s
        "queue_ms": 4 * 3_000 + 2 * 13_000,
        "deadlines_met:batch": 2,
        "deadlines_missed:batch": 1,
        "callbacks:list:delivered": 3,
        "callbacks:stream:delivered": 1,
        "callbacks:list:default": 1,
        "callbacks:list:undelivered": 1,
    }


def test_the_sums_of_the_batch_equal_a_hand_calculation(mixed: Any) -> None:
    batch = mixed.get()
    assert (batch.succeeded, batch.failed, batch.cancelled, batch.retried) == (3, 2, 1, 0)
    assert (batch.input_tokens, batch.output_tokens) == (100 + 50 + 1, 27)
    assert (batch.list_nano, batch.paid_nano, batch.saved_nano) == (1_007, 509, 500)


def test_what_is_settled_without_a_batch_has_no_time_in_a_queue(scene: Any) -> None:
    scene.settle(scene.answer(scene.add("r1")[0], status="failed", own=True))
    assert not any(name.startswith("queue") for name in scene.ledger())


def test_what_is_settled_before_its_batch_was_submitted_has_no_time_in_a_queue(scene: Any) -> None:
    batch = scene.batch("r1")
    scene.settle(scene.answer(scene.carried(batch)[0], status="failed", own=True), batch=batch)
    assert not any(name.startswith("queue") for name in scene.ledger())


@pytest.mark.parametrize(("age_ms", "index"), [(0, 0), (1_000, 0), (1_001, 1), (90_000_000, 18), (90_000_001, 19)])
def test_latency_counts_in_the_bucket_whose_upper_bound_it_does_not_pass(scene: Any, age_ms: int, index: int) -> None:
    scene.settle(scene.answer(scene.add("r1", ms=scene.now - age_ms)[0]))
    assert scene.ledger()[f"latency:batch:{index}"] == 1


def test_an_entry_from_the_future_has_no_negative_latency(scene: Any) -> None:
    scene.settle(scene.answer(scene.add("r1", ms=scene.now + 5_000)[0]))
    assert scene.ledger()["latency:batch:0"] == 1
    assert "latency_ms:batch" not in scene.ledger()


def test_money_of_millions_of_dollars_stays_exact(scene: Any) -> None:
    nano = 4_000_000 * 10**9 + 1
    for entry in scene.add("r1", "r2"):
        scene.settle(scene.answer(entry, cost=Cost(list_nano=nano, paid_nano=nano)))
    assert scene.ledger()["paid_nano:batch"] == 2 * nano
