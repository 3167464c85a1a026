"""Reading the alert rules and their promtool cases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from tests.deploy.tools import ROOT

RULES = ROOT / "grafana/alerts/batchline.yaml"
CASES = ROOT / "grafana/alerts/tests"
RUNBOOKS = ROOT / "docs/runbooks"

_METRIC = re.compile(r"\bbatchline_\w+")
_THRESHOLD = re.compile(r"^\s*(?:==|!=|[<>]=?)\s*[\d.]+(?:\s*\*\s*[\d.]+)*\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Alert:
    """One alert as the rule file has it."""

    name: str
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def measured(self) -> str:
        """The expression without its thresholds: what the alert looks at. It has data also where nothing is wrong."""
        return _THRESHOLD.sub("", self.expr)

    @property
    def thresholds(self) -> int:
        """How many comparisons stand on a line of their own."""
        return len(_THRESHOLD.findall(self.expr))


@dataclass(frozen=True)
class Case:
    """One promtool expectation: whether an alert fires, with these annotations."""

    file: str
    title: str
    alert: str
    fires: bool


def alerts() -> list[Alert]:
    """Return every alert, in the order of the file."""
    return [
        Alert(rule["alert"], rule["expr"], rule.get("labels", {}), rule.get("annotations", {}))
        for rule in _rules()
        if "alert" in rule
    ]


def recorded() -> dict[str, str]:
    """Return the expression of every recorded series by its name."""
    return {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}


def metric_names() -> set[str]:
    """Return every metric of batchline that an expression names; of a histogram its series, such as ``..._count``."""
    return {name for expr in _expressions() for name in _METRIC.findall(_without_recorded(expr))}


def cases() -> Iterator[Case]:
    """Yield every expectation of every promtool file."""
    for path in sorted(CASES.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["tests"]:
            for test in group["alert_rule_test"]:
                yield Case(path.name, group["name"], test["alertname"], bool(test["exp_alerts"]))


def _rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def _expressions() -> Iterator[str]:
    yield from (alert.expr for alert in alerts())
    yield from recorded().values()


def _without_recorded(expr: str) -> str:
    for name in recorded():
        expr = expr.replace(name, "")
    return expr
