"""What was used, as it is priced, whichever provider said so; and what keeps a response from being priced. Pure."""

from __future__ import annotations

from typing import NoReturn

import msgspec


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a response says was used, as it is priced. ``input`` counts all input; the other inputs are shares of it.

    ``cache_write`` includes ``cache_write_1h``, which is kept for an hour (Anthropic) or for twelve (OpenAI). ``output`` includes
    reasoning. ``modal`` are the shares of input, cache and output that are no text, by the price library's names
    (``input_audio_tokens``). ``web_searches`` and ``file_searches`` are calls, at Google queries. ``us_only``: Anthropic ran it in the
    United States on request. ``summed``: of several prompts, whose single lengths are not known.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    modal: tuple[tuple[str, int], ...] = ()
    web_searches: int = 0
    file_searches: int = 0
    us_only: bool = False
    summed: bool = False

    def unread(self) -> Tokens:
        """Return the same usage with nothing read from the cache."""
        modal = tuple((name, 0 if name.startswith("cache_") else count) for name, count in self.modal)
        return msgspec.structs.replace(self, cache_read=0, modal=modal)

    def unwritten(self) -> Tokens:
        """Return the same usage with nothing written into the cache."""
        return msgspec.structs.replace(self, cache_write=0, cache_write_1h=0)


def unknown(what: str) -> NoReturn:
    """Refuse usage that has a price which nothing here tells: unpriced, never free."""
    raise msgspec.ValidationError(what)
