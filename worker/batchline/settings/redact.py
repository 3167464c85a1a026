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


def redacted_url(url: str) -> str:
    """Return a URL with its user, its password and the values of all parameters but the known harmless ones hidden.

    What cannot be taken apart is hidden as a whole.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return HIDDEN
    if not parts.scheme or "@" in parts.path or ";" in url:
        return HIDDEN
    user, at, place = parts.netloc.rpartition("@")
    hidden = HIDDEN + (f":{HIDDEN}" if ":" in user else "")
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, value if name in OPEN else HIDDEN) for name, value in given], safe="*/")
    fragment = HIDDEN if parts.fragment else ""
    return urlunsplit((parts.scheme, f"{hidden}@{place}" if at else place, parts.path, query, fragment))
