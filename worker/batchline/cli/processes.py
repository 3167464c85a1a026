"""``batchline worker``, ``exporter`` and ``emulator``: the long-running processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    app.command("emulator")(emulator)


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
    celery.worker_main(["worker", "-Q", queues, "--pool", "threads", "--concurrency", str(concurrency), *alone])


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


def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8700,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    latency: Annotated[float, typer.Option(min=0, help="Seconds from a batch's creation to its end.")] = 2.0,
    seed: Annotated[int, typer.Option(help="For the faults below.")] = 0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that fail with a 500.")] = 0.0,
    expire_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that expire.")] = 0.0,
    validation_delay: Annotated[float, typer.Option(min=0, help="Seconds to OpenAI's validation.")] = 0.1,
    api_key: Annotated[str | None, typer.Option(help="Refuse every other key.")] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep files here.")] = None,
) -> None:
    """Run the provider emulator until SIGTERM or SIGINT. It costs nothing and answers with the hash of each prompt."""
    try:
        from batchline.emulator.options import Options  # noqa: PLC0415 - an optional part, see below
        from batchline.emulator.serve import serve  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"the emulator needs more packages ({error.name}): install batchline[local]") from None
    try:
        options = Options(
            latency_s=latency,
            seed=seed,
            error_rate=error_rate,
            expire_rate=expire_rate,
            validation_delay_s=validation_delay,
            api_key=api_key,
            state_dir=state,
        )
    except ValueError as error:
        raise UsageError(f"emulator: {error}") from None
    try:
        serve(host, port, options)
    except OSError as error:
        raise UsageError(f"emulator: cannot listen on {host}:{port}: {error.strerror}") from None
