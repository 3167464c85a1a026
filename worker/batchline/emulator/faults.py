"""What becomes of a request: answered, or one of the ways in which a provider fails.

A test asks for a failure by a marker in the user's message (table in the package docstring); a demo by a rate.
"""

import hashlib
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock

from batchline.emulator.options import Options


class Fate(Enum):
    """How one execution of a request ends."""

    ANSWER = auto()
    REJECT = auto()  # 4xx: the request itself is refused
    ERROR = auto()  # 5xx: worth another attempt
    EXPIRE = auto()
    MISSING = auto()  # executed, but no line tells of it
    DUPLICATE = auto()  # its line stands twice in the results


_ALWAYS = {
    "[[reject]]": Fate.REJECT,
    "[[fail]]": Fate.ERROR,
    "[[expire]]": Fate.EXPIRE,
    "[[missing]]": Fate.MISSING,
    "[[duplicate]]": Fate.DUPLICATE,
}
_ONCE = {"[[fail-once]]": Fate.ERROR, "[[expire-once]]": Fate.EXPIRE, "[[missing-once]]": Fate.MISSING}


@dataclass(slots=True)
class Sightings:
    """How often a message was executed before, counted per batch or realtime call.

    Kept only for messages with a `-once` marker, and for all when rates are set (about 150 bytes each).
    """

    _seen: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def earlier(self, model: str, digest: str, where: str) -> int:
        """Return in how many batches or calls before `where` this message was seen; repeatable for one `where`."""
        with self._lock:
            count, last = self._seen.get((model, digest), (0, ""))
            if last != where:
                count += 1
                self._seen[model, digest] = (count, where)
            return count - 1


@dataclass(frozen=True, slots=True)
class Fates:
    """Decides every execution; the same seed and the same messages give the same fates."""

    options: Options
    sightings: Sightings = field(default_factory=Sightings)

    def of(self, model: str, text: str, digest: str, where: str) -> Fate:
        """Return the fate of `text` in the batch or call named `where`."""
        if "[[" in text:
            for marker, fate in _ALWAYS.items():
                if marker in text:
                    return fate
            for marker, fate in _ONCE.items():
                if marker in text:
                    return Fate.ANSWER if self.sightings.earlier(model, digest, where) else fate
        if self.options.error_rate or self.options.expire_rate:
            return self._rolled(digest, self.sightings.earlier(model, digest, where))
        return Fate.ANSWER

    def _rolled(self, digest: str, earlier: int) -> Fate:
        roll = hashlib.blake2b(f"{self.options.seed}/{digest}/{earlier}".encode(), digest_size=8).digest()
        die = int.from_bytes(roll, "big") / 2**64
        if die < self.options.expire_rate:
            return Fate.EXPIRE
        if die < self.options.expire_rate + self.options.error_rate:
            return Fate.ERROR
        return Fate.ANSWER
