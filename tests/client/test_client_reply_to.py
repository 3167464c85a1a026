"""The forms of reply_to."""

from __future__ import annotations

import pytest

from batchline.errors import InvalidRequest
from batchline.reply_to import ReplyTo, parse_reply_to


def test_a_plain_name_is_a_list() -> None:
    assert parse_reply_to("my-app_1.2") == ReplyTo(kind="list", name="my-app_1.2")


def test_a_stream_is_named_with_its_prefix() -> None:
    assert parse_reply_to("stream:my-app") == ReplyTo(kind="stream", name="my-app")


@pytest.mark.parametrize(
    "text",
    ["", "a:b", "stream:", "stream:a:b", "stream:stream:a", "a\n", "a b", "*", "ä", "x" * 129, "lanes{}", "redis://x"],
)
def test_what_is_no_queue_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no callback queue"):
        parse_reply_to(text)


@pytest.mark.parametrize("text", ["celery:app/task@queue", "https://example.com/hook"])
def test_callbacks_of_a_later_version_are_refused_by_kind(text: str) -> None:
    with pytest.raises(InvalidRequest, match="this version cannot call"):
        parse_reply_to(text)
