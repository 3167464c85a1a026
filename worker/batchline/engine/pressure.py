"""Back pressure: settling pauses while its replies have no room. Providers keep results for weeks, so nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.engine.context import Context
from batchline.errors import Paused
from batchline.store.records import Batch
from batchline.store.settling import Answer, Queue

MEMORY_WAIT_S = 10.0
QUEUE_WAIT_S = 30.0


def check_begun(context: Context, batch: Batch) -> None:
    """Raise Paused before any results are read, while the queue for which this batch paused last is still too long."""
    kind, _, key = batch.paused_by.partition(" ")
    if key:
        queue = Queue(kind="stream" if kind == "stream" else "list", key=key, default="")
        _check_queues(context, [queue])


def check_room(context: Context, batch: Batch, answers: Sequence[Answer]) -> None:
    """Raise Paused when these answers should not be settled now.

    Above ``pressure.pause_above`` of the store's memory only what makes room goes on: answers that are no larger than the
    requests they delete, or whose readers keep up. Else a store full of requests could never be drained.
    """
    shared = _shared(answers)
    waiting = _check_queues(context, list(shared.values()))
    pause_above = context.settings.pressure.pause_above
    share = context.store.memory.share()
    if share <= pause_above:
        return
    read_at_once = {key for key, waits in zip(shared, waiting, strict=True) if waits == 0}
    stay = [answer for answer in answers if answer.queue.key not in read_at_once]
    added = sum(len(answer.reply) for answer in stay)
    if added > len(stay) * batch.row_bytes // max(batch.rows, 1):
        raise Paused(
            f"the store uses {share:.0%} of its maxmemory (pressure.pause_above is {pause_above:.0%}); "
            "read replies or raise maxmemory",
            wait_s=MEMORY_WAIT_S,
        )


def _shared(answers: Sequence[Answer]) -> dict[str, Queue]:
    """Return the queues that several requests share; a default queue has one reply at the most."""
    return {answer.queue.key: answer.queue for answer in answers if answer.queue.key != answer.queue.default}


def _check_queues(context: Context, queues: Sequence[Queue]) -> list[int]:
    if not queues:
        return []
    max_queue = context.settings.pressure.max_queue
    waiting = context.store.settling.waiting(queues)
    for queue, waits in zip(queues, waiting, strict=True):
        if waits > max_queue:
            raise Paused(
                f"{waits} replies wait in the callback queue {queue.key} (pressure.max_queue is {max_queue}); read them",
                wait_s=QUEUE_WAIT_S,
                queue=f"{queue.kind} {queue.key}",
            )
    return waiting
