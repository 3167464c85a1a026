"""``batchline prune``: remove lanes that nobody uses any more, and what is older than somebody wants to keep it."""

from __future__ import annotations

import json
import time
from typing import Annotated

import msgspec
import typer

from batchline.cli.console import note, out, table
from batchline.engine.pruning import Criteria, Pruned, prune
from batchline.errors import UsageError
from batchline.settings import load_settings
from batchline.settings.units import parse_seconds
from batchline.store import Store

IDLE = "30d"
"""So long a lane must be idle where nothing else is said; then nothing that a provider keeps is of it any more."""
WHY = {
    "owed": "owed replies",
    "recent": "used lately",
    "open": "open range",
    "traces": "traces of retries or cancels",
    "dead": "dead letters",
    "batch": "unsettled batch",
    "busy": "too many open batches to tell",
    "broken": "a key of another type",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prune")(prune_)


def prune_(
    idle: Annotated[
        str | None, typer.Option("--idle", metavar="TIME", help="Lanes that are empty and took nothing in for so long.")
    ] = None,
    dead_older: Annotated[
        str | None, typer.Option("--dead-older", metavar="TIME", help="Dead letters given up on so long ago.")
    ] = None,
    days_older: Annotated[
        str | None, typer.Option("--days-older", metavar="TIME", help="Daily ledgers of days so long ago.")
    ] = None,
    undelivered_older: Annotated[
        str | None,
        typer.Option("--undelivered-older", metavar="TIME", help="Undelivered replies settled so long ago."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say what nobody needs any more, and with --yes remove it. Without a criterion: lanes idle for 30 days.

    No lane is removed that is owed a reply, has dead letters, or has a batch that is not settled. Requests may be enqueued
    meanwhile. docs/retention.md says what else is kept, and for how long.
    """
    wanted = Criteria(
        idle_s=_seconds("--idle", idle),
        dead_s=_seconds("--dead-older", dead_older),
        days_s=_seconds("--days-older", days_older),
        undelivered_s=_seconds("--undelivered-older", undelivered_older),
    )
    if wanted == Criteria():
        wanted = Criteria(idle_s=parse_seconds(IDLE))
    settings = load_settings()
    store = Store(settings.redis_url)
    try:
        done = prune(store, settings, wanted, now_ms=time.time_ns() // 1_000_000, really=yes)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"done": yes, **msgspec.to_builtins(done)}))
        return
    _print(done, yes=yes)


def _seconds(option: str, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        return parse_seconds(given)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _print(done: Pruned, *, yes: bool) -> None:
    shown = table("what", "removed" if yes else "to remove")
    rows = {
        "lanes": done.lanes,
        "dead letters": done.dead_letters,
        "daily ledgers": done.days,
        "undelivered replies": done.undelivered,
    }
    for what, count in rows.items():
        shown.add_row(what, "not asked" if count is None else f"{count:,}")
    out().print(shown)
    for word, count in done.kept.items():
        out().print(f"{count:,} lanes stay: {WHY[word]}")
    if done.found:
        out().print(f"{done.found:,} lanes were in no set of lanes and {'are' if yes else 'would be'} taken in again")
    if not yes:
        note("nothing was removed; --yes does it")
