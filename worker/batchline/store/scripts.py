"""Load the Lua scripts from package data: one file per verb, its header names every key, argument and return value."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

INCLUDE = "--@include "


@cache
def source(name: str) -> str:
    """Return a script's text; a line ``--@include NAME`` stands for ``lib/NAME.lua``."""
    return "\n".join(_included(line) for line in _read(f"{name}.lua").splitlines()) + "\n"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all scripts, sorted."""
    folder = files("batchline.store").joinpath("scripts")
    return tuple(sorted(f.name.removesuffix(".lua") for f in folder.iterdir() if f.name.endswith(".lua")))


def _included(line: str) -> str:
    if line.startswith(INCLUDE):
        return _read(f"lib/{line.removeprefix(INCLUDE).strip()}.lua")
    return line


def _read(path: str) -> str:
    return files("batchline.store").joinpath("scripts", path).read_text(encoding="utf-8")
