"""`make mutants`: take the handling of each fault out, and see that a test notices.

The tree is copied once for each job; a patch of this folder is applied there, its tests are run, and it is taken back. A
mutant is caught when one of its tests fails; a test that cannot be run (an import or syntax error) catches nothing.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from tests.mutations.patches import ROOT, DoesNotApply, Patch, all_patches, applied, missing_tests

COPIED = ("worker", "tests", "bench", "docs", "config", "pyproject.toml", "README.md", "Makefile")
HANGS_S = 60
"""A test that runs longer has met a mutant that hangs; without a mutant each takes seconds."""
SPARE_S = 60
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


class Tree:
    """A copy of the project in which one job works; ``pytest`` imports nothing of ours from anywhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, folder / name)
        self._check_imports()

    def _check_imports(self) -> None:
        """Compile, and see that the copy is what is imported: an editable install points elsewhere."""
        # Compiled files are checked by their source's hash: a patched file may have the time and the size of the one before.
        compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "worker"]
        subprocess.run(compiling, cwd=self.folder, check=True, env=self._environment())
        asking = [sys.executable, "-c", "import batchline; print(batchline.__file__)"]
        said = subprocess.run(asking, cwd=self.folder, check=True, env=self._environment(), capture_output=True)
        if not Path(said.stdout.decode().strip()).is_relative_to(self.folder):
            sys.exit(f"the copy in {self.folder} is not what Python imports, but {said.stdout.decode().strip()}")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        return kept | {
            "PYTHONPATH": f"{self.folder / 'worker'}{os.pathsep}{self.folder}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "400",
        }

    def pytest(self, tests: Sequence[str], *, seconds: float, options: Sequence[str] = ()) -> tuple[int | None, str]:
        """Run tests; returns pytest's exit code, None when they hang, and what it printed."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rfE",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
        ]
        command += [f"--timeout={HANGS_S}", *options, *tests]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            return None, printed
        return process.returncode, printed

    def judge(self, patch: Patch) -> Verdict:
        """Apply a patch, run its tests, take it back."""
        began = time.monotonic()
        made = applied(patch, self.folder)
        whole = {file: (self.folder / file).read_text() for file in made}
        try:
            for file, text in made.items():
                (self.folder / file).write_text(text)
            code, printed = self.pytest(patch.tests, seconds=HANGS_S + SPARE_S, options=["-x"])
        finally:
            for file, text in whole.items():
                (self.folder / file).write_text(text)
        caught, by = judged(code, printed)
        return Verdict(patch=patch, caught=caught, by=by, seconds=time.monotonic() - began)


def judged(code: int | None, printed: str) -> tuple[bool, str]:
    """Tell whether a run of pytest caught a mutant, and by which test, or why not."""
    if code is None:
        return True, "it hangs"
    if code == 0:
        return False, "SURVIVED: all its tests pass"
    failed = [
        line.removeprefix("FAILED ").partition(" - ")[0] for line in printed.splitlines() if line.startswith("FAILED ")
    ]
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
                done.put(tree.judge(waiting.get_nowait()))
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
    say(f"{mark}  {verdict.seconds:5.1f} s  {verdict.patch.name:<38}  {by}\n{'':18}{verdict.patch.fault}")


def main() -> int:
    """Run the mutants; 1 when one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.run", description=__doc__)
    parser.add_argument("--only", default="", help="only patches whose name or fault holds this text")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    given = parser.parse_args()
    patches = [patch for patch in all_patches() if given.only in patch.name or given.only in patch.fault]
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
