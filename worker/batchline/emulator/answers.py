"""Deterministic answers: the same seed and body give the same text, ids and tokens.

Every answer carries `sha256:<hex>` of the user's message, so that whoever asked can see that it is theirs.
"""

import base64
import hashlib
import struct
from collections.abc import Callable
from typing import Any

from batchline.emulator.bill import Usage
from batchline.emulator.prompts import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MODERATIONS,
    RESPONSES,
    Prompt,
    digest_of,
    tokens_of,
)

DEFAULT_DIMENSIONS = 8
MAX_DIMENSIONS = 3_072
LINE_SEPARATORS = "\u2028\u2029\u0085"

# A label follows the hash when the prompt asks for the category of a support ticket; the first word found decides.
_LABELS = {
    "billing": ("invoice", "charge", "refund", "payment", "billing"),
    "shipping": ("deliver", "parcel", "shipping", "shipment"),
    "account": ("password", "log in", "login", "account"),
    "technical": ("crash", "error", "bug", "freez"),
}


def answer(endpoint: str, body: dict[str, Any], prompt: Prompt, now: int, seed: int) -> tuple[dict[str, Any], Usage]:
    """Return an OpenAI answer to `body` and its usage; `now` in unix seconds is the answer's `created`."""
    return _BUILDERS[endpoint](body, prompt, now, mark_of(prompt.digest, seed))


def message(prompt: Prompt, seed: int, *, service_tier: str) -> tuple[dict[str, Any], Usage]:
    """Return an Anthropic message that answers `prompt`, and its usage."""
    text = text_of(prompt)
    written_5m, written_1h = prompt.cache.written_5m, prompt.cache.written_1h
    usage = Usage(prompt.input_tokens, cached_tokens(prompt), tokens_of(text), written_5m, written_1h)
    body = {
        "id": f"msg_{mark_of(prompt.digest, seed)}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.input_tokens - usage.cached_tokens - written_5m - written_1h,
            "cache_creation_input_tokens": written_5m + written_1h,
            "cache_creation": {"ephemeral_5m_input_tokens": written_5m, "ephemeral_1h_input_tokens": written_1h},
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "server_tool_use": None,
            "service_tier": service_tier,
        },
    }
    return body, usage


def mark_of(digest: str, seed: int) -> str:
    """Return the part of an answer's id that is its own."""
    return hashlib.blake2b(f"{seed}/{digest}".encode(), digest_size=12).hexdigest()


def text_of(prompt: Prompt) -> str:
    """Return the text that answers `prompt`."""
    text = f"sha256:{prompt.digest}"
    if "[[u2028]]" in prompt.text:
        text += f" separators:{LINE_SEPARATORS}end"
    return text + _label(prompt)


def _label(prompt: Prompt) -> str:
    asked = (prompt.system, prompt.text)
    if not any("lassif" in text for text in asked) or not any("icket" in text for text in asked):
        return ""
    question = prompt.text.lower()
    for label, words in _LABELS.items():
        if any(word in question for word in words):
            return f" category: {label}"
    return f" category: {tuple(_LABELS)[int(prompt.digest[:4], 16) % len(_LABELS)]}"


def cached_tokens(prompt: Prompt) -> int:
    """Return how many of the prompt's tokens were read from a cache."""
    if any(prompt.cache):
        return prompt.cache.read
    return prompt.input_tokens // 2 if "[[cached]]" in prompt.text else 0


def _chat(body: dict[str, Any], prompt: Prompt, now: int, mark: str) -> tuple[dict[str, Any], Usage]:
    text = text_of(prompt)
    usage = Usage(prompt.input_tokens, cached_tokens(prompt), tokens_of(text))
    reply: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": f"chatcmpl-{mark}",
        "object": "chat.completion",
        "created": now,
        "model": body["model"],
        "choices": [{"index": 0, "message": reply, "logprobs": None, "finish_reason": "stop"}],
        "usage": _chat_usage(usage),
        "service_tier": "default",
        "system_fingerprint": None,
    }, usage


def _chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _response(body: dict[str, Any], prompt: Prompt, now: int, mark: str) -> tuple[dict[str, Any], Usage]:
    text = text_of(prompt)
    usage = Usage(prompt.input_tokens, cached_tokens(prompt), tokens_of(text))
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": f"msg_{mark}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    return {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": now,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [item],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
        "usage": _response_usage(usage),
    }, usage


def _response_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _completion(body: dict[str, Any], prompt: Prompt, now: int, mark: str) -> tuple[dict[str, Any], Usage]:
    text = text_of(prompt)
    usage = Usage(prompt.input_tokens, 0, tokens_of(text))
    total = usage.input_tokens + usage.output_tokens
    return {
        "id": f"cmpl-{mark}",
        "object": "text_completion",
        "created": now,
        "model": body["model"],
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": total,
        },
    }, usage


def _embedding(body: dict[str, Any], prompt: Prompt, _now: int, _mark: str) -> tuple[dict[str, Any], Usage]:
    wanted = body.get("dimensions")
    dimensions = min(wanted, MAX_DIMENSIONS) if isinstance(wanted, int) and wanted > 0 else DEFAULT_DIMENSIONS
    encode = _base64 if body.get("encoding_format") == "base64" else list
    rows = []
    for index, text in enumerate(prompt.texts):
        digest = digest_of(text)
        vector = encode(vector_of(digest, dimensions))
        rows.append({"object": "embedding", "index": index, "embedding": vector, "sha256": digest})
    usage = {"prompt_tokens": prompt.input_tokens, "total_tokens": prompt.input_tokens}
    return {"object": "list", "data": rows, "model": body["model"], "usage": usage}, Usage(prompt.input_tokens, 0, 0)


def vector_of(digest: str, dimensions: int) -> tuple[float, ...]:
    """Return numbers in [-1, 1) that a 32-bit float holds exactly."""
    raw = bytes.fromhex(digest)
    return tuple((raw[index % len(raw)] - 128) / 128 for index in range(dimensions))


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _moderation(_body: dict[str, Any], prompt: Prompt, _now: int, mark: str) -> tuple[dict[str, Any], Usage]:
    names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    results = [
        {
            "flagged": False,
            "categories": dict.fromkeys(names, False),
            "category_scores": dict.fromkeys(names, 0.0),
            "category_applied_input_types": {name: ["text"] for name in names},
            "sha256": digest_of(text),
        }
        for text in prompt.texts
    ]
    # A moderation tells no usage and costs nothing.
    return {"id": f"modr-{mark}", "model": prompt.model, "results": results}, Usage(0, 0, 0)


_Builder = Callable[[dict[str, Any], Prompt, int, str], tuple[dict[str, Any], Usage]]
_BUILDERS: dict[str, _Builder] = {
    CHAT: _chat,
    RESPONSES: _response,
    EMBEDDINGS: _embedding,
    COMPLETIONS: _completion,
    MODERATIONS: _moderation,
}
