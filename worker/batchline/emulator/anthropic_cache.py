"""Anthropic's prompt cache: a marked prefix is written by the first request that has it, and read by later ones.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching.  The real cache hits only most of the time in a
batch, and the smallest prefix differs between models; this one always hits, from 1,024 tokens on.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from batchline.emulator.errors import ApiError
from batchline.emulator.prompts import CacheUse

MIN_TOKENS = 1_024
MAX_MARKS = 4
LIFE_S = {"5m": 300.0, "1h": 3_600.0}


class Prefix(NamedTuple):
    """A prompt up to the end of one block: `key` is a hash of it, `ttl` that of its mark (None: not marked)."""

    key: bytes
    tokens: int
    ttl: str | None


class PromptCache:
    """The prefixes that one batch has written; each lives its `ttl` from its last use on."""

    def __init__(self) -> None:
        """Begin cold."""
        self._entries: dict[bytes, tuple[float, str]] = {}

    def use(self, prefixes: list[Prefix], at: float) -> CacheUse:
        """Read the longest prefix that is here `at` this time (seconds), write the marked ones that are longer."""
        marked = [index for index, prefix in enumerate(prefixes) if prefix.ttl is not None]
        reachable = prefixes[: marked[-1] + 1] if marked else []
        read = 0
        written = dict.fromkeys(LIFE_S, 0)
        for prefix in reachable:
            until, ttl = self._entries.get(prefix.key, (0.0, ""))
            if until > at:
                read = prefix.tokens
                self._entries[prefix.key] = (at + LIFE_S[ttl], ttl)
        reached = read
        for prefix in reachable:
            if prefix.ttl is not None and prefix.tokens >= MIN_TOKENS and prefix.tokens > reached:
                written[prefix.ttl] += prefix.tokens - reached
                reached = prefix.tokens
                self._entries[prefix.key] = (at + LIFE_S[prefix.ttl], prefix.ttl)
        return CacheUse(read, written["5m"], written["1h"])


def prefixes_of(params: dict[str, Any]) -> list[Prefix]:
    """Return the prefixes of a message's params, shortest first: tools, then system, then messages; none without mark.

    Only text counts as tokens, as everywhere in the emulator.  Raises ApiError (400) for marks that the API refuses.
    """
    blocks = list(_blocks(params))
    automatic = params.get("cache_control")
    if automatic is None and not any(block.get("cache_control") for _, block in blocks):
        return []
    hashed = hashlib.blake2b(str(params.get("model")).encode(), digest_size=16)
    found: list[Prefix] = []
    size = 0
    for at, block in blocks:
        control = block.get("cache_control")
        ttl = None if control is None else _ttl(at, block, control)
        plain = {name: value for name, value in block.items() if name != "cache_control"}
        hashed.update(msgspec.json.encode(plain) + b"\n")
        text = block.get("text")
        size += len(text.encode()) if isinstance(text, str) else 0
        found.append(Prefix(hashed.digest(), size // 4, ttl))
    if found and automatic is not None:
        found[-1] = found[-1]._replace(ttl=_ttl("cache_control", {}, automatic))
    _check_marks([prefix.ttl for prefix in found if prefix.ttl is not None])
    return found


def _blocks(params: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every block with its place in the params; a string is one text block."""
    for index, tool in enumerate(_listed(params.get("tools"))):
        if isinstance(tool, dict):
            yield f"tools.{index}", {"role": "tool", **tool}
    yield from _content("system", params.get("system"), "system")
    for index, message in enumerate(_listed(params.get("messages"))):
        if isinstance(message, dict):
            yield from _content(f"messages.{index}.content", message.get("content"), str(message.get("role")))


def _content(at: str, content: Any, role: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(content, str):
        yield at, {"role": role, "type": "text", "text": content}
    for index, block in enumerate(_listed(content)):
        if isinstance(block, dict):
            yield f"{at}.{index}", {"role": role, **block}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _ttl(at: str, block: dict[str, Any], control: Any) -> str:
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        raise ApiError(400, f"{at}.cache_control.type: Input should be 'ephemeral'")
    if block.get("text") == "":
        raise ApiError(400, f"{at}: cache_control cannot be set for empty text blocks")
    ttl = control.get("ttl", "5m")
    if ttl not in LIFE_S:
        raise ApiError(400, f"{at}.cache_control.ttl: Input should be '5m' or '1h'")
    return str(ttl)


def _check_marks(ttls: list[str]) -> None:
    if len(ttls) > MAX_MARKS:
        raise ApiError(400, f"A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {len(ttls)}.")
    if ttls != sorted(ttls):  # "1h" sorts before "5m", as it must stand
        message = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        raise ApiError(400, f"cache_control.ttl: {message}")
