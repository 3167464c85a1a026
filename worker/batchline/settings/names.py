"""Names of settings: which exist, which was probably meant, and what Kubernetes puts among the variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

PREFIX = "BATCHLINE_"
CONFIG = "BATCHLINE_CONFIG"
NO_SETTINGS = frozenset({CONFIG, "BATCHLINE_KILLPOINT", "BATCHLINE_KILLPOINT_HANG"})
"""Variables of ours that set nothing: where the file is, and the tests' kill points (killpoints.py)."""

_KUBERNETES_NAME = re.compile(
    r"BATCHLINE(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"BATCHLINE(_[A-Z0-9_]+)?_PORT")
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://.*")


def from_kubernetes(name: str, value: str) -> bool:
    """Tell whether a variable is one that Kubernetes injects for a Service called ``batchline`` or ``batchline-…``.

    ``…_PORT`` counts only with such a value (``tcp://10.0.0.1:9464``): a Service ``batchline-exporter`` brings BATCHLINE_EXPORTER_PORT,
    which is a setting's name too, and BATCHLINE_EXPORTR_PORT=9464 is a slip that must not pass.
    """
    if _KUBERNETES_NAME.fullmatch(name):
        return True
    return bool(_KUBERNETES_PORT.fullmatch(name) and _KUBERNETES_VALUE.fullmatch(value))


def fields_at(model: type[BaseModel], place: Iterable[str | int]) -> list[str]:
    """Return the keys that may stand at a place of the settings; none where there are no keys of ours."""
    for part in place:
        inner = _models(model.model_fields[part].annotation) if part in model.model_fields else [model]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def variables(model: type[BaseModel], accounts: Iterable[str], prefix: str = PREFIX) -> Iterator[str]:
    """Yield the names of all variables that set something, for these accounts."""
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        inner = _models(field.annotation)
        if name == "accounts":
            for account in accounts:
                yield from variables(inner[0], (), f"{variable}__{as_variable(account)}__")
        elif inner and not _is_list(field.annotation):
            yield from variables(inner[0], (), variable + "__")
        else:
            yield variable


def as_variable(account: str) -> str:
    """Write an account's name as it stands in a variable: ``my-second`` is MY_SECOND there."""
    return re.sub(r"[^A-Za-z0-9_]", "_", account).upper()


def meant(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or nothing when none is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models inside a type: ``Flush``, ``dict[str, Account]``, ``tuple[LanePattern, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_list(annotation: Any) -> bool:
    parts = get_args(annotation)
    return Ellipsis in parts or any(_is_list(part) for part in parts)
