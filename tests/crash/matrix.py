"""The kill matrix, as a program: ``python -m tests.crash.matrix [--seed N] [--shard 1/3] [--jobs N] [--only TEXT]``.

Prints a line for each place and fails when a case broke a promise or its point was never reached.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from tests.crash.bench import SETTINGS, Bench, Verdict
from tests.crash.cases import ACTIONS, NEVER, SIDES, Case, all_cases, third
from tests.crash.rehearsal import rehearse
from tests.memory import quick_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that the command line names; returns the exit code."""
    given = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    cases = [case for case in third(all_cases(seed), given.shard) if wanted(case, given.only)]
    say(f"kill matrix: seed {seed}, shard {given.shard}: {len(cases)} cases, {given.jobs} at a time")
    if not cases:
        return 1
    began = time.monotonic()
    with quick_folder() as folder:
        rehearse(Path(folder) / "rehearsal", SETTINGS, celery=any(case.celery for case in cases))
        verdicts = [_told(verdict) for verdict in run_all(cases, Path(folder), given.jobs)]
    _table(verdicts)
    _left_out()
    bad = [verdict for verdict in verdicts if not verdict.ok]
    for verdict in bad:
        _explain(verdict, Path(given.logs) if given.logs else None)
    say(f"{len(verdicts)} cases, {len(bad)} failed, {time.monotonic() - began:.0f} s, seed {seed}, shard {given.shard}")
    return 1 if bad else 0


def wanted(case: Case, only: Sequence[str]) -> bool:
    """Tell whether a case is among those asked for."""
    return not only or any(text in str(case) for text in only)


def run_all(cases: Sequence[Case], folder: Path, jobs: int) -> Iterator[Verdict]:
    """Run cases in so many processes at once, each with a store of its own, and yield their verdicts as they come."""
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(cases))
    ends: dict[Connection, multiprocessing.process.BaseProcess] = {}
    for index in range(min(jobs, len(cases))):
        ours, theirs = context.Pipe()
        # A daemon: when a bench dies, which ends this loop, this program must not wait for the others for ever.
        process = context.Process(target=_serve, args=(folder / f"bench-{index}", theirs), daemon=True)
        process.start()
        theirs.close()
        ours.send(waiting.pop())
        ends[ours] = process
    while ends:
        for end in cast("list[Connection]", wait(list(ends))):
            yield end.recv()
            if waiting:
                end.send(waiting.pop())
            else:
                end.send(None)
                ends.pop(end).join()


def _serve(folder: Path, orders: Connection) -> None:
    bench = Bench(folder)
    try:
        while case := orders.recv():
            orders.send(bench.run(case))
    finally:
        bench.close()


def say(line: str) -> None:
    """Write a line to the user."""
    print(line, flush=True)  # noqa: T201 - a program's output


def _told(verdict: Verdict) -> Verdict:
    mark = "ok" if verdict.ok else "FAILED" if verdict.fired else "NEVER FIRED"
    say(f"{mark:12} {verdict.seconds:5.1f} s  {verdict.case}")
    return verdict


def _table(verdicts: Sequence[Verdict]) -> None:
    """Print one line a place: for each side and action, how many cases passed of how many ran."""
    cells: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        place, _, side = verdict.case.point.rpartition(".")
        row = f"{place}:{verdict.case.nth} ({verdict.case.scenario})"
        cells[row][f"{side} {verdict.case.action}"].append(verdict.ok)
    columns = [f"{side} {action}" for side in SIDES for action in ACTIONS]
    say(f"\n{'place:nth (scenario)':46}" + "".join(f"{column:>13}" for column in columns))
    for row in sorted(cells):
        found = (cells[row].get(column) for column in columns)
        say(f"{row:46}" + "".join(f"{f'{sum(each)}/{len(each)}' if each else '-':>13}" for each in found))


def _left_out() -> None:
    """Say what no case tries, and why."""
    say("\nleft out:")
    for name, reason in sorted(NEVER.items()):
        say(f"    {name}: {reason}")


def _explain(verdict: Verdict, logs: Path | None) -> None:
    say(f"\n{verdict.case}")
    for line in verdict.wrong if verdict.fired else ["the point was never reached", *verdict.wrong]:
        say(f"    {line}")
    if logs:
        logs.mkdir(parents=True, exist_ok=True)
        name = str(verdict.case).replace(" ", "_").replace(":", "_")
        (logs / f"{name}.log").write_text(verdict.logs, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix")
    parser.add_argument("--seed", type=int, default=None, help="order and free choices; drawn and printed without it")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="only this part of the shuffled cases")
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 2), help="cases at a time")
    parser.add_argument("--only", action="append", default=[], help="only cases whose name has this text in it")
    parser.add_argument("--logs", default="", metavar="DIR", help="keep the logs of failed cases here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
