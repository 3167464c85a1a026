"""What a store's URL may say. Its parameters are those of the Redis client, of which these few are taken. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

SCHEMES = ("redis://", "rediss://", "unix://")


def _seconds(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value)) and float(value) > 0


def _whole(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", value))


def _plain(value: str) -> bool:
    return bool(re.fullmatch(r"[!-~]+", value))


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


_SWITCH = (_one_of("true", "false", "True", "False", "1", "0", "yes", "no"), "true or false")
_TEXT = (bool, "some text")
_PARAMETERS: dict[str, tuple[Callable[[str], bool], str]] = {
    "db": (_whole, "a whole number"),
    "username": _TEXT,
    "password": _TEXT,
    "client_name": (_plain, "text without spaces"),
    "protocol": (_one_of("3"), "3"),  # scripts' answers are read in the forms of RESP3
    "max_connections": (lambda value: _whole(value) and int(value) > 0, "a whole number from 1"),
    "socket_timeout": (_seconds, "a number of seconds"),
    "socket_connect_timeout": (_seconds, "a number of seconds"),
    "health_check_interval": (_whole, "a whole number of seconds"),
}
_TLS: dict[str, tuple[Callable[[str], bool], str]] = {
    "ssl_ca_certs": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_certfile": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
    "ssl_ciphers": _TEXT,
    "ssl_cert_reqs": (_one_of("none", "optional", "required"), "none, optional or required"),
    "ssl_check_hostname": _SWITCH,
    "ssl_min_version": (_one_of("771", "772"), "771 (TLS 1.2) or 772 (TLS 1.3)"),
}
_ESCAPE = "signs such as / ? # @ % in a user or password are written as %2F %3F %23 %40 %25"


def check(url: str) -> str:
    """Return the URL. Raises ValueError with what is wrong; the URL may hold a password, so no part of it is quoted."""
    if not url.startswith(SCHEMES):
        raise ValueError("a store's URL begins with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"a store's URL has a number as its port; {_ESCAPE}") from None
    if "#" in url:
        raise ValueError(f"a store's URL has no part after a #; {_ESCAPE}")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        raise ValueError(f"the path of a store's URL is the number of a database; {_ESCAPE}")
    _check_parameters(parts.query, tls=parts.scheme == "rediss")
    return url


def _check_parameters(query: str, *, tls: bool) -> None:
    known = _PARAMETERS | _TLS if tls else _PARAMETERS
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _TLS and not tls:
            raise ValueError(f"the parameter {name} is for URLs that begin with rediss://")
        if name not in known:
            # The name is not quoted either: it is part of the password, where one holds a ? that is not escaped.
            raise ValueError(
                f"a store's URL has a parameter that is not known; known are {', '.join(known)}; {_ESCAPE}"
            )
        right, form = known[name]
        if not right(value):
            raise ValueError(f"the parameter {name} of a store's URL is {form}")
