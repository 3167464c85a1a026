"""batchline: single prompts in, answers at the batch price out.

Importing this loads nothing but itself; the client comes in when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchline.client import Client, Ticket
    from batchline.replies import Reply, RequestFailed

__all__ = ["Client", "Reply", "RequestFailed", "Ticket"]

_HOMES = {
    "Client": "batchline.client",
    "Ticket": "batchline.client",
    "Reply": "batchline.replies",
    "RequestFailed": "batchline.replies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
