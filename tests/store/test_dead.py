"""Dead letters: kept whole by settle, listed across lanes, redriven as new entries, dropped."""

from __future__ import annotations

from typing import Any

from batchline.store import keys
from batchline.store.dead import Place

LANE = "openai:chat:gpt-5-mini"
NOW = 1_800_000_000_000


def letters(scene: Any, *, bodies: bool = True) -> list[Any]:
    return list(scene.store.dead.letters(scene.store.dead.newest(100), bodies=bodies))


def fields(scene: Any, entry: str) -> dict[bytes, bytes]:
    ((_, found),) = scene.run("XRANGE", keys.requests(LANE), entry, entry)
    return dict(found)


def test_a_request_given_up_on_is_answered_and_kept_whole(scene: Any) -> None:
    scene.bury("r1", record=b'{"used":3,"errors":[]}')
    assert scene.entries() == []
    assert scene.replies() == [b"reply r1"]
    (letter,) = letters(scene)
    assert (letter.lane, letter.died_ms, letter.attempts) == (LANE, NOW, b'{"used":3,"errors":[]}')
    assert letter.fields == {b"id": b"r1", b"body": b"{}"}


def test_bytes_that_are_no_text_survive(scene: Any) -> None:
    (entry,) = scene.add("r\udcff\udc80", body=b'\x00\xff\xfe"')
    scene.settle(scene.answer(entry, dead=b"{}"))
    (letter,) = letters(scene)
    assert letter.fields == {b"id": b"r\xff\x80", b"body": b'\x00\xff\xfe"'}
    scene.store.dead.redrive(scene.store.dead.newest(1))
    assert fields(scene, scene.entries()[0]) == letter.fields


def test_other_answers_leave_no_dead_letter(scene: Any) -> None:
    (entry,) = scene.add("r1")
    scene.settle(scene.answer(entry, status="failed"))
    assert letters(scene) == []
    assert keys.dead(LANE) not in scene.key_names()


def test_an_answer_that_is_skipped_leaves_no_dead_letter(scene: Any) -> None:
    scene.bury("r1")
    (place,) = scene.store.dead.newest(1)
    scene.store.dead.drop([place])
    assert scene.settle(scene.answer(place.entry, dead=b"{}")) == [0]
    assert letters(scene) == []


def test_bodies_are_read_only_when_asked_for(scene: Any) -> None:
    scene.bury("r1")
    (letter,) = letters(scene, bodies=False)
    assert letter.fields == {b"id": b"r1"}


def test_letters_of_all_lanes_are_listed_newest_first(scene: Any) -> None:
    scene.bury("r1")
    scene.run("ZADD", keys.DEAD, NOW + 1, "5-1|openai:chat:other|tenant=a")
    newest = scene.store.dead.newest(10)
    assert [place.lane for place in newest] == ["openai:chat:other|tenant=a", LANE]
    assert newest[0].entry == "5-1"
    assert len(scene.store.dead.newest(1)) == 1
    assert [place.lane for place in scene.store.dead.newest(10, lane=LANE)] == [LANE]


def test_more_letters_than_a_page_are_all_found(scene: Any) -> None:
    members = [part for i in range(1200) for part in (NOW + i % 3, f"{i}-0|{LANE}")]
    scene.run("ZADD", keys.DEAD, *members)
    assert len(scene.store.dead.newest(5000)) == 1200
    assert len(scene.store.dead.newest(700, lane=LANE)) == 700
    found = {place.entry for page in scene.store.dead.scan(lane=LANE, until_ms=NOW + 5) for place in page}
    assert len(found) == 1200


def test_a_scan_leaves_out_other_lanes_and_what_died_later(scene: Any) -> None:
    scene.run(
        "ZADD", keys.DEAD, NOW, f"1-0|{LANE}", NOW + 9, f"2-0|{LANE}", NOW, f"3-0|{LANE}|tenant=a", NOW, "4-0|x|" + LANE
    )
    found = [place.entry for page in scene.store.dead.scan(lane=LANE, until_ms=NOW) for place in page]
    assert found == ["1-0"]


def test_a_redriven_letter_is_a_new_entry_with_the_same_fields_and_no_attempt(scene: Any) -> None:
    places = scene.bury("r1", "r2")
    assert scene.store.dead.redrive(places) == 2
    entries = scene.entries()
    assert [fields(scene, entry)[b"id"] for entry in entries] == [b"r1", b"r2"]
    assert not {place.entry for place in places} & set(entries)
    assert [owed.attempts for owed in scene.store.settling.owed(LANE, entries)] == [b"", b""]
    assert letters(scene) == []
    assert {keys.dead(LANE), keys.DEAD} & scene.key_names() == set()


def test_a_redrive_sent_twice_moves_nothing_twice(scene: Any) -> None:
    places = scene.bury("r1")
    assert [scene.store.dead.redrive(places), scene.store.dead.redrive(places)] == [1, 0]
    assert len(scene.entries()) == 1


def test_a_redriven_request_holds_its_id_window_again(scene: Any) -> None:
    first = scene.enqueue("r1", window_ms=5_000)
    scene.settle(scene.answer(first, dead=b"{}"))
    scene.run("DEL", keys.request_id(LANE, "r1"))  # the window has passed
    scene.store.dead.redrive(scene.store.dead.newest(1))
    (entry,) = scene.entries()
    assert scene.enqueue("r1") == entry
    assert scene.run("PTTL", keys.request_id(LANE, "r1")) == -1
    scene.settle(scene.answer(entry))
    assert 0 < scene.run("PTTL", keys.request_id(LANE, "r1")) <= 5_000


def test_a_redrive_leaves_the_window_of_a_later_request_with_the_same_id_alone(scene: Any) -> None:
    first = scene.enqueue("r1")
    scene.settle(scene.answer(first, dead=b"{}"))
    scene.run("DEL", keys.request_id(LANE, "r1"))
    later = scene.enqueue("r1")
    scene.store.dead.redrive(scene.store.dead.newest(1))
    assert scene.store.intake.entry_by_id(LANE, "r1") == later


def test_large_letters_are_read_and_moved_a_few_at_a_time(scene: Any) -> None:
    entries = scene.add("r1", "r2", "r3", body=b'"' + b"x" * 1_500_000 + b'"')
    for entry in entries:
        scene.settle(scene.answer(entry, dead=b"{}"))
    raw = scene.store.connection.call("letters", [keys.dead(LANE)], ["", 2_000_000, *entries])
    assert len(raw) == 2
    assert len(letters(scene)) == 3
    assert scene.store.dead.redrive(scene.store.dead.newest(9)) == 3


def test_a_dropped_letter_leaves_nothing(scene: Any) -> None:
    places = scene.bury("r1", "r2")
    assert scene.store.dead.drop(places[:1]) == 1
    assert [place.entry for place in scene.store.dead.newest(9)] == [places[1].entry]
    assert scene.store.dead.drop(places) == 1
    assert {keys.dead(LANE), keys.DEAD} & scene.key_names() == set()


def test_what_is_no_dead_letter_is_not_found(scene: Any) -> None:
    place = Place(lane=LANE, entry="1-1", died_ms=0)
    dead = scene.store.dead
    assert (dead.died_ms(LANE, "1-1"), list(dead.letters([place])), dead.redrive([place]), dead.drop([place])) == (
        None,
        [],
        0,
        0,
    )


def test_dead_letters_are_counted_by_lane(scene: Any) -> None:
    scene.bury("r1", "r2")
    (depth,) = scene.store.ledger.depths()
    assert (depth.owed, depth.dead) == (0, 2)
