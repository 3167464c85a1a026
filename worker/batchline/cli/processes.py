"""``batchline worker``, ``exporter`` and ``emulator``: the long-running processes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchline import logs
from batchline.errors import UsageError
from batchline.settings import load_settings

ROLES = ("accumulate", "poll")
LATER = ("realtime", "notify")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("worker")(worker)
    app.command("exporter")(exporter)
    # The emulator knows its own options, --help too.
    passed_on = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command("emulator", context_settings=passed_on, add_help_option=False)(emulator)


def worker(
    only: Annotated[str | None, typer.Option(metavar="accumulate,poll", help="Only these roles.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Steps at a time, in threads.")] = 4,
) -> None:
    """Run a worker until SIGTERM or SIGINT: it packs requests into batches, submits them and settles what comes back."""
    queues = ",".join(f"batchline.{role}" for role in roles(only))
    load_settings()
    from batchline.app import app as celery  # noqa: PLC0415 - Celery and the engine load slowly

    # Workers need not know of each other: the store says who does what. Greeting the others takes a second of each start.
    alone = ["--without-mingle", "--without-gossip"]
    arguments = ["worker", "-Q", queues, "--pool", "threads", "--concurrency", str(concurrency), *alone]
    if code := _celery(celery, arguments):
        raise typer.Exit(code)


def _celery(app: Any, arguments: list[str]) -> int:
    """Run a command of Celery's on an application; return its exit code, which ``app.worker_main`` would forget."""
    from celery.bin.celery import celery as command  # noqa: PLC0415 - as above

    command.params[0].default = app
    return int(command.main(args=arguments, standalone_mode=False) or 0)


def roles(only: str | None) -> list[str]:
    """Return the roles that ``--only`` names, all without it. Raises UsageError."""
    if only is None:
        return list(ROLES)
    named = [role.strip() for role in only.split(",")]
    for role in named:
        if role in LATER:
            raise UsageError(f"--only: this version has no {role} worker yet; it has {', '.join(ROLES)}")
        if role not in ROLES:
            raise UsageError(f"--only: there is no role {role!r}; there are {', '.join(ROLES)}")
    return list(dict.fromkeys(named))


def exporter(
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Default: 9464, or the settings'.")] = None,
) -> None:
    """Serve the metrics for Prometheus until SIGTERM or SIGINT."""
    settings = load_settings()
    logs.configure(settings.log_format, settings.log_level)
    from batchline.exporter import serve  # noqa: PLC0415 - not every command needs the Prometheus client

    serve(settings, settings.exporter_port if port is None else port)


def emulator(context: typer.Context) -> None:
    """Run the provider emulator until SIGTERM or SIGINT. It costs nothing and answers with the hash of each prompt."""
    try:
        from batchline.emulator.__main__ import main  # noqa: PLC0415 - an optional part, see below
    except ImportError as error:
        raise UsageError(f"the emulator needs more packages ({error.name}): install batchline[local]") from None
    main(context.args, program="batchline emulator")
