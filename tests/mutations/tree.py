"""A copy of the project in which one mutant at a time lives, and pytest runs over it.

Each run is forked from a process that has loaded the SDKs: importing them takes longer than the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutations.patches import ROOT, Patch, applied

COPIED = ("worker", "tests", "bench", "docs", "config", "pyproject.toml", "README.md", "Makefile")
LOADED = ("openai", "anthropic", "httpx2", "redis", "starlette", "uvicorn", "celery", "kombu")
HANGS_S = 60
"""A test that runs longer has met a mutant that hangs; without a mutant each takes seconds."""
SPARE_S = 60

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(list(LOADED))


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
        # Compiled files are checked by their source's hash: a patched file may have the time and the size of the one before.
        compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "worker"]
        subprocess.run(compiling, cwd=folder, check=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        return kept | {
            "PYTHONPATH": f"{self.folder / 'worker'}{os.pathsep}{self.folder}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "400",
        }

    def pytest(self, tests: Sequence[str], *, seconds: float, options: Sequence[str] = ()) -> tuple[int | None, str]:
        """Run tests; returns pytest's exit code, None when they hang, and what it printed."""
        arguments = [
            "-q",
            "-rfE",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
        ]
        arguments += [f"--timeout={HANGS_S}", *options, *tests]
        printed = self.folder / "printed"
        printed.write_text("")
        process = _forking.Process(
            target=_pytest, args=(self.folder, self._environment(), arguments, printed), daemon=True
        )
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None and process.pid:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        return code, printed.read_text(errors="replace")

    def run_mutant(self, patch: Patch) -> tuple[int | None, str]:
        """Apply a patch, run its tests, take it back; returns what ``pytest`` returns."""
        made = applied(patch, self.folder)
        whole = {file: (self.folder / file).read_text() for file in made}
        try:
            for file, text in made.items():
                (self.folder / file).write_text(text)
            return self.pytest(patch.tests, seconds=HANGS_S + SPARE_S, options=["-x"])
        finally:
            for file, text in whole.items():
                (self.folder / file).write_text(text)


def _pytest(folder: Path, environment: Mapping[str, str], arguments: list[str], printed: Path) -> None:
    """Run pytest in this process, which was forked for it, over the copy in ``folder``."""
    os.setsid()
    sink = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(folder / "worker"), str(folder)]
    for name in [name for name in sys.modules if name.partition(".")[0] in {"batchline", "tests"}]:
        del sys.modules[name]
    import batchline  # noqa: PLC0415 - from the copy: an editable install points elsewhere

    if not Path(batchline.__file__).is_relative_to(folder):
        sys.exit(f"the copy in {folder} is not what Python imports, but {batchline.__file__}")
    import pytest  # noqa: PLC0415

    sys.exit(pytest.main(arguments))
