"""The kill matrix at work: a few of its cases, in a process of their own since it forks, and a few that must fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash import forked
from tests.crash.bench import SETTINGS, Bench
from tests.crash.cases import Case, all_cases, third
from tests.crash.rehearsal import rehearse
from tests.memory import quick_folder

ROOT = Path(__file__).parents[2]
MOST_S = 110
GOOD = (
    "script.submitted.after:kill:1 plain openai",
    "provider.anthropic.find.after:drop:1 lost anthropic",
    "provider.openai.create.before:hang:1 plain openai",
)
PLAIN = Case(point="script.walk.before", action="raise", nth=1, scenario="plain", kind="openai")


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_S, check=False)


def test_workers_that_die_fail_and_hang_lose_nothing_and_pay_once() -> None:
    chosen = [part for case in GOOD for part in ("--only", case)]
    ended = program("tests.crash.matrix", "--seed", "1", "--jobs", "3", *chosen)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines() if " s  " in line] == ["ok"] * len(GOOD)
    assert "left out:" in ended.stdout


def test_a_matrix_without_a_case_fails() -> None:
    assert program("tests.crash.matrix", "--only", "no such point").returncode == 1


def test_a_case_fails_whose_point_is_never_reached_or_whose_worker_ends_as_nobody_asked() -> None:
    ended = program("tests.crash.test_matrix")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "nowhere": [False, []],
        "signal": [True, ["the second worker ended with -11 instead of 0"]],
        "traceback": [True, ["the second worker ended with 1 instead of 0", "the second worker: Traceback"]],
    }


def test_all_shards_together_are_the_whole_matrix() -> None:
    cases = all_cases(3)
    assert sorted(case for n in (1, 2, 3) for case in third(cases, f"{n}/3")) == sorted(cases)
    assert len(set(cases)) == len(cases)


def broken(name: str, how: Callable[[], Any]) -> Callable[..., int]:
    """Return a fork that lets the worker with this name end its work in a way of its own."""

    def fork(body: Callable[[], None], *, output: Path) -> int:
        def ends() -> None:
            body()
            how()

        return FORK(ends if output.stem == name else body, output=output)

    return fork


FORK = forked.fork
BAD: dict[str, tuple[Case, Callable[..., int]]] = {
    "nowhere": (Case(point="script.nowhere.before", action="kill", nth=1, scenario="plain", kind="openai"), FORK),
    "signal": (PLAIN, broken("second", partial(signal.raise_signal, signal.SIGSEGV))),
    "traceback": (PLAIN, broken("second", partial(int, "no number"))),
}


def main() -> None:
    """Run the cases that must fail, and print what came of each: whether its point fired, and what was wrong."""
    found = {}
    with quick_folder() as folder:
        rehearse(Path(folder) / "rehearsal", SETTINGS, celery=False)
        bench = Bench(Path(folder) / "bench")
        for name, (case, fork) in BAD.items():
            vars(forked)["fork"] = fork
            verdict = bench.run(case)
            found[name] = [
                verdict.fired,
                [problem.splitlines()[0].removesuffix(" (most recent call last):") for problem in verdict.wrong],
            ]
        bench.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
