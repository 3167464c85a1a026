"""A real Prometheus with the project's own alert rules, and questions to it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from tests.crash.waiting import until
from tests.deploy.tools import ROOT, tool

from batchline.local.child import Child
from batchline.local.store_process import free_port

RULES = ROOT / "grafana/alerts/batchline.yaml"
START_S = 30.0


@dataclass(frozen=True)
class Span:
    """A stretch of time, unix seconds."""

    start_s: float
    end_s: float


class Prometheus:
    """Scrapes each of ``targets`` (job → addresses) and evaluates the rules every second, from its start to its end."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        program = tool("prometheus", package="prometheus")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(_configuration(targets)))
        command = [
            program,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._child = Child("prometheus", command, log=folder / "prometheus.log", environment=dict(os.environ))

    def __enter__(self) -> Self:
        if not until(self._ready, START_S):
            self._child.check()
            raise TimeoutError(f"prometheus is not ready after {START_S} s; see {self._child.log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.stop()

    def _ready(self) -> bool:
        self._child.check()
        try:
            with urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules as they do: with ``health``, ``lastError`` and, for alerts, ``state``."""
        return [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]

    def value(self, expr: str) -> float | None:
        """Return the one value of an expression now, None where it has none."""
        rows = self._ask("query", {"query": expr})["result"]
        return float(rows[0]["value"][1]) if rows else None

    def values(self, expr: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of an expression now, by these labels."""
        rows = self._ask("query", {"query": expr})["result"]
        return {tuple(row["metric"].get(label, "") for label in labels): float(row["value"][1]) for row in rows}

    def has_data(self, expr: str, span: Span) -> bool:
        """Tell whether an expression had a value that is a number at any second of a span. ValueError: it is no PromQL."""
        asked = {"query": expr, "start": span.start_s, "end": span.end_s, "step": 1}
        rows = self._ask("query_range", asked)["result"]
        return any(not math.isnan(float(value)) for row in rows for _, value in row["values"])

    def _ask(self, what: str, asked: Mapping[str, Any]) -> Any:
        try:
            with urlopen(f"{self.url}/api/v1/{what}?{urlencode(asked)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except URLError as error:
            reason = error.read().decode() if hasattr(error, "read") else str(error)
            raise ValueError(f"{asked}: {reason}") from error


def _configuration(targets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses), "labels": {"namespace": "test"}}]}
            for job, addresses in targets.items()
        ],
    }
