"""Calls of the emulator by the soak itself: its bill, its faults, its batches."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def call(url: str, body: object = None, method: str | None = None) -> Any:
    """Call the emulator directly."""
    headers = {"Authorization": "Bearer soak", "x-api-key": "soak", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data=data, headers=headers, method=method), timeout=30
    ) as got:
        return json.loads(got.read())
