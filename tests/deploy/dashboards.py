"""Reading the generated dashboards: their panels, and their expressions with Grafana's variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.deploy.tools import ROOT

FOLDER = ROOT / "grafana/dashboards"
EVERYTHING = {
    "namespace": ".*",
    "job": ".*",
    "account": ".*",
    "endpoint": ".*",
    "model": ".*",
    "__rate_interval": "5m",
    "__range": "6h",
}
"""What Grafana fills in where everything is chosen."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_METRIC = re.compile(r"\bbatchline_\w+")


@dataclass(frozen=True)
class Expression:
    """One expression of a panel (or of an annotation, whose ``ref`` is ``annotation``), ready for Prometheus."""

    dashboard: str
    panel: str
    ref: str
    expr: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every generated dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every panel that shows something, with the name of its dashboard."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield name, panel


def expressions(values: Mapping[str, str] = EVERYTHING) -> Iterator[Expression]:
    """Yield all expressions with ``values`` in place of the variables. KeyError: a variable that has no value."""
    for name, panel in panels():
        for target in panel["targets"]:
            yield Expression(name, panel["title"], target["refId"], filled(target["expr"], values))
    for name, dashboard in dashboards().items():
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(name, annotation["name"], "annotation", filled(annotation["expr"], values))


def filled(expr: str, values: Mapping[str, str]) -> str:
    """Return an expression with the variables filled in, as ``$name``, ``${name}`` or ``${name:format}``."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], expr)


def metric_names() -> set[str]:
    """Return the names of all our metrics in the dashboards, those of the variables' queries included."""
    texts = [expression.expr for expression in expressions()]
    for dashboard in dashboards().values():
        texts += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return {name for text in texts for name in _METRIC.findall(text)}
