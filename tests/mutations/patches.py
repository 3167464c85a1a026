"""The patches of this folder: each takes the handling of one fault out, and names the tests that must then fail.

A patch is a unified diff of one line of context, below a header of comment lines::

    # fault: what the house must withstand
    # caught by: tests/store/test_leases.py::test_a_stale_fence_is_refused

A hunk must fit exactly: at its own line, or at the one other place where its lines stand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class DoesNotApply(Exception):
    """A patch does not fit the tree any more."""


class Hunk(msgspec.Struct, frozen=True, kw_only=True):
    """Lines (with their line ends) that are to stand in place of others; ``line`` is where those stood, from 1."""

    file: str
    line: int
    before: tuple[str, ...]
    after: tuple[str, ...]


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """One mutant: ``fault`` in words, ``tests`` as pytest names them, ``hunks`` in the order of the patch."""

    name: str
    fault: str
    tests: tuple[str, ...]
    hunks: tuple[Hunk, ...]


def all_patches(folder: Path = FOLDER) -> list[Patch]:
    """Read every patch, in the order of their names. Raises ValueError on one that is not written as it should be."""
    return [read(path) for path in sorted(folder.glob("*.patch"))]


def read(path: Path) -> Patch:
    """Read one patch. Raises ValueError."""
    lines = path.read_text().splitlines(keepends=True)
    header = [line[1:].strip() for line in lines if line.startswith("# ")]
    faults = [line.removeprefix("fault:").strip() for line in header if line.startswith("fault:")]
    tests = [line.removeprefix("caught by:").strip() for line in header if line.startswith("caught by:")]
    hunks = tuple(_hunks(lines))
    if len(faults) != 1 or not tests or not hunks:
        raise ValueError(f"{path.name}: a patch has one line `# fault:`, at least one `# caught by:`, and a diff")
    return Patch(name=path.stem, fault=faults[0], tests=tuple(tests), hunks=hunks)


def _hunks(lines: list[str]) -> Iterator[Hunk]:
    file = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("+++ b/"):
            file = line.removeprefix("+++ b/").strip()
        begins = _HUNK.match(line)
        if begins:
            before, after, at = _sides(lines, at, old=int(begins[2] or 1), new=int(begins[3] or 1))
            yield Hunk(file=file, line=int(begins[1]), before=before, after=after)


def _sides(lines: list[str], at: int, *, old: int, new: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Return both sides of the hunk whose body begins at ``at``, and where it ends."""
    before: list[str] = []
    after: list[str] = []
    while len(before) < old or len(after) < new:
        mark, text = lines[at][0], lines[at][1:]
        if mark in " -":
            before.append(text)
        if mark in " +":
            after.append(text)
        at += 1
    return tuple(before), tuple(after), at


def applied(patch: Patch, root: Path = ROOT) -> dict[str, str]:
    """Return the text of each file as the patch makes it; nothing is written. Raises DoesNotApply."""
    texts: dict[str, str] = {}
    for hunk in patch.hunks:
        text = texts.get(hunk.file)
        if text is None:
            text = _text(patch, root / hunk.file)
        texts[hunk.file] = _with(patch, hunk, text)
    return texts


def _text(patch: Patch, path: Path) -> str:
    if not path.is_file():
        raise DoesNotApply(f"{patch.name}: there is no file {path.name} any more; refresh it")
    return path.read_text()


def _with(patch: Patch, hunk: Hunk, text: str) -> str:
    lines = text.splitlines(keepends=True)
    long = len(hunk.before)
    fits = [at for at in range(len(lines) - long + 1) if tuple(lines[at : at + long]) == hunk.before]
    if hunk.line - 1 in fits:
        fits = [hunk.line - 1]
    if len(fits) != 1:
        why = "its lines stand in several places" if fits else "its lines are not there"
        raise DoesNotApply(f"{patch.name}: does not apply to {hunk.file}, {why}; refresh it")
    return "".join([*lines[: fits[0]], *hunk.after, *lines[fits[0] + long :]])


def missing_tests(patch: Patch, root: Path = ROOT) -> list[str]:
    """Return those of the patch's tests that do not exist (any more)."""
    return [test for test in patch.tests if not _exists(test, root)]


def _exists(test: str, root: Path) -> bool:
    file, _, name = test.partition("::")
    path = root / file
    if not path.is_file():
        return False
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return name.partition("[")[0] in {function.name for function in functions}
