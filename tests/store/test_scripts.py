"""The scripts as files: what their headers promise, and that each is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from batchline.store import scripts

NUMBER = re.compile(r"(?:^|\s)(\d+)(?=\s|\.\.)")


def header(source: str) -> str:
    lines = [
        line[2:].strip() for line in source.split("--@include", maxsplit=1)[0].splitlines() if line.startswith("--")
    ]
    return " ".join(lines)


def named(text: str) -> set[int]:
    """Return the numbers of a list such as ``1 batch (hash)  2 riders (zset)``: each is one more than the one before."""
    numbers: set[int] = set()
    for found in NUMBER.findall(text):
        if int(found) == len(numbers) + 1:
            numbers.add(int(found))
    return numbers


def parts(name: str) -> tuple[str, str, str]:
    text = header(scripts._read(f"{name}.lua"))
    found = re.match(r".*?\bKEYS (1 .*?)\bARGV (1 .*?)\bReturns (.*)", text)
    assert found, f"{name}.lua: the header needs KEYS, ARGV and Returns"
    return found[1], found[2], found[3]


def used(name: str, kind: str) -> set[int]:
    code = "\n".join(line.split("--")[0] for line in scripts.source(name).splitlines())
    return {int(n) for n in re.findall(rf"{kind}\[(\d+)\]", code)}


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_names_every_key_that_the_script_uses_and_no_other(name: str) -> None:
    assert named(parts(name)[0]) == used(name, "KEYS")


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_names_every_argument_that_the_script_uses(name: str) -> None:
    arguments = parts(name)[1]
    missing = used(name, "ARGV") - named(arguments)
    assert not missing
    if re.search(r"ARGV\[[a-z]|#ARGV", scripts.source(name)):
        assert ".." in arguments or "then" in arguments


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_says_what_the_script_returns_and_which_errors_it_raises(name: str) -> None:
    returns = parts(name)[2]
    for error in set(re.findall(r"error_reply\('([A-Z]+)", scripts.source(name))):
        assert error in returns


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_loads(scene: Any, name: str) -> None:
    assert len(scene.run("SCRIPT LOAD", scripts.source(name))) == 40


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_declares_its_flags(name: str) -> None:
    flags = "#!lua\n" if name == "enqueue" else "#!lua flags="
    assert scripts.source(name).startswith(flags)


def callers() -> Iterator[str]:
    for module in files("batchline.store").iterdir():
        if module.name.endswith(".py"):
            yield from re.findall(r"\bcall(?:_many)?\(\s*\"(\w+)\"", module.read_text(encoding="utf-8"))


def test_every_script_has_a_caller_and_every_call_a_script() -> None:
    assert set(callers()) == set(scripts.names())
