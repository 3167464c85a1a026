"""Read the YAML file: its values, and on which line each key stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from batchline.errors import UsageError

Place = tuple[str | int, ...]
"""The way to a value: keys and list indexes."""


class SettingsFile:
    """The content of a settings file; ``lines`` are counted from 1."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises UsageError when it cannot be read, is not YAML, or has a key twice."""
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
            node = yaml.compose(text, yaml.SafeLoader)
            values = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
            raise UsageError(f"{path}: the settings file cannot be read: {reason}") from None
        except yaml.YAMLError as exc:
            raise UsageError(
                f"{path}{_mark(exc)}: not YAML: {getattr(exc, 'problem', None) or 'syntax error'}"
            ) from None
        if values is not None and not isinstance(values, dict):
            raise UsageError(f"{path}:1: a settings file holds keys and values")
        self.values: dict[str, Any] = values or {}
        self.lines: dict[Place, int] = {}
        for place, line in _places(node, ()):
            if place in self.lines:
                raise UsageError(
                    f"{path}:{line}: {dotted(place)} stands there twice, first in line {self.lines[place]}"
                )
            self.lines[place] = line

    def where(self, place: Place) -> str:
        """Return ``file:line`` of a value, or of the nearest key above it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"


def dotted(place: Place) -> str:
    """Write a place as people do: ``accounts.openai.base_url``, ``lanes[0].match``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _places(node: yaml.Node | None, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _places(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*place, index)
            yield inner, value.start_mark.line + 1
            yield from _places(value, inner)


def _mark(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""
