"""Where a list that is read page by page ends, whatever the service says: one that repeats itself brings nothing new."""

from __future__ import annotations

from collections.abc import Iterable


class Pages:
    """What a list has brought so far: the ids of its items, and where each next page was said to be.

    A page that repeats the last one's items while others are made meanwhile is no sign of an end: all of it must be known.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._places: set[object] = set()

    def brings_news(self, ids: Iterable[str]) -> bool:
        """Whether a page has an item that no page before it had, or none at all: an empty page may stand in between."""
        found = set(ids)
        new = not found or not found <= self._ids
        self._ids |= found
        return new

    def goes_on(self, place: object) -> bool:
        """Whether the next page's place (an id, a token, a number) was not named before; an empty one is the end."""
        if not place or place in self._places:
            return False
        self._places.add(place)
        return True
