"""Build the settings: defaults, over them the SDKs' own variables, the YAML file and the ``BATCHLINE_`` variables.

All problems are found in one go, one line each, with the variable or the file and line to change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from batchline.errors import UsageError
from batchline.settings import names
from batchline.settings.file import Place, SettingsFile, dotted
from batchline.settings.model import DEFAULT_ACCOUNTS, Settings
from batchline.settings.references import dead_ends

DEFAULT_FILE = Path("config/batchline.yaml")
_SDK_BASE_URLS = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
}
_URL_FILES = {"redis_url": "redis_url_file", "broker_url": "broker_url_file"}
_MAX_URL = 4096


def load_settings(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Return the settings of this process.

    ``environ`` is the process's environment unless given. The file is ``file``, else what BATCHLINE_CONFIG names, else ``config/batchline.yaml``
    under the working directory where it exists. Raises UsageError with one line for each problem.
    """
    environ = os.environ if environ is None else environ
    content = _open_file(environ, file)
    in_file = content.values if content else {}
    accounts = {**DEFAULT_ACCOUNTS, **_mapping(in_file.get("accounts"))}
    ours, problems = _own_variables(environ, [str(name) for name in accounts])
    try:
        from_variables = _from_variables(ours)
        values = _merge(_merge(_sdk_defaults(environ), in_file), from_variables)
        for url in _URL_FILES:
            values, problem = _with_url(url, values, (from_variables, in_file), ours, content)
            problems += problem
        settings = Settings(**{str(name): value for name, value in values.items()})
    except SettingsError as exc:
        problems.append(_unreadable_list(exc, ours))
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False)
        if values.get("broker_url") is None:  # it is the store's, and told as that
            found = [error for error in found if error["loc"] != ("broker_url",)]
        problems += [_explain(error, ours, content) for error in found]
    else:
        problems += [f"{_origin(at, ours, content)}: {dotted(at)}: {text}" for at, text in dead_ends(settings)]
        if not problems:
            return settings
    raise UsageError("\n".join(dict.fromkeys(problems)))


def _open_file(environ: Mapping[str, str], file: Path | None) -> SettingsFile | None:
    named = file or (Path(environ[names.CONFIG]) if environ.get(names.CONFIG) else None)
    if named is None:
        return SettingsFile(DEFAULT_FILE) if DEFAULT_FILE.is_file() else None
    return SettingsFile(named)


