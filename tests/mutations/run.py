"""`make mutants`: take the handling of each fault out, and see that a test notices.

The tree is copied once for each job; a patch of this folder is applied there, its tests are run, and it is taken back. A
mutant is caught when one of its tests fails; a test that cannot be run (an import or syntax error) catches nothing.
"""

from __future__ import annotations

import argparse
import queue
import random
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from tests.mutations.patches import DoesNotApply, Patch, all_patches, applied, missing_tests
from tests.mutations.tree import Tree

REASON = 120
"""So much is shown of what a failing test says."""
BROKEN = (
    "SyntaxError",
    "IndentationError",
    "NameError",
    "ImportError",
    "ModuleNotFoundError",
    "UnboundLocalError",
    "Error compiling script",
    "nonexistent global variable",
)
"""What a failing test must not fail by: then the patch broke the program, and did not take a handling out."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one mutant; ``by`` names the test that failed, or says why none counts."""

    patch: Patch
    caught: bool
    by: str
    seconds: float


def judge(tree: Tree, patch: Patch) -> Verdict:
    """Run a mutant's tests in a tree."""
    began = time.monotonic()
    caught, by = judged(*tree.run_mutant(patch))
    return Verdict(patch=patch, caught=caught, by=by, seconds=time.monotonic() - began)


def judged(code: int | None, printed: str) -> tuple[bool, str]:
    """Tell whether a run of pytest caught a mutant, and by which test, or why not."""
    if code is None:
        return True, "it hangs"
    if code == 0:
        return False, "SURVIVED: all its tests pass"
    failed = [line.removeprefix("FAILED ") for line in printed.splitlines() if line.startswith("FAILED ")]
    if code != 1 or not failed:
        return False, f"BROKEN: its tests cannot be run (pytest ended with {code})"
    errors = "\n".join(line for line in printed.splitlines() if line.startswith("E "))
    broken = [word for word in BROKEN if word in errors]
    if broken:
        return False, f"BROKEN: the program does not run any more ({broken[0]})"
    hangs = "it hangs: " if "Timeout (>" in printed else ""
    return True, hangs + failed[0]


def judge_all(patches: Sequence[Patch], trees: Sequence[Tree]) -> Iterator[Verdict]:
    """Judge patches in parallel, one thread a tree, in the order in which they are done."""
    waiting: queue.SimpleQueue[Patch] = queue.SimpleQueue()
    done: queue.SimpleQueue[Verdict | BaseException] = queue.SimpleQueue()
    for patch in patches:
        waiting.put(patch)

    def work(tree: Tree) -> None:
        try:
            while True:
                done.put(judge(tree, waiting.get_nowait()))
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.put(error)

    for tree in trees:
        threading.Thread(target=work, args=(tree,), daemon=True).start()
    for _ in patches:
        verdict = done.get()
        if isinstance(verdict, BaseException):
            raise verdict
        yield verdict


def wanted(patch: Patch, only: str) -> bool:
    """Tell whether a patch is one of those asked for."""
    return any(text in patch.name or text in patch.fault for text in only.split("|"))


def part(patches: Sequence[Patch], *, shard: str, seed: int) -> list[Patch]:
    """Return a part of the patches (``1/3``: the first of three), shuffled by a seed before they are dealt out."""
    index, _, count = shard.partition("/")
    shuffled = random.Random(seed).sample(patches, len(patches))
    return shuffled[int(index) - 1 :: int(count)]


def check_fit(patches: Sequence[Patch]) -> list[str]:
    """Return what is wrong with patches before anything is run."""
    problems = [f"{patch.name}: there is no test {test}" for patch in patches for test in missing_tests(patch)]
    for patch in patches:
        try:
            applied(patch)
        except DoesNotApply as error:
            problems.append(str(error))
    return problems


def say(line: str) -> None:
    """Write a line at once: a run takes minutes, and somebody looks on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show(verdict: Verdict) -> None:
    """Print one row of the table."""
    mark = "caught" if verdict.caught else "ALIVE "
    by = verdict.by.removeprefix("tests/")
    test, _, reason = by.partition(" - ")
    say(f"{mark}  {verdict.seconds:5.1f} s  {verdict.patch.name:<38}  {verdict.patch.fault}")
    say(f"{'':18}{test}")
    say(f"{'':18}{reason[:REASON]}".rstrip())


def main() -> int:
    """Run the mutants; 1 when one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.run", description=__doc__)
    parser.add_argument(
        "--only", default="", help="only patches whose name or fault holds this text, or one of several: a|b"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="only this part of the shuffled patches")
    parser.add_argument("--seed", type=int, default=None, help="of the shuffling; drawn and printed without it")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    patches = part([patch for patch in all_patches() if wanted(patch, given.only)], shard=given.shard, seed=seed)
    say(f"mutants: seed {seed}, shard {given.shard}: {len(patches)} patches, {given.jobs} at a time")
    problems = check_fit(patches)
    if problems or not patches:
        say("\n".join(problems) or f"no patch holds {given.only!r}")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batchline-mutants-") as folder:
        trees = [Tree(Path(folder) / f"job{number}") for number in range(max(1, min(given.jobs, len(patches))))]
        tests = sorted({test for patch in patches for test in patch.tests})
        code, printed = trees[0].pytest(tests, seconds=600, options=["-n", str(len(trees))])
        if code != 0:
            say(printed)
            say("the tests must pass before anything is taken out")
            return 1
        say(f"{len(tests)} tests pass with everything in place ({time.monotonic() - began:.0f} s)\n")
        verdicts = []
        for verdict in judge_all(patches, trees):
            show(verdict)
            verdicts.append(verdict)
    alive = [verdict for verdict in verdicts if not verdict.caught]
    say(f"\n{len(verdicts)} mutants, {len(verdicts) - len(alive)} caught, in {time.monotonic() - began:.0f} s")
    for verdict in alive:
        say(f"ALIVE: {verdict.patch.name}: {verdict.by}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
