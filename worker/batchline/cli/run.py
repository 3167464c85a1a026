"""``batchline run``: enqueue a file of requests, wait for every reply, write them, print a settlement. Can be killed and resumed."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from batchline.cli.console import note, out
from batchline.cli.inputs import Input, Options, SourceChanged, check_input, read_drafts
from batchline.cli.outputs import ReplyFile, decode_unchanged, read_replies
from batchline.cli.progress import Progress
from batchline.cli.run_state import Record, RunState
from batchline.cli.settlement import Settlement
from batchline.cli.sources import opened
from batchline.client import Client
from batchline.compose import Draft
from batchline.errors import BatchlineError, StoreError, UsageError
from batchline.requests import Reply
from batchline.settings import load_settings
from batchline.store.records import Outage

READER = "run"
WAKE_S = 1.0
"""How often, while no reply comes, somebody looks whether one can come at all."""
NO_WORKER_S = 15.0
RUN_ID_BYTES = 4


class AccountRefused(BatchlineError):
    """All that is still owed waits for an account whose key its provider does not accept."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(command)


def command(
    source: Annotated[Path, typer.Argument(metavar="INPUT.jsonl", help="One request a line; - is standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUTPUT.jsonl", help="One reply a line.")],
    model: Annotated[str | None, typer.Option(help="The model of all requests, whatever the lines say.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When replies are wanted, e.g. 6h.")] = None,
) -> None:
    """Enqueue a file, wait for all replies, write them and print a settlement.

    Killed or interrupted, it is resumed by the same command: nothing is sent or paid for twice.
    """
    settings = load_settings()
    with (
        opened(source, settings.spool_dir) as given,
        RunState(output) as state,
        Client(settings=settings) as client,
    ):
        checked = check_input(given, settings, _options(model, deadline, "0" * 2 * RUN_ID_BYTES), now_ms=_now_ms())
        record = state.open(sha256=checked.sha256, model=model, new_run=lambda: secrets.token_hex(RUN_ID_BYTES))
        run = Run(client, checked, record, _options(model, deadline, record.run))
        try:
            if state.finished:
                run.recall(read_replies(state.out))
            else:
                _finish(run, state)
            run.settlement.look_up_batches(client.store)
        except SourceChanged as error:
            raise UsageError(
                f"{error}, with another output (what is enqueued already is then paid for anew), or put it back as it was"
            ) from None
        except KeyboardInterrupt:
            note(f"batchline: interrupted; nothing is lost. {_how_to_resume(run)}")
            raise typer.Exit(130) from None
        except (StoreError, AccountRefused) as error:
            note(f"batchline: {error}\nbatchline: nothing is lost. {_how_to_resume(run)}")
            raise typer.Exit(3) from None
    run.settlement.print(out())
    raise typer.Exit(0 if run.settlement.all_succeeded else 1)


def _options(model: str | None, deadline: str | None, run: str) -> Options:
    return Options(model=model, deadline=deadline, reply_to=f"run-{run}", prefix=f"{run}:", shared=True)


def _finish(run: Run, state: RunState) -> None:
    """Bring a run from wherever it is to its end."""
    file = state.replies()
    try:
        if state.resumed:
            run.recall(read_replies(state.part))
            note(f"batchline: resuming: {len(run.done):,} of {len(run.lane_of):,} replies are here already")
        run.work(file)
    finally:
        file.close()
    state.finish()


