"""OpenAI's prompt cache, simulated so that order matters: a prompt hits what its predecessor in the file left.

Source: developers.openai.com/api/docs/guides/prompt-caching: from 1,024 tokens on, in steps of 128.  The real one keeps
more than one prompt and hits only most of the time; this one keeps the last prompt of each `prompt_cache_key` (and of
the requests without one), so that requests which lie next to those of their prefix can be told from those that do not.
"""

from collections import OrderedDict
from typing import Any

import msgspec

from batchline.emulator.prompts import CHAT, RESPONSES, CacheUse, Prompt, whole_text

MIN_TOKENS = 1_024
STEP_TOKENS = 128
MAX_KEYS = 1_000
_BYTES_PER_TOKEN = 4
_KEYED = ("prompt_cache_key", "tools", "response_format", "text")


class NeighbourCache:
    """The prompts that one batch left behind, one for each key."""

    def __init__(self) -> None:
        """Begin cold."""
        self._last: OrderedDict[bytes, bytes] = OrderedDict()

    def use(self, endpoint: str, body: dict[str, Any], prompt: Prompt) -> CacheUse:
        """Return how much of `prompt` was read, and keep it for its successor."""
        if endpoint not in (CHAT, RESPONSES):
            return CacheUse()
        key = msgspec.json.encode([body.get(name) for name in _KEYED])
        text = whole_text(endpoint, body).encode()
        shared = shared_prefix(self._last.pop(key, b""), text)
        self._last[key] = text
        if len(self._last) > MAX_KEYS:
            self._last.popitem(last=False)
        tokens = min(shared // _BYTES_PER_TOKEN, prompt.input_tokens) // STEP_TOKENS * STEP_TOKENS
        return CacheUse(tokens) if tokens >= MIN_TOKENS else CacheUse()


def shared_prefix(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
