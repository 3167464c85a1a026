"""``batchline dead``: requests given up on, kept whole: list them, look at one, send them again, forget them.

Prompts are sensitive: nothing here shows a body unless it is asked for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from batchline.cli.console import moment, out, table
from batchline.engine.entries import read_history
from batchline.errors import UsageError
from batchline.settings import load_settings
from batchline.store import Store
from batchline.store.dead import Place
from batchline.store.records import Letter

RECENT = 50

Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Lane = Annotated[str | None, typer.Argument(metavar="[LANE", help="The lane of one dead letter.")]
Entry = Annotated[str | None, typer.Argument(metavar="ENTRY]", help="Its entry id, as `dead list` shows it.")]
OfLane = Annotated[str | None, typer.Option("--lane", metavar="LANE", help="All dead letters of this lane.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Requests given up on, kept whole: list, show, redrive or drop them.")
    group.command("list")(list_)
    group.command("show", no_args_is_help=True)(show)
    group.command("redrive", no_args_is_help=True)(redrive)
    group.command("drop", no_args_is_help=True)(drop)
    app.add_typer(group, name="dead", no_args_is_help=True)


def list_(
    as_json: Json = False,
    lane: OfLane = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = RECENT,
) -> None:
    """List dead letters, newest first, with their last error."""
    with _store() as store:
        places = store.dead.newest(most, lane=lane)
        found = {(letter.lane, letter.entry): letter for letter in store.dead.letters(places)}
    letters = [found[place.lane, place.entry] for place in places if (place.lane, place.entry) in found]
    if as_json:
        print(json.dumps([_summary(letter) for letter in letters]))
        return
    shown = table("given up", "lane", "entry", "request", "attempts", "last error", left=4)
    shown.columns[-1].justify, shown.columns[-1].no_wrap = "left", False
    for each in map(_summary, letters):
        last = each["last_error"] or {"code": "-", "message": ""}
        error = f"{last['code']}: {last['message']}"
        shown.add_row(moment(each["died_ms"]), each["lane"], each["entry"], each["id"], str(each["attempts"]), error)
    out().print(shown if letters else "no dead letters")


def show(
    lane: Annotated[str, typer.Argument(metavar="LANE")],
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="As `dead list` shows it.")],
    as_json: Json = False,
    body: Annotated[bool, typer.Option("--body", help="Show the request's body too: the prompt.")] = False,
) -> None:
    """Show all that is known of a dead letter, with every error; the body only on demand."""
    with _store() as store:
        letter = next(store.dead.letters([_place(store, lane, entry)], bodies=body), None)
    if letter is None:
        raise _no_letter(lane, entry)
    document = _document(letter)
    if as_json:
        print(json.dumps(document))
        return
    for name in ("lane", "entry"):
        print(f"{name:<15} {document[name]}")
    print(f"{'given up':<15} {moment(letter.died_ms)}")
    for name, value in document["fields"].items():
        print(f"{name:<15} {value}")
    for number, error in enumerate(document["errors"], 1):
        print(
            f"{f'attempt {number}':<15} {moment(error['at'])}  batch {error['batch']}  {error['code']}: {error['message']}"
        )


def redrive(lane: Lane = None, entry: Entry = None, of_lane: OfLane = None, everything: All = False) -> None:
    """Send dead letters again as new requests: the same id, body and callback queue, with all attempts before them."""
    with _store() as store:
        moved = _for_each(store, lane, entry, of_lane, everything, store.dead.redrive)
    print(f"{moved:,} sent again")


def drop(
    lane: Lane = None,
    entry: Entry = None,
    of_lane: OfLane = None,
    everything: All = False,
) -> None:
    """Forget dead letters for good."""
    with _store() as store:
        dropped = _for_each(store, lane, entry, of_lane, everything, store.dead.drop)
    print(f"{dropped:,} dropped")


def _for_each(
    store: Store,
    lane: str | None,
    entry: str | None,
    of_lane: str | None,
    everything: bool,
    act: Callable[[list[Place]], int],
) -> int:
    """Do something to the letters that the command line names, page by page; letters that come meanwhile are left alone."""
    if sum((lane is not None, of_lane is not None, everything)) != 1 or (lane is not None and entry is None):
        raise UsageError("say which dead letters: LANE ENTRY, or --lane LANE, or --all")
    if lane is not None and entry is not None:
        done = act([_place(store, lane, entry)])
        if not done:
            raise _no_letter(lane, entry)
        return done
    now_ms = time.time_ns() // 1_000_000
    return sum(act(page) for page in store.dead.scan(lane=of_lane, until_ms=now_ms) if page)


def _place(store: Store, lane: str, entry: str) -> Place:
    died_ms = store.dead.died_ms(lane, entry)
    if died_ms is None:
        raise _no_letter(lane, entry)
    return Place(lane=lane, entry=entry, died_ms=died_ms)


def _no_letter(lane: str, entry: str) -> UsageError:
    return UsageError(f"lane {lane} has no dead letter {entry}; `batchline dead list` shows them")


def _summary(letter: Letter) -> dict[str, Any]:
    history = read_history(letter.attempts)
    last = history.errors[-1] if history.errors else None
    return {
        "lane": letter.lane,
        "entry": letter.entry,
        "id": _text(letter.fields.get(b"id", b"")),
        "died_ms": letter.died_ms,
        "attempts": history.used,
        "last_error": {"code": last.code, "message": last.message} if last else None,
    }


def _document(letter: Letter) -> dict[str, Any]:
    """Return a letter as plain data; times are unix ms, bytes that are no text are written as escapes."""
    history = read_history(letter.attempts)
    return {
        "lane": letter.lane,
        "entry": letter.entry,
        "died_ms": letter.died_ms,
        "attempts": history.used,
        "errors": [{"code": e.code, "message": e.message, "batch": e.batch, "at": e.at} for e in history.errors],
        "fields": {_text(name): _text(value) for name, value in letter.fields.items()},
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


@contextmanager
def _store() -> Iterator[Store]:
    store = Store(load_settings().redis_url)
    try:
        yield store
    finally:
        store.close()
