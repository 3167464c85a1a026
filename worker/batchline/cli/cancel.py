"""``batchline cancel``: a request, a batch or a whole lane. What was done and paid is still delivered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from batchline import runtime
from batchline.cli.console import note
from batchline.engine import cancelling
from batchline.engine.cancelling import Cancelled
from batchline.engine.context import Context
from batchline.errors import UsageError
from batchline.settings import load_settings

NOTHING = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Cancel a request, a batch or a lane; what was done and paid is still delivered.")
    group.command("request", no_args_is_help=True)(request)
    group.command("batch", no_args_is_help=True)(batch)
    group.command("lane", no_args_is_help=True)(lane)
    app.add_typer(group, name="cancel", no_args_is_help=True)


def request(
    lane: Annotated[
        str, typer.Argument(metavar="LANE", help="account:endpoint:model, as `batchline status` shows it.")
    ],
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id, or its entry id.")],
) -> None:
    """Cancel one request. Exit code 1 when there was nothing left to cancel."""
    with _context() as context:
        _check_lane(context, lane)
        done = cancelling.cancel_request(context, lane, request_id)
    if done.answered or done.carried:
        _say(done)
        return
    note(f"batchline: lane {lane} owes no reply to {request_id}: it was answered, or never enqueued there")
    raise typer.Exit(NOTHING)


def batch(
    batch_id: Annotated[str, typer.Argument(metavar="ID", help="A batch's id, as `batchline batches` shows it.")],
) -> None:
    """Cancel all that a batch still carries; its provider is asked to stop at the next poll. Exit code 1 when it is settled."""
    with _context() as context:
        state, done = cancelling.cancel_batch(context, batch_id)
    if state == "gone":
        raise UsageError(f"there is no batch {batch_id}; `batchline batches` lists them (records expire after a week)")
    if state == "settled":
        note(f"batchline: batch {batch_id} is settled: all its requests were answered")
        raise typer.Exit(NOTHING)
    _say(done)


def lane(
    name: Annotated[str, typer.Argument(metavar="LANE", help="account:endpoint:model, with its parts after the bar.")],
) -> None:
    """Cancel all that a lane owes now, in its batches too; what is enqueued meanwhile is left alone."""
    with _context() as context:
        _check_lane(context, name)
        done = cancelling.cancel_lane(context, name)
    _say(done)


def _check_lane(context: Context, lane: str) -> None:
    if not context.store.intake.has_lane(lane):
        raise UsageError(f"there is no lane {lane}; `batchline status` shows them")


def _say(done: Cancelled) -> None:
    print(f"{done.answered:,} cancelled and answered")
    if done.carried:
        print(f"{done.carried:,} in batches: answered by what these bring, the rest as cancelled")


@contextmanager
def _context() -> Iterator[Context]:
    context = runtime.build(load_settings())
    try:
        yield context
    finally:
        context.store.close()
