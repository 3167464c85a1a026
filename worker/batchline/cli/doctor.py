"""``batchline doctor``: whether the store, the keys and the workers are as they must be, and what to set."""

from __future__ import annotations

import json
import os
from typing import Annotated

import msgspec
import typer

from batchline import runtime
from batchline.doctor import Check, examine, reachable
from batchline.settings import load_settings

FAILED = 1
UNREACHABLE = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    providers: Annotated[bool, typer.Option("--providers", help="Call each account's provider once, too.")] = False,
) -> None:
    """Check the store, its clock and memory, the keys and the workers.

    Exit code 0 when all is well or only warned of, 1 when a check failed, 3 when the store cannot be reached.
    """
    settings = load_settings()
    context = runtime.build(settings)
    checks: list[Check] = []
    try:
        for check in examine(
            settings,
            context.store,
            clock=context.clock,
            environ=os.environ,
            provider=context.provider if providers else None,
        ):
            checks.append(check)
            if not as_json:
                print(line(check), flush=True)
    finally:
        context.store.close()
    if as_json:
        print(json.dumps([msgspec.to_builtins(check) for check in checks]))
    if not reachable(checks):
        raise typer.Exit(UNREACHABLE)
    if any(check.level == "fail" for check in checks):
        raise typer.Exit(FAILED)


def line(check: Check) -> str:
    """Write a check as one line."""
    advice = f" -> {check.advice}" if check.advice else ""
    return f"{check.level:<5} {check.name:<18} {check.found}{advice}"
