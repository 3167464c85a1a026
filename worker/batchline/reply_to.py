"""Where a request's reply is wanted: the forms of ``reply_to`` (docs/protocol.md). Pure."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from batchline.errors import InvalidRequest

QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
STREAM = "stream:"
_LATER = {"celery:": "a Celery task", "https://": "a webhook"}


class ReplyTo(msgspec.Struct, frozen=True, kw_only=True):
    """A callback queue by kind and name: the list ``batchline:reply:<name>`` or the stream ``batchline:replies:<name>``."""

    kind: Literal["list", "stream"]
    name: str


def parse_reply_to(text: str) -> ReplyTo:
    """Take a request's ``reply_to`` apart: ``N`` is a list, ``stream:N`` a stream; raises InvalidRequest for anything else."""
    for prefix, what in _LATER.items():
        if text.startswith(prefix):
            raise InvalidRequest(
                f"reply_to names {what} ({prefix}…), which this version cannot call: name a queue or stream:QUEUE"
            )
    kind: Literal["list", "stream"] = "stream" if text.startswith(STREAM) else "list"
    name = text.removeprefix(STREAM)
    if not QUEUE_NAME.match(name):
        raise InvalidRequest(
            "reply_to is no callback queue: write a name of 1 to 128 of A-Z a-z 0-9 . _ - , or stream: and such a name"
        )
    return ReplyTo(kind=kind, name=name)
