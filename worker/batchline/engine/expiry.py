"""Replies that expire unread: counted and deleted when their queue's time has come, so that no reply vanishes silently."""

from __future__ import annotations

import structlog

from batchline.engine.context import Context

log = structlog.get_logger("batchline.expiry")

LOOKS_PER_TICK = 10


def expire(context: Context) -> None:
    """Let go of the callback queues that nobody read in time, so many at most in one tick. Raises StoreError."""
    replies = queues = 0
    for _ in range(LOOKS_PER_TICK):
        found = context.store.unread.expire()
        replies, queues = replies + found.lists + found.streams, queues + found.queues
        if not found.more:
            break
    if queues:
        log.warning("replies.expired", replies=replies, queues=queues)
