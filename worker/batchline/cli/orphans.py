"""``batchline batches --orphans``: what only a provider knows, or only the store. Nothing is changed."""

from __future__ import annotations

import json
import time

import msgspec
import typer

from batchline import runtime
from batchline.cli.console import note, out, span, table
from batchline.engine import orphans
from batchline.engine.context import Context
from batchline.engine.orphans import Orphan
from batchline.errors import ProviderError
from batchline.settings import load_settings

UNREACHABLE = 3


def show(*, as_json: bool) -> None:
    """Ask every account's provider and list what it and the store do not both know.

    Exit code 0 whatever is found, 3 when a provider could not be asked: then what the others said is still shown.
    """
    context = runtime.build(load_settings())
    try:
        found, failed = ask(context)
    finally:
        context.store.close()
    if as_json:
        print(json.dumps([msgspec.to_builtins(each) for each in found]))
    elif found:
        _print_table(found)
    elif not failed:
        out().print("no orphans")
    if failed:
        raise typer.Exit(UNREACHABLE)


def ask(context: Context) -> tuple[list[Orphan], bool]:
    """Return what was found, and whether an account could not be asked. One that has no key and never created is left out."""
    found: list[Orphan] = []
    failed = False
    used = set(context.store.orphans.accounts())
    for account in sorted(context.settings.accounts):
        try:
            found += orphans.look(context, account)
        except ProviderError as error:
            if error.code == "no_key" and account not in used:
                continue
            failed = True
            note(f"batchline: {error}")
    return found, failed


def _print_table(found: list[Orphan]) -> None:
    now_ms = time.time_ns() // 1_000_000
    shown = table("account", "at the provider", "state", "batch", "lane", "what is done", "rows", "age", left=6)
    for each in found:
        age = span(max(0, now_ms - each.created_ms) / 1000)
        batch = each.batch or "-"
        shown.add_row(each.account, each.provider_id, each.state, batch, each.lane, each.action, f"{each.rows:,}", age)
    out().print(shown)
