"""Response bodies in the providers' own forms, with nothing but usage in them."""

from typing import Any


def chat(prompt: int, completion: int, cached: int = 0, written: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        },
        "service_tier": "default",
    }


def responses(
    prompt: int, output: int, cached: int = 0, m30: int = 0, h12: int = 0, reasoning: int = 0
) -> dict[str, Any]:
    return {
        "object": "response",
        "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": []}],
        "usage": {
            "input_tokens": prompt,
            "output_tokens": output,
            "input_tokens_details": {
                "cached_tokens": cached,
                "cache_write_tokens": m30 + h12,
                "cache_write_tokens_details": {"ttl_30m_tokens": m30, "ttl_12h_tokens": h12},
            },
            "output_tokens_details": {"reasoning_tokens": reasoning},
        },
    }


def embeddings(prompt: int) -> dict[str, Any]:
    return {"object": "list", "data": [], "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}


def message(uncached: int, output: int, read: int = 0, m5: int = 0, h1: int = 0, thinking: int = 0) -> dict[str, Any]:
    return {
        "type": "message",
        "content": [],
        "usage": {
            "input_tokens": uncached,
            "cache_creation_input_tokens": m5 + h1,
            "cache_creation": {"ephemeral_5m_input_tokens": m5, "ephemeral_1h_input_tokens": h1},
            "cache_read_input_tokens": read,
            "output_tokens": output,
            "output_tokens_details": {"thinking_tokens": thinking},
            "service_tier": "batch",
            "inference_geo": "global",
        },
    }


def gemini(usage: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage, "modelVersion": "gemini"}


def text(prompt: int, candidates: int, cached: int = 0, thoughts: int = 0, tools: int = 0) -> dict[str, Any]:
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts + tools,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    others = {"cachedContentTokenCount": cached, "thoughtsTokenCount": thoughts, "toolUsePromptTokenCount": tools}
    return gemini(usage | {name: count for name, count in others.items() if count})
