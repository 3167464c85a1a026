"""Dead letters: requests given up on, kept whole until they are redriven or dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from batchline.store import keys
from batchline.store.connection import Argument, Connection
from batchline.store.records import Letter, owed_record, text

PAGE = 500
BYTES = 2_000_000


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a dead letter lies, and when (unix ms) its request was given up on."""

    lane: str
    entry: str
    died_ms: int


class Dead:
    """The dead letters of all lanes. Nothing here holds a lease: a letter is owed to nobody."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def newest(self, most: int, *, lane: str | None = None) -> list[Place]:
        """Return the letters that came last, newest first."""
        found: list[Place] = []
        start = 0
        while len(found) < most:
            page = self._connection.run("ZRANGE", keys.DEAD, start, start + PAGE - 1, "REV", "WITHSCORES")
            places = _places(page)
            found += [place for place in places if lane is None or place.lane == lane]
            if len(places) < PAGE:
                break
            start += PAGE
        return found[:most]

    def scan(self, *, lane: str | None = None, until_ms: int) -> Iterator[list[Place]]:
        """Iterate, page by page, over all letters that died until then; they may be moved away meanwhile."""
        cursor = 0
        match = "*" if lane is None else "*|" + re.sub(r"([*?\[\]\\])", r"\\\1", lane)
        while True:
            cursor, page = self._connection.run("ZSCAN", keys.DEAD, cursor, "MATCH", match, "COUNT", PAGE)
            yield [
                place for place in _places(page) if place.died_ms <= until_ms and (lane is None or place.lane == lane)
            ]
            cursor = int(cursor)
            if cursor == 0:
                return

    def died_ms(self, lane: str, entry: str) -> int | None:
        """Return when (unix ms) a request was given up on; None when it is no dead letter."""
        score = self._connection.run("ZSCORE", keys.DEAD, f"{entry}|{lane}")
        return None if score is None else int(float(score))

    def letters(self, places: Sequence[Place], *, bodies: bool = False) -> Iterator[Letter]:
        """Read letters; those that were moved away meanwhile are left out."""
        for lane, of_lane in _by_lane(places).items():
            died = {place.entry: place.died_ms for place in of_lane}
            left = list(died)
            while left:
                arguments: list[Argument] = ["body" if bodies else "", BYTES, *left[:PAGE]]
                rows = self._connection.call("letters", [keys.dead(lane)], arguments)
                left = left[len(rows) :]
                for owed in (owed_record(row) for row in rows if row):
                    yield Letter(
                        lane=lane,
                        entry=owed.entry,
                        died_ms=died[owed.entry],
                        attempts=owed.attempts,
                        fields=owed.fields,
                    )

    def redrive(self, places: Sequence[Place]) -> int:
        """Put letters back into their lanes as new entries; returns how many (a repeat moves nothing)."""
        moved = 0
        for lane, of_lane in _by_lane(places).items():
            where = [keys.dead(lane), keys.DEAD, keys.requests(lane), keys.LANES]
            left = [place.entry for place in of_lane]
            while left:
                arguments: list[Argument] = [lane, keys.request_id(lane, ""), BYTES, *left[:PAGE]]
                entries = self._connection.call("redrive", where, arguments)
                left = left[len(entries) :]
                moved += sum(1 for entry in entries if entry)
        return moved

    def drop(self, places: Sequence[Place]) -> int:
        """Forget letters for good; returns how many."""
        dropped = 0
        for lane, of_lane in _by_lane(places).items():
            for start in range(0, len(of_lane), PAGE):
                entries = [place.entry for place in of_lane[start : start + PAGE]]
                dropped += int(self._connection.call("drop", [keys.dead(lane), keys.DEAD], [lane, *entries]))
        return dropped


def _by_lane(places: Sequence[Place]) -> dict[str, list[Place]]:
    lanes: dict[str, list[Place]] = {}
    for place in places:
        lanes.setdefault(place.lane, []).append(place)
    return lanes


def _places(page: Sequence[tuple[bytes, float]]) -> list[Place]:
    members = ((text(member).partition("|"), score) for member, score in page)
    return [Place(lane=lane, entry=entry, died_ms=int(float(score))) for (entry, _, lane), score in members]
