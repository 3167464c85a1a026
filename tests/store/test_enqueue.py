"""enqueue: a request's id is accepted once per lane, while it is pending and for a window after it was settled."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.errors import StoreError
from batchline.requests import Request
from batchline.store import keys


def request(scene: Any, request_id: str = "r1", **fields: Any) -> Request:
    return Request(id=request_id, lane=scene.lane.name, body=b'{"a":1}', **fields)


def test_an_entry_holds_the_fields_of_the_raw_protocol(scene: Any) -> None:
    full = request(scene, reply_to="out", deadline_ms=7, metadata=b"{}", traceparent="00-1")
    scene.store.intake.enqueue([(full, 1000)])
    ((_, fields),) = scene.run("XRANGE", keys.requests(scene.lane.name), "-", "+")
    assert fields == {
        b"id": b"r1",
        b"body": b'{"a":1}',
        b"reply_to": b"out",
        b"deadline": b"7",
        b"metadata": b"{}",
        b"traceparent": b"00-1",
    }


def test_the_lane_is_named_in_the_set_of_lanes(scene: Any) -> None:
    scene.enqueue("r1")
    assert list(scene.store.intake.lanes()) == [scene.lane.name]


def test_a_repeat_is_answered_with_the_first_entry(scene: Any) -> None:
    first, second = (scene.store.intake.enqueue([(request(scene), 1000)])[0] for _ in range(2))
    assert (first.new, second.new) == (True, False)
    assert first.entry == second.entry
    assert scene.entries() == [first.entry]


def test_an_id_is_accepted_again_in_another_lane(scene: Any) -> None:
    other = Request(id="r1", lane="openai:chat:gpt-5-nano", body=b"{}")
    answers = scene.store.intake.enqueue([(request(scene), 1000), (other, 1000)])
    assert [answer.new for answer in answers] == [True, True]


def test_one_call_takes_many_requests_and_answers_in_their_order(scene: Any) -> None:
    answers = scene.store.intake.enqueue([(request(scene, f"r{i % 150}"), 1000) for i in range(200)])
    assert [answer.new for answer in answers] == [True] * 150 + [False] * 50
    assert scene.entries() == [answer.entry for answer in answers[:150]]


def test_a_pending_id_has_no_expiry(scene: Any) -> None:
    scene.enqueue("r1", window_ms=1)
    assert scene.run("PTTL", keys.request_id(scene.lane.name, "r1")) == -1


def test_a_settled_id_is_refused_for_its_window(scene: Any) -> None:
    entry = scene.enqueue("r1", window_ms=50_000)
    scene.settle(scene.answer(entry))
    assert 40_000 < scene.run("PTTL", keys.request_id(scene.lane.name, "r1")) <= 50_000
    assert not scene.store.intake.enqueue([(request(scene), 50_000)])[0].new


def test_an_id_with_an_empty_window_is_free_once_settled(scene: Any) -> None:
    scene.settle(scene.answer(scene.enqueue("r1", window_ms=0)))
    assert scene.store.intake.enqueue([(request(scene), 0)])[0].new


def test_bytes_that_are_no_utf8_and_line_separators_stay_as_they_are(scene: Any) -> None:
    body = b'{"a":"\xe2\x80\xa8\xc2\x85\xff\x00"}'
    scene.store.intake.enqueue([(Request(id="ü}{*", lane=scene.lane.name, body=body), 1000)])
    ((_, fields),) = scene.run("XRANGE", keys.requests(scene.lane.name), "-", "+")
    assert (fields[b"id"], fields[b"body"]) == ("ü}{*".encode(), body)


def test_a_lane_key_of_another_type_is_an_error_without_the_body_and_nothing_is_written(scene: Any) -> None:
    scene.run("SET", keys.requests(scene.lane.name), "x")
    before = scene.snapshot()
    with pytest.raises(StoreError) as caught:
        scene.store.intake.enqueue([(Request(id="r1", lane=scene.lane.name, body=b"my prompt"), 1000)])
    assert "my prompt" not in str(caught.value)
    assert scene.snapshot() == before
