"""Write the dashboards, and the chart's copies of dashboards and alerts: ``python -m grafana.source [--check]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from grafana.source import batches, money, overview, providers

ROOT = Path(__file__).parents[2]
ALERTS = Path("grafana/alerts/batchline.yaml")
CHART = Path("helm/batchline/files")
DASHBOARDS: dict[str, Callable[[], str]] = {
    "overview": overview.dashboard,
    "batches": batches.dashboard,
    "providers": providers.dashboard,
    "money": money.dashboard,
}


def files(root: Path = ROOT) -> dict[Path, str]:
    """Return every generated file and its content; paths are relative to the project."""
    made: dict[Path, str] = {}
    for name, dashboard in DASHBOARDS.items():
        content = dashboard()
        made[Path(f"grafana/dashboards/{name}.json")] = content
        made[CHART / f"dashboards/{name}.json"] = content
    if (root / ALERTS).is_file():
        made[CHART / "alerts.yaml"] = (root / ALERTS).read_text(encoding="utf-8")
    return made


def stale(root: Path = ROOT) -> list[Path]:
    """Return the generated files that are missing or not what the sources say, and dashboards that have no source."""
    made = files(root)
    wrong = [path for path, content in made.items() if not (root / path).is_file() or _read(root / path) != content]
    folders = (Path("grafana/dashboards"), CHART / "dashboards")
    there = [path.relative_to(root) for folder in folders for path in (root / folder).glob("*.json")]
    return sorted([*wrong, *(path for path in there if path not in made)])


def write(root: Path = ROOT, target: Path | None = None) -> None:
    """Write every generated file under ``target`` (the project)."""
    for path, content in files(root).items():
        place = (target or root) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")


def main() -> int:
    """Write, or with --check say what is not fresh; the exit code is 1 then."""
    parser = argparse.ArgumentParser(prog="python -m grafana.source", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not fresh")
    if not parser.parse_args().check:
        write()
        return 0
    wrong = stale()
    for path in wrong:
        sys.stderr.write(f"{path} is not what its source says: run `make generate`\n")
    return 1 if wrong else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
