"""The command line: ``batchline``.

Exit codes: 0 all succeeded, 1 some failed, 2 bad usage or input, 3 the store or a provider cannot be reached,
130 interrupted. Results go to stdout, everything else to stderr. Each module beside this one registers its commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import typer

from batchline.cli.console import note
from batchline.errors import BatchlineError, InvalidRequest, UsageError

FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

MODULES = (
    "run",
    "queues",
    "status",
    "report",
    "quote",
    "cancel",
    "dead",
    "prune",
    "health",
    "doctor",
    "config",
    "processes",
    "demo",
    "dev",
)


def build() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(
        name="batchline",
        help="Single prompts in, answers at the batch price out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name in MODULES:
        if find_spec(f"batchline.cli.{name}"):
            import_module(f"batchline.cli.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; errors that batchline raises on purpose are lines on stderr."""
    try:
        build()(args=None if arguments is None else list(arguments), prog_name="batchline")
    except BatchlineError as error:
        for line in str(error).splitlines():
            note(f"batchline: {line}")
        sys.exit(exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def exit_code(error: BatchlineError) -> int:
    """Return the exit code for an error: 2 where the caller must change something, else 3."""
    return USAGE if isinstance(error, UsageError | InvalidRequest) else UNREACHABLE
