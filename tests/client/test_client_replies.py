"""The text of an answer, by the provider's shape."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from batchline.replies import Reply, answer_text
from batchline.requests import Reply as WireReply
from batchline.requests import Timing, decode_reply, encode_reply

SHAPES: list[tuple[Any, str | None]] = [
    ({"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "hi"}}]}, "hi"),
    ({"object": "chat.completion", "choices": [{"message": {"content": None, "tool_calls": []}}]}, None),
    ({"object": "text_completion", "choices": [{"text": "hi"}]}, "hi"),
    (
        {
            "object": "response",
            "output": [
                {"type": "reasoning", "summary": []},
                {
                    "type": "message",
                    "content": [{"type": "output_text", "text": "h"}, {"type": "refusal", "refusal": ""}],
                },
                {"type": "message", "content": [{"type": "output_text", "text": "i"}]},
            ],
        },
        "hi",
    ),
    ({"type": "message", "content": [{"type": "thinking", "thinking": ""}, {"type": "text", "text": "hi"}]}, "hi"),
    ({"type": "message", "content": [{"type": "tool_use"}]}, None),
    (
        {
            "candidates": [
                {
                    "content": {
                        "role": "model",
                        "parts": [{"text": "why", "thought": True}, {"text": "h"}, {"text": "i"}],
                    }
                },
                {"content": {"role": "model", "parts": [{"text": "another"}]}},
            ],
            "usageMetadata": {},
        },
        "hi",
    ),
    ({"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}}]}, None),
    ({"candidates": [{"content": {"role": "model", "parts": [{"text": "why", "thought": True}]}}]}, None),
    ({"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}, None),
    ({"candidates": [{"finishReason": "SAFETY"}]}, None),
    ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, None),
    ({"embedding": {"values": [0.1]}}, None),
    ({"object": "list", "data": [{"embedding": [0.1]}]}, None),
    ({"results": [{"flagged": False}]}, None),
    ([], None),
    (None, None),
]


@pytest.mark.parametrize(("response", "text"), SHAPES)
def test_the_text_is_found_by_the_shape_of_the_answer(response: Any, text: Any) -> None:
    assert answer_text(response) == text


def test_response_and_metadata_come_decoded() -> None:
    wire = WireReply(
        id="a",
        status="succeeded",
        response=msgspec.Raw(json.dumps(SHAPES[0][0]).encode()),
        metadata=msgspec.Raw(b'{"k": 1}'),
        timing=Timing(enqueued=1, settled=2),
    )
    reply = Reply(decode_reply(encode_reply(wire)))
    assert (reply.text, reply.metadata) == ("hi", {"k": 1})
