"""What prompts have in common at their beginning, and the order in which those that have it stand together. Pure.

Providers cache prompts by their beginning: tools and instructions come first, then the conversation, whatever the order of a
body's keys. Sources: developers.openai.com/api/docs/guides/prompt-caching,
platform.claude.com/docs/en/build-with-claude/prompt-caching, ai.google.dev/gemini-api/docs/caching
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import pairwise

import msgspec
from msgspec import Raw

START_BYTES = 4096
"""So much of a conversation's beginning is looked at: about the 1,024 tokens below which no provider caches anything."""

_NOTHING = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_LEADERS = frozenset({"system", "developer"})


class Prefix(msgspec.Struct, frozen=True):
    """The beginning of a prompt as two hashes of 8 bytes, the same in every process.

    ``instructions`` is of tools, system prompt and schema of the answer, 0 where there are none; ``start`` of these and of the
    conversation's first 4 kB.
    """

    instructions: int
    start: int


class _Body(msgspec.Struct, frozen=True, gc=False):
    tools: Raw = Raw()
    messages: Raw = Raw()
    system: Raw = Raw()
    output_config: Raw = Raw()
    response_format: Raw = Raw()
    instructions: Raw = Raw()
    input: Raw = Raw()
    text: Raw = Raw()
    prompt: Raw = Raw()
    contents: Raw = Raw()
    cached_content: Raw = Raw()
    cached_content_too: Raw = msgspec.field(name="cachedContent", default=Raw())
    system_instruction: Raw = Raw()
    system_instruction_too: Raw = msgspec.field(name="systemInstruction", default=Raw())


class _Turn(msgspec.Struct, frozen=True, gc=False):
    role: str = ""


_BODY = msgspec.json.Decoder(_Body)
_TURNS = msgspec.json.Decoder(list[Raw])
_TURN = msgspec.json.Decoder(_Turn)

Parts = tuple[list[Raw], list[Raw]]
"""What is said before the conversation, and its turns, as far as anybody looks at them."""


def prefix_of(endpoint: str, body: bytes) -> Prefix:
    """Return how the prompt of a checked body (bodies.py) begins; an endpoint or shape that is not known begins like its body."""
    read = _READERS.get(endpoint)
    try:
        before, turns = read(_BODY.decode(body)) if read else ([], [Raw(body)])
    except msgspec.DecodeError:
        before, turns = [], [Raw(body)]
    said = [_said(part) for part in before]
    instructions = _digest(b"\n".join(said)) if any(said) else b""
    start = _digest(instructions + _beginning(turns))
    return Prefix(int.from_bytes(instructions), int.from_bytes(start))


def _said(part: Raw) -> bytes:
    content = bytes(part)
    return b"" if len(content) <= 4 and content in _NOTHING else content


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _beginning(turns: list[Raw]) -> bytes:
    found, left = b"", START_BYTES
    for turn in turns:
        piece = memoryview(turn)[:left]
        found += piece
        left -= len(piece)
        if not left:
            break
    return found


def _messages(body: _Body) -> Parts:
    return [body.tools, body.system, body.output_config], _listed(body.messages)


def _chat(body: _Body) -> Parts:
    leading, turns = _led(_listed(body.messages))
    return [_schema(body.response_format), body.tools, *leading], turns


def _responses(body: _Body) -> Parts:
    leading, turns = _led(_listed(body.input))
    return [_schema(body.text), body.tools, body.instructions, *leading], turns


def _completions(body: _Body) -> Parts:
    return [], [body.prompt]


def _generate(body: _Body) -> Parts:
    cached = [body.cached_content, body.cached_content_too]
    return [*cached, body.tools, body.system_instruction, body.system_instruction_too], _listed(body.contents)


_READERS: Mapping[str, Callable[[_Body], Parts]] = {
    "messages": _messages,
    "chat": _chat,
    "responses": _responses,
    "completions": _completions,
    "generate": _generate,
}


def _listed(turns: Raw) -> list[Raw]:
    """Return the turns of a conversation; a single text or object is its only one."""
    return _TURNS.decode(turns) if bytes(memoryview(turns)[:1]) == b"[" else [turns]


def _led(turns: list[Raw]) -> Parts:
    """Part the system's and developer's messages that lead a conversation from the rest of it."""
    at = 0
    while at < len(turns) and bytes(memoryview(turns[at])[:1]) == b"{" and _TURN.decode(turns[at]).role in _LEADERS:
        at += 1
    return turns[:at], turns[at:]


def _schema(form: Raw) -> Raw:
    """Return the form of the answer where it is a schema: that stands before the system prompt."""
    content = bytes(form)
    return form if content and b'"json_schema"' in content else Raw()


class Prefixes:
    """The prefixes of a batch's rows, in 16 bytes a row."""

    def __init__(self) -> None:
        self._instructions = array("Q")
        self._starts = array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, prefix: Prefix) -> None:
        """Take the next row's."""
        self._instructions.append(prefix.instructions)
        self._starts.append(prefix.start)

    def instructions(self, row: int) -> int:
        """Return the hash of a row's instructions, 0 where it has none."""
        return self._instructions[row]

    def shared(self) -> frozenset[int]:
        """Return the instructions that at least two rows share."""
        counted = Counter(self._instructions)
        return frozenset(each for each, rows in counted.items() if each and rows > 1)

    def order(self) -> list[int] | None:
        """Return the rows so that those with the same instructions stand together, and among them those that start alike.

        Groups come in the order of their first rows, and rows of a group in theirs. None where they stand so already.
        """
        first: dict[int, int] = {}
        places = array("Q")
        for row, (instructions, start) in enumerate(zip(self._instructions, self._starts, strict=True)):
            # Without instructions, a prompt shares with others only what its start shares with theirs.
            group = first.setdefault(instructions or start, row)
            places.append(group << 32 | first.setdefault(start, row))
        if all(one <= next_one for one, next_one in pairwise(places)):
            return None
        return sorted(range(len(places)), key=places.__getitem__)
