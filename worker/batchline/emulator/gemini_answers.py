"""Gemini's answers: deterministic as all others, with its own usage.

Shapes: google-gemini/cookbook, quickstarts/Batch_mode.ipynb; zeros are left out, as Google's JSON does.
"""

from typing import Any

from batchline.emulator.answers import cached_tokens, mark_of, text_of, vector_of
from batchline.emulator.bill import Usage
from batchline.emulator.gemini_requests import named
from batchline.emulator.prompts import Prompt, tokens_of

DEFAULT_DIMENSIONS = 8
MAX_DIMENSIONS = 3_072
BLOCKED = "[[blocked]]"


def content(request: dict[str, Any], prompt: Prompt, seed: int) -> tuple[dict[str, Any], Usage]:
    """Return the GenerateContentResponse to `request` and its usage; thoughts count as output."""
    mark = mark_of(prompt.digest, seed)
    if BLOCKED in prompt.text:
        usage = Usage(prompt.input_tokens, 0, 0)
        counts = _counts(prompt.input_tokens, 0, 0, 0)
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        body = {"promptFeedback": feedback, "usageMetadata": counts, "modelVersion": prompt.model, "responseId": mark}
        return body, usage
    text = text_of(prompt)
    answered, cached, thoughts = tokens_of(text), cached_tokens(prompt), _thoughts(request, prompt)
    usage = Usage(prompt.input_tokens, cached, answered + thoughts)
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
    return {
        "candidates": [candidate],
        "usageMetadata": _counts(prompt.input_tokens, answered, cached, thoughts),
        "modelVersion": prompt.model,
        "responseId": mark,
    }, usage


def embedding(request: dict[str, Any], prompt: Prompt) -> tuple[dict[str, Any], Usage]:
    """Return the answer to one embedding; `sha256` of the text stands beside it, as in OpenAI's."""
    wanted = named(request, "outputDimensionality")
    dimensions = min(wanted, MAX_DIMENSIONS) if isinstance(wanted, int) and wanted > 0 else DEFAULT_DIMENSIONS
    counts = {"promptTokenCount": prompt.input_tokens, "promptTokenDetails": _text_tokens(prompt.input_tokens)}
    return {
        "embedding": {"values": list(vector_of(prompt.digest, dimensions))},
        "tokenCount": prompt.input_tokens,
        "usageMetadata": counts,
        "sha256": prompt.digest,
    }, Usage(prompt.input_tokens, 0, 0)


def _counts(asked: int, answered: int, cached: int, thoughts: int) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "promptTokenCount": asked,
        "candidatesTokenCount": answered,
        "totalTokenCount": asked + answered + thoughts,
        "cachedContentTokenCount": cached,
        "promptTokensDetails": _text_tokens(asked),
        "cacheTokensDetails": _text_tokens(cached) if cached else [],
        "thoughtsTokenCount": thoughts,
    }
    return {name: count for name, count in counts.items() if count}


def _text_tokens(count: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": count}]


def _thoughts(request: dict[str, Any], prompt: Prompt) -> int:
    """Return how many tokens the model thinks: 16 to 271 by the message; flash-lite only when it is told to."""
    config = named(request, "generationConfig")
    thinking = named(config, "thinkingConfig") if isinstance(config, dict) else None
    budget = named(thinking, "thinkingBudget") if isinstance(thinking, dict) else None
    if budget == 0 or ("flash-lite" in prompt.model and not thinking):
        return 0
    return 16 + int(prompt.digest[:2], 16)
