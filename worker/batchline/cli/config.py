"""``batchline config``: the settings as they count here, with where each comes from and without any secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import typer
import yaml

from batchline.errors import UsageError
from batchline.settings import Account, Settings, load_settings
from batchline.settings.redact import redacted_url

USAGE = 2
URLS = ("redis_url", "broker_url")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(no_args_is_help=True, help="Show or check the settings.")
    commands.command("show")(show)
    commands.command("check")(check)
    app.add_typer(commands, name="config")


def show(
    form: Annotated[Literal["yaml", "json"], typer.Option("--format", help="yaml or json.")] = "yaml",
) -> None:
    """Write all settings as they count here. Passwords and keys are left out; exit code 2 when a setting is wrong."""
    values = shown(load_settings(), os.environ)
    if form == "json":
        print(json.dumps(values, indent=2))
    else:
        print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


def check() -> None:
    """Say whether the settings can be used, keys included; exit code 2, and a line for each problem, when not."""
    settings = load_settings()
    problems = list(keys_missing(settings, os.environ))
    if problems:
        raise UsageError("\n".join(problems))
    print("the settings are right")


def shown(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings as plain data without secrets; of each account's key only whether it is set, and where."""
    values = settings.model_dump(mode="json")
    for url in URLS:
        values[url] = redacted_url(values[url])
    for name, account in settings.accounts.items():
        shown_account = values["accounts"][name]
        shown_account["base_url"] = redacted_url(account.base_url) if account.base_url else None
        shown_account["api_key"] = key_state(name, account, environ)
    return values


def key_state(name: str, account: Account, environ: Mapping[str, str]) -> str:
    """Return ``set, from the file …`` or ``not set``; never the key."""
    try:
        account.read_key(name, environ)
    except UsageError:
        return "not set"
    if account.api_key_file is not None:
        return f"set, from the file {account.api_key_file}"
    return f"set, from the variable {account.api_key_env}"


def keys_missing(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each account whose key was given a place of its own and cannot be read there.

    The default accounts count only where something else of them is set: who uses one provider has no key of the other.
    """
    plain = Settings().accounts
    for name, account in settings.accounts.items():
        if account == plain.get(name):
            continue
        try:
            account.read_key(name, environ)
        except UsageError as error:
            yield str(error)
