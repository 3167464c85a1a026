"""What is written into rows, where a setting asks for it, so that a provider caches the beginning that they share. Pure.

Only rows whose instructions at least one more row of the batch shares are marked (what is written and never read only costs),
and only those that say nothing of their own about caching.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from batchline.settings import Cache

MOST_BYTES = 80
"""No mark makes a row longer by more than this."""
KEY = "prompt_cache_key"
_CONTROL = b'"cache_control":'

Members = dict[str, Raw]
Mark = Callable[[bytes, int], bytes]
"""Returns a row with its mark, or as it was; the number is the hash of its instructions (prefixes.py)."""

_MEMBERS = msgspec.json.Decoder(Members)
_BLOCKS = msgspec.json.Decoder(list[Raw])
_TEXT = msgspec.json.Decoder(str)


def mark_for(provider: str, endpoint: str, rules: Cache, *, takes_key: bool) -> Mark | None:
    """Return how rows for an endpoint of a kind of provider are marked, None where the settings ask for nothing there.

    ``takes_key``: the account's service documents the key; another one's rows get none, since it may refuse them for it.
    """
    if provider == "anthropic" and endpoint == "messages" and rules.anthropic_ttl:
        control = Raw(msgspec.json.encode({"type": "ephemeral", "ttl": rules.anthropic_ttl}))
        return lambda row, _: _with_control(row, control)
    if provider == "openai" and endpoint in {"chat", "responses"} and rules.openai_key and takes_key:
        return _with_key
    return None


def _with_key(row: bytes, instructions: int) -> bytes:
    """Mark a row of OpenAI's shape: rows of the same key go to the same cache.

    Source: developers.openai.com/api/docs/guides/prompt-caching
    """
    members, body = _taken_apart(row, "body")
    if KEY in body:
        return row
    body[KEY] = Raw(b'"batchline-%016x"' % instructions)
    return _put_together(members, "body", body)


def _with_control(row: bytes, control: Raw) -> bytes:
    """Mark the end of the system prompt in a row of Anthropic's: tools and system prompt are cached up to there.

    Source: platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    if _CONTROL in row:
        return row
    members, params = _taken_apart(row, "params")
    marked = _marked(params.get("system", Raw(b"null")), control)
    if marked is None:
        return row
    params["system"] = marked
    return _put_together(members, "params", params)


def _marked(system: Raw, control: Raw) -> Raw | None:
    """Return a system prompt with the mark on its last block, None where that takes none or has a shape that is not known."""
    try:
        blocks = _blocks(system)
        last = _MEMBERS.decode(blocks[-1]) if blocks else {}
        if not _is_text(last):
            return None
    except msgspec.DecodeError:
        return None
    blocks[-1] = Raw(msgspec.json.encode(last | {"cache_control": control}))
    return Raw(msgspec.json.encode(blocks))


def _blocks(system: Raw) -> list[Raw]:
    """Return the blocks of a system prompt, which may be a text alone."""
    first = bytes(memoryview(system)[:1])
    if first == b'"':
        return [Raw(b'{"type":"text","text":' + bytes(system) + b"}")]
    return _BLOCKS.decode(system) if first == b"[" else []


def _is_text(block: Members) -> bool:
    """Whether a block is a text that can be marked: an empty one is refused with a mark."""
    return bytes(block.get("type", b"")) == b'"text"' and bool(_TEXT.decode(block.get("text", Raw(b'""'))).strip())


def _taken_apart(row: bytes, field: str) -> tuple[Members, Members]:
    members = _MEMBERS.decode(row)
    return members, _MEMBERS.decode(members[field])


def _put_together(members: Members, field: str, body: Members) -> bytes:
    members[field] = Raw(msgspec.json.encode(body))
    return msgspec.json.encode(members)
