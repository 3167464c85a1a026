"""URLs as they may be shown: where something is, and nothing with which one gets in. Pure."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

HIDDEN = "***"
OPEN = frozenset(
    {
        "db",
        "protocol",
        "socket_timeout",
        "socket_connect_timeout",
        "health_check_interval",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_min_version",
    }
)
"""Parameters that hold no secret; every other one is hidden, whatever its name."""

NUMBERS = frozenset(name for name in OPEN if not name.startswith("ssl_")) | {"ssl_min_version"}
"""Those of them that are shown only where they are numbers."""


def redacted_url(url: str) -> str:
    """Return a URL with its user, its password and the values of all parameters but the known harmless ones hidden.

    What cannot be taken apart is hidden as a whole.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return HIDDEN
    # A password with a / ? or # that is not escaped ends the host too early; the rest of it, and its @, stand behind.
    if not parts.scheme or "@" in parts.path + parts.query + parts.fragment or ";" in url:
        return HIDDEN
    user, at, place = parts.netloc.rpartition("@")
    hidden = HIDDEN + (f":{HIDDEN}" if ":" in user else "")
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, value if _open(name, value) else HIDDEN) for name, value in given], safe="*/")
    fragment = HIDDEN if parts.fragment else ""
    return urlunsplit((parts.scheme, f"{hidden}@{place}" if at else place, parts.path, query, fragment))


def _open(name: str, value: str) -> bool:
    return name in OPEN and (name not in NUMBERS or value.replace(".", "", 1).isdecimal())