def _how_to_resume(run: Run) -> str:
    owed = len(run.lane_of) - len(run.done)
    return f"{owed:,} of {len(run.lane_of):,} replies are still to come: run the same command again to collect them"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Run:
    """The requests of one run: which are done, which are owed, and what became of them."""

    def __init__(self, client: Client, checked: Input, record: Record, options: Options) -> None:
        self.done: set[str] = set()
        self.settlement = Settlement()
        self.lane_of: Mapping[str, int] = checked.ids
        self._client = client
        self._checked = checked
        self._run = record.run
        self._options = options
        self._owed = Counter(checked.ids.values())
        self._outages_before: dict[str, Outage] = {}

    @property
    def _queue(self) -> str:
        return f"run-{self._run}"

    def recall(self, replies: Iterable[Reply]) -> None:
        """Count replies that were written before."""
        for reply in replies:
            self._count(reply)

    def work(self, file: ReplyFile) -> None:
        """Enqueue what is not done and write replies until all are there. Raises StoreError, AccountRefused."""
        # What was answered while nobody listened comes first: it must not be enqueued again, however long ago that was.
        self._collect(file, timeout_s=0)
        self._outages_before = {account: self._outage(account) for account in self._accounts()}
        total = len(self.lane_of)
        if len(self.done) < total:
            self._enqueue(total)
        idle_since = time.monotonic()
        with Progress("answered", total) as progress:
            progress.update(len(self.done), self._failures())
            while len(self.done) < total:
                if self._collect(file, timeout_s=WAKE_S, progress=progress):
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since >= WAKE_S:
                    self._check_accounts()
                    idle_since = self._check_workers(idle_since)
                progress.update(len(self.done), self._failures())

    def _enqueue(self, total: int) -> None:
        with Progress("enqueued", total) as progress:
            progress.update(len(self.done))
            for number, _ in enumerate(self._client.enqueue_drafts(self._owed_drafts()), len(self.done) + 1):
                progress.update(number)

    def _owed_drafts(self) -> Iterator[Draft]:
        return (
            given
            for given in read_drafts(self._checked, self._options)
            if (given.id or "").removeprefix(self._options.prefix) not in self.done
        )

    def _collect(self, file: ReplyFile, *, timeout_s: float, progress: Progress | None = None) -> int:
        """Write the replies that come until none came for ``timeout_s``, or all are there; returns how many were new."""
        before = len(self.done)
        for raw, acknowledge in self._client.reply_chunks(self._queue, timeout=timeout_s, reader=READER):
            new = [reply for reply in map(self._own, raw) if reply is not None]
            file.append({reply.id: reply for reply in new}.values())
            acknowledge(len(raw))
            for reply in new:
                self._count(reply)
            if progress is not None:
                progress.update(len(self.done), self._failures())
            if len(self.done) == len(self.lane_of):
                break
        return len(self.done) - before

    def _own(self, raw: bytes) -> Reply | None:
        """Return a reply under its line's id; None for what is known already or is nobody's."""
        try:
            reply = decode_unchanged(raw)
        except msgspec.DecodeError:
            note(
                f"batchline: something that is no reply of batchline stood in the queue {self._queue}; it was passed over"
            )
            return None
        own_id = reply.id.removeprefix(self._options.prefix)
        if own_id in self.done or own_id not in self.lane_of:
            return None
        return msgspec.structs.replace(reply, id=own_id)

    def _count(self, reply: Reply) -> None:
        lane = self.lane_of.get(reply.id)
        if lane is None or reply.id in self.done:
            return
        self.done.add(reply.id)
        self._owed[lane] -= 1
        self.settlement.add(self._checked.lanes[lane], reply)

    def _failures(self) -> str:
        total = self.settlement.total_failed
        return f"{total:,} failed" if total else ""

    def _accounts(self) -> set[str]:
        """Return the accounts of lanes that are owed replies."""
        return {self._checked.lanes[lane].split(":", 1)[0] for lane, owed in self._owed.items() if owed > 0}

    def _outage(self, account: str) -> Outage:
        return self._client.store.accounts.outage(account)

    def _check_accounts(self) -> None:
        """Raise AccountRefused when every reply still owed waits for a key that was refused since this run began."""
        messages = []
        for account in sorted(self._accounts()):
            outage = self._outage(account)
            if not key_refused(outage) or outage.down_until == self._outages_before.get(account, outage).down_until:
                return
            messages.append(outage.message)
        if messages:
            raise AccountRefused("\n".join(messages))

    def _check_workers(self, idle_since: float) -> float:
        """Say so when nobody works; returns since when it is quiet, so that this is said now and then only."""
        if time.monotonic() - idle_since < NO_WORKER_S:
            return idle_since
        last = max(self._client.store.last_ticks().values(), default=0)
        if _now_ms() - last > NO_WORKER_S * 1000:
            note("batchline: no worker is running on this store; start one: batchline worker")
        return time.monotonic()


def key_refused(outage: Outage) -> bool:
    """Whether an account is down because its key is missing, wrong, or may not spend: only a person can help."""
    return outage.down_until > 0 and (
        outage.code in {"no_key", "401", "403"} or "requests wait until" in outage.message
    )