def _own_variables(environ: Mapping[str, str], accounts: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that set something, in small letters, and a line for each that looks as if it did."""
    known = list(names.variables(Settings, accounts))
    ours: dict[str, str] = {}
    problems: list[str] = []
    for name, value in environ.items():
        if not name.startswith(names.PREFIX) or name in names.NO_SETTINGS or names.from_kubernetes(name, value):
            continue
        if name in known or _of_new_account(name):
            if value:  # empty counts as not set, as Compose files and CI systems have it
                ours[_as_written(name, accounts)] = value
        else:
            problems.append(f"{name}: there is no such setting{names.meant(name, [*known, names.CONFIG])}")
    return ours, problems


def _of_new_account(name: str) -> bool:
    """Tell whether a variable is right for an account that only the environment names."""
    parts = name.split("__")
    return len(parts) >= 3 and name in names.variables(Settings, [parts[1]])


def _as_written(name: str, accounts: list[str]) -> str:
    """Return a variable in small letters, with an account's name as the file writes it."""
    head, *rest = name.lower().split("__")
    if head == "batchline_accounts":
        rest[0] = next((each for each in accounts if names.as_variable(each) == rest[0].upper()), rest[0])
    return "__".join([head, *rest])


def _from_variables(ours: Mapping[str, str]) -> dict[str, Any]:
    source = EnvSettingsSource(Settings)
    source.env_vars = dict(ours)
    return source()


def _sdk_defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    accounts: dict[str, dict[str, str]] = {name: dict(fields) for name, fields in DEFAULT_ACCOUNTS.items()}
    for name, variable in _SDK_BASE_URLS.items():
        if environ.get(variable):
            accounts[name]["base_url"] = environ[variable]
    if environ.get("GOOGLE_API_KEY"):  # which Google's SDK prefers to GEMINI_API_KEY
        accounts["gemini"]["api_key_env"] = "GOOGLE_API_KEY"
    return {"accounts": accounts}


def _with_url(
    url: str,
    values: Mapping[Any, Any],
    layers: tuple[Mapping[Any, Any], ...],
    ours: Mapping[str, str],
    content: SettingsFile | None,
) -> tuple[dict[Any, Any], list[str]]:
    """Return the values with a URL that stands in a file of its own, and a line for a problem with it.

    A URL and its file are one setting, given in one of two ways: where the variables give either, they win over both that
    the settings file may say.
    """
    file = _URL_FILES[url]
    rest = {name: value for name, value in values.items() if name not in (url, file)}
    for layer in layers:
        given = {name: layer[name] for name in (url, file) if layer.get(name) is not None}
        where = f"{_origin((file,), ours, content)}: {file}"
        if len(given) == 2:
            return rest, [f"{where}: {url} is set as well; give the URL or the file that holds it, not both"]
        if isinstance(path := given.get(file), str):
            try:
                return rest | given | {url: _read_url(Path(path))}, []
            except ValueError as exc:
                return rest, [f"{where}: {exc}"]
        if given:
            return rest | given, []
    return rest, []


def _read_url(path: Path) -> str:
    """Return the only line of a file. Raises ValueError with what is wrong, and nothing of the content."""
    try:
        with path.open(encoding="utf-8") as opened:
            text = opened.read(_MAX_URL + 1).strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ValueError(f"cannot read the file {path}: {reason}") from None
    if not text:
        raise ValueError(f"the file {path} is empty")
    if len(text) > _MAX_URL or len(text.split()) > 1:
        raise ValueError(f"the file {path} holds more than a URL")
    return text


def _merge(under: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(below, value)
        elif value is not None or below is None:  # null, or a heading with nothing under it, leaves what is below
            merged[key] = value
    return merged


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _unreadable_list(exc: SettingsError, ours: Mapping[str, str]) -> str:
    for field in ("lanes", "models", "accounts", "prices"):
        if f'"{field}"' in str(exc):
            return f"BATCHLINE_{field.upper()}: the value is not JSON"
    return "one of these should be JSON and is not: " + ", ".join(sorted(names.as_variable(name) for name in ours))


def _explain(error: Any, ours: Mapping[str, str], content: SettingsFile | None) -> str:
    """Write one problem as a line. The value is not shown: it may be a URL with a password."""
    place: Place = tuple(error["loc"])
    where = _origin(place, ours, content)
    hint = ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such setting"
        hint = names.meant(str(place[-1]), names.fields_at(Settings, place[:-1]))
    elif error["type"] == "tuple_type":
        message = 'it is a list; in a variable, as JSON such as [{"match": "*", ...}]'
    elif error["type"] == "missing" and place[:1] == ("accounts",):
        message = "a new account needs it"
        hint = names.meant(str(place[1]), DEFAULT_ACCOUNTS)
    return f"{where}: {dotted(place)}: {message}{hint}" if place else f"{where}: {message}{hint}"


def _origin(place: Place, ours: Mapping[str, str], content: SettingsFile | None) -> str:
    """Return the variable or the line of the file that set a value, or the nearest one around it."""
    variables = [names.as_variable(name) for name in ours]
    url_file = _URL_FILES.get(str(place[0])) if place else None
    if url_file and names.PREFIX + url_file.upper() in variables:
        return names.PREFIX + url_file.upper()
    for end in range(len(place), 0, -1):
        variable = names.PREFIX + "__".join(names.as_variable(str(part)) for part in place[:end])
        if variable in variables:
            return variable
        if content and place[:end] in content.lines:
            return content.where(place)
        below = next((name for name in variables if name.startswith(variable + "__")), None)
        if below:
            return below
    if url_file and content and (url_file,) in content.lines:
        return content.where((url_file,))
    return "settings"
