"""``batchline enqueue`` and ``batchline collect``: the two halves of a run, for when they happen at different times or places."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from batchline.cli.console import note
from batchline.cli.inputs import Input, Options, SourceChanged, check_input, read_drafts
from batchline.cli.outputs import ReplyFile, decode_unchanged
from batchline.cli.progress import Progress
from batchline.cli.sources import opened
from batchline.client import MOST, Client
from batchline.errors import UsageError
from batchline.requests import Reply
from batchline.settings import load_settings, parse_seconds


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("enqueue")(enqueue)
    app.command("collect")(collect)


def enqueue(
    source: Annotated[Path, typer.Argument(metavar="INPUT.jsonl", help="One request a line; - is standard input.")],
    reply_to: Annotated[str | None, typer.Option(help="The callback queue; by default one for each request.")] = None,
    model: Annotated[str | None, typer.Option(help="The model of all requests, whatever the lines say.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When replies are wanted, e.g. 6h.")] = None,
) -> None:
    """Enqueue a file and leave; `batchline collect` reads the replies. May be repeated: an id is accepted once."""
    settings = load_settings()
    options = Options(model=model, deadline=deadline, reply_to=reply_to)
    with opened(source, settings.spool_dir) as given:
        checked = check_input(given, settings, options, now_ms=time.time_ns() // 1_000_000)
        with Client(settings=settings) as client:
            new, known = _enqueued(client, checked, options)
    print(f"{new:,} requests enqueued" + (f", {known:,} had been enqueued before" if known else ""))


def _enqueued(client: Client, checked: Input, options: Options) -> tuple[int, int]:
    """Enqueue a checked file; returns how many requests the store took, and of how many it had the id already."""
    count = Counter({True: 0, False: 0})
    try:
        with Progress("enqueued", len(checked.ids)) as progress:
            for ticket in client.enqueue_drafts(read_drafts(checked, options)):
                count[ticket.new] += 1
                progress.update(count.total())
    except SourceChanged as error:
        raise UsageError(f"{error}; {count.total():,} are enqueued, and are not taken twice") from None
    return count[True], count[False]


def collect(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A callback queue, as named in reply_to.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.jsonl", help="Replies are added to it.")],
    count: Annotated[int | None, typer.Option(min=1, help="End after so many replies.")] = None,
    timeout: Annotated[str | None, typer.Option(help="End when none came for so long, e.g. 30s.")] = None,
) -> None:
    """Write the replies of a callback queue to a file, until --count or --timeout, or interrupted.

    A reply is taken from the queue only when it is on disk; after a crash one may be written twice.
    """
    silence = _seconds(timeout)
    # The same output means the same reader: what a killed collect took and did not write comes to its successor at once.
    reader = f"collect-{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]}"
    written = failed = 0
    file = ReplyFile(output)
    try:
        with Client(settings=load_settings()) as client:
            for raw, acknowledge in client.reply_chunks(
                queue, timeout=silence, reader=reader, most=min(MOST, count or MOST)
            ):
                chunk = raw[: count - written] if count else raw
                replies = [_decoded(reply, queue) for reply in chunk]
                file.append(replies)
                acknowledge(len(chunk))
                written += len(replies)
                failed += sum(reply.status != "succeeded" for reply in replies)
                if written == count:
                    break
    finally:
        file.close()
        print(f"{written:,} replies written to {output}, {failed:,} of them failed")
    if count and written < count:
        note(
            f"batchline: only {written:,} of {count:,} replies came within the timeout; run the same command for the rest"
        )
        raise typer.Exit(1)
    raise typer.Exit(1 if failed else 0)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None


def _decoded(raw: bytes, queue: str) -> Reply:
    try:
        return decode_unchanged(raw)
    except msgspec.DecodeError as error:
        raise UsageError(f"queue {queue}: it holds something that is no reply of batchline: {error}") from None
