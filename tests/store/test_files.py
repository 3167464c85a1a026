"""deleted, note, length: the agenda of files, what steps note of a batch, and how full its callback queues are."""

from __future__ import annotations

from typing import Any

from batchline.store import files, keys
from batchline.store.settling import Queue

FILE = files.named("openai", "file-1")


def due(scene: Any) -> dict[str, float]:
    found = scene.run("ZRANGE", keys.FILES, 0, -1, "WITHSCORES")
    flat = [part for pair in found for part in pair] if found and isinstance(found[0], list | tuple) else found
    return {flat[i].decode(): float(flat[i + 1]) for i in range(0, len(flat), 2)}


def test_a_file_is_named_by_account_and_id() -> None:
    assert files.parts(FILE) == ("openai", "file-1")


def test_settling_puts_files_on_the_agenda_an_hour_ahead(scene: Any) -> None:
    batch = scene.ended("r1")
    scene.settle(scene.answer(scene.carried(batch)[0]), batch=batch)
    assert scene.settled(batch, refs=["file-1", "file-2"])
    assert due(scene) == {FILE: scene.now + 3_600_000, "openai|file-2": scene.now + 3_600_000}


def test_a_batch_that_still_carries_something_gives_no_file_up(scene: Any) -> None:
    batch = scene.ended("r1")
    assert scene.settled(batch, refs=["file-1"]) is None
    assert due(scene) == {}


def test_an_attempt_that_came_to_nothing_gives_its_input_file_up(scene: Any) -> None:
    batch = scene.submitted("r1")
    scene.store.batches.again(batch, not_before_ms=scene.now, reason="refused")
    assert due(scene) == {FILE: scene.now + 3_600_000}


def test_a_deleted_file_leaves_nothing(scene: Any) -> None:
    scene.run("ZADD", keys.FILES, scene.now, FILE)
    scene.store.files.failed(FILE, now_ms=scene.now)
    scene.store.files.gone(FILE, now_ms=scene.now)
    assert scene.key_names() == set()


def test_the_wait_of_a_failing_file_doubles_up_to_a_day(scene: Any) -> None:
    scene.run("ZADD", keys.FILES, scene.now, FILE)
    waits = [scene.store.files.failed(FILE, now_ms=scene.now + n) - scene.now - n for n in range(10)]
    assert waits == [min(600_000 * 2**n, 86_400_000) for n in range(10)]


def test_a_file_that_somebody_else_deleted_does_not_come_back(scene: Any) -> None:
    assert scene.store.files.failed(FILE, now_ms=scene.now) == 0
    assert scene.key_names() == set()


def test_notes_stand_in_the_record(scene: Any) -> None:
    batch = scene.submitted("r1")
    scene.store.batches.note(batch, done=3, status="in_progress", progress_ms=scene.now)
    noted = scene.get()
    assert (noted.done, noted.status, noted.progress_ms) == (3, "in_progress", scene.now)


def test_queues_are_as_long_as_what_waits_in_them(scene: Any) -> None:
    scene.run("RPUSH", "list", "a", "b")
    scene.run("XADD", "stream", "*", "reply", "a")
    asked = [("list", "list"), ("stream", "stream"), ("list", "none"), ("stream", "list"), ("list", "stream")]
    queues = [Queue(kind=kind, key=key, default="") for kind, key in asked]  # type: ignore[arg-type]
    assert scene.store.settling.waiting(queues) == [2, 1, 0, 0, 0]
