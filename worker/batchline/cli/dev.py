"""`batchline dev`: store, emulator, workers and metrics in one terminal, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from batchline.cli.console import note
from batchline.errors import UsageError
from batchline.local.environment import EMULATOR_KEY
from batchline.local.stack import Emulation, Stack, free_port
from batchline.settings import Settings, load_settings

FOLDER = Path(".batchline")
_COLOURS = {"store": 34, "emulator": 35, "exporter": 36}
_WORKER_COLOUR = 32
# Without --live nothing may lead to a real provider, and accounts of the user's own could.
_NOT_KEPT = ("BATCHLINE_CONFIG", "BATCHLINE_ACCOUNTS", "BATCHLINE_REDIS_URL", "BATCHLINE_BROKER_URL")
_DEV_SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "5",
    "BATCHLINE_POLL__MIN_INTERVAL": "1",
    # After each restart of the store nothing is created for as long as these three take together.
    "BATCHLINE_LEASE_SECONDS": "5",
    "BATCHLINE_CREATE_TIMEOUT": "5",
    "BATCHLINE_RECONCILE__LISTING_LAG": "1",
    "BATCHLINE_LOG_FORMAT": "console",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dev)


def dev(
    *,
    live: Annotated[bool, typer.Option("--live", help="Go to the real providers; this costs money.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="How many worker processes.")] = 1,
    latency: Annotated[float, typer.Option(min=0, help="Seconds that the emulator takes for a batch.")] = 2.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of the emulator's answers that fail.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The emulator's dice.")] = 0,
) -> None:
    """Run everything in one terminal: embedded store, emulator, workers, metrics. Ctrl-C stops it all.

    The store's data stay in .batchline/ under the working directory. Without --live, provider keys, base URLs and accounts
    are taken out of the environment.
    """
    accounts = _live_accounts(load_settings()) if live else []
    emulation = None if live else Emulation(latency_s=latency, error_rate=error_rate, seed=seed)
    folder = (FOLDER / ("live" if live else "dev")).absolute()
    with _owned(folder):
        stack = Stack(
            folder,
            emulation=emulation,
            settings=_settings(os.environ, live=live),
            workers=workers,
            exporter_port=_port(9464),
            store_port=_port(6379),
            keep_settings=live,
            worker_folder=Path.cwd() if live else folder,
            listener=_Printer(),
        )
        try:
            stack.start(wait_workers=False)
            note(_greeting(stack, accounts))
            stack.watch()
        except KeyboardInterrupt:
            note("stopping ...")
        finally:
            stack.stop()
    note(f"Stopped. The store's data are in {folder / 'store'}.")


def _live_accounts(settings: Settings) -> list[str]:
    """Return the accounts that have a key. Raises UsageError when none has."""
    found = []
    for name, account in settings.accounts.items():
        try:
            key = account.read_key(name)
        except UsageError:
            continue
        if key and key != EMULATOR_KEY:
            found.append(name)
    if not found:
        raise UsageError(
            "batchline dev --live goes to the real providers, but no account has a key: set OPENAI_API_KEY, "
            "ANTHROPIC_API_KEY or GEMINI_API_KEY, or leave --live out to work with the emulator"
        )
    return found


def _settings(environment: Mapping[str, str], *, live: bool) -> dict[str, str]:
    """Return what is added to the workers' environment: in dev the user's own tuning, over settings for short waits."""
    if live:
        return {"BATCHLINE_LOG_FORMAT": environment.get("BATCHLINE_LOG_FORMAT") or "console"}
    tuned = {
        name: value
        for name, value in environment.items()
        if name.startswith("BATCHLINE_") and not name.startswith(_NOT_KEPT)
    }
    return _DEV_SETTINGS | tuned


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone: two servers on one append-only file would spoil it. Raises UsageError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another batchline dev runs on {folder}: stop it, or start from another folder") from None
        yield


def _port(wanted: int) -> int:
    """Return the usual port where it is free, else another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _greeting(stack: Stack, accounts: list[str]) -> str:
    where = f"the real providers ({', '.join(accounts)}): this costs money" if accounts else f"{stack.emulator_url}"
    lane = "openai:chat:gpt-5-mini"
    body = '{"model":"gpt-5-mini","messages":[{"role":"user","content":"Hello"}]}'
    return f"""
  store      {stack.redis_url}
  providers  {where}
  metrics    {stack.exporter_url}

  export BATCHLINE_REDIS_URL={stack.redis_url}
  batchline run INPUT.jsonl -o OUTPUT.jsonl
  redis-cli -u {stack.redis_url}
    MULTI
    XADD batchline:{{{lane}}}:requests * id hello body '{body}'
    SADD batchline:lanes {lane}
    EXEC
    BLPOP batchline:reply:{lane}:hello 60

  Ctrl-C stops everything.
"""


class _Printer:
    """Writes each process's lines with its name in front, one line at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colours = sys.stderr.isatty()

    def __call__(self, name: str, line: str) -> None:
        prefix = f"{name:>9} | "
        if self._colours:
            prefix = f"\033[{_COLOURS.get(name, _WORKER_COLOUR)}m{prefix}\033[0m"
        with self._lock:
            note(prefix + line)
