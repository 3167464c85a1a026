"""The alerts are valid, each fires when it should and only then, and each has a page that says what to do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.deploy.alerts import CASES, RULES, RUNBOOKS, Alert, alerts, cases, metric_names, recorded
from tests.deploy.tools import run, tool

from batchline.cli import build

ALERTS = alerts()
FILES = sorted(CASES.glob("*.yaml"))
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "README.md")
SECTIONS = ["What it means", "How bad is it", "What to look at", "What to do", "What causes it falsely"]
REFUSED: Any = typer.BadParameter.__mro__[1]
"""What the command line raises for words that it does not take: the usage error, wherever typer keeps it."""
FIGURES_LEFT_ALONE = {"BatchlineExporterDown"}
"""Alerts on what is absent: they compare with nothing."""

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def promtool(*arguments: str) -> None:
    done = run(tool("promtool", package="prometheus"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    promtool("test", "rules", str(file))


def test_no_two_alerts_share_a_name() -> None:
    names = [alert.name for alert in ALERTS]
    assert sorted(set(names)) == sorted(names)


@each_alert
def test_an_alert_says_how_urgent_it_is(alert: Alert) -> None:
    assert alert.labels["severity"] in {"warning", "critical"}


@each_alert
@pytest.mark.parametrize("name", ["summary", "description"])
def test_an_alert_says_what_is_wrong(alert: Alert, name: str) -> None:
    assert alert.annotations[name].strip()


@each_alert
def test_a_description_says_what_to_look_at_first(alert: Alert) -> None:
    assert re.search(r"[Ll]ook first at|first, then look at", alert.annotations["description"])


@each_alert
def test_an_alert_has_a_runbook_of_its_name(alert: Alert) -> None:
    assert alert.annotations["runbook"] == f"docs/runbooks/{alert.name}.md"
    page = (RUNBOOKS / f"{alert.name}.md").read_text()
    assert page.startswith(f"# {alert.name}\n\nSeverity: {alert.labels['severity']}\n")


def test_there_is_no_runbook_without_an_alert() -> None:
    assert [page.stem for page in PAGES] == sorted(alert.name for alert in ALERTS)


@each_alert
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(alert: Alert) -> None:
    assert {case.fires for case in cases() if case.alert == alert.name} == {True, False}


def test_every_case_is_of_an_alert_that_exists() -> None:
    assert {case.alert for case in cases()} <= {alert.name for alert in ALERTS}


@each_alert
def test_a_threshold_stands_on_a_line_of_its_own(alert: Alert) -> None:
    assert (alert.thresholds == 0) == (alert.name in FIGURES_LEFT_ALONE)


@each_alert
def test_several_exporters_of_one_store_count_once(alert: Alert) -> None:
    """Every metric stands in an aggregation that leaves the exporter out, or is recorded so."""
    for expr in (alert.expr, *(text for name, text in recorded().items() if name in alert.expr)):
        raw = len(re.findall(r"(?<![:\w])batchline_\w+", expr))
        assert raw == 0 or re.search(r"\b(?:max|min|count) by \(|\babsent\(", expr)


def test_every_recorded_series_is_used() -> None:
    assert [name for name in recorded() if not any(name in alert.expr for alert in ALERTS)] == []


def test_the_metrics_that_the_expressions_name_are_found() -> None:
    assert {"batchline_store_up", "batchline_batch_error_ratio_count", "batchline_saved_usd_total"} <= metric_names()
    assert not any(name.endswith(("_max", "_over_quarter")) or ":" in name for name in metric_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_same_shape_as_all_others(page: Path) -> None:
    assert re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("page", [*PAGES, RUNBOOKS / "README.md"], ids=lambda page: page.stem)
def test_a_page_points_only_at_pages_that_exist(page: Path) -> None:
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not (RUNBOOKS / link).exists()] == []


def test_every_command_that_is_told_can_be_given_so() -> None:
    refused = [f"{place}: {told}: {problem}" for place, told in commands() if (problem := wrong(told))]
    assert refused == []


@pytest.mark.parametrize(
    "told",
    ["batchline heal", "batchline status --all", "batchline batch", "batchline cancel lane", "batchline status X"],
)
def test_a_command_that_does_not_exist_is_seen(told: str) -> None:
    assert wrong(told)


def commands() -> list[tuple[str, str]]:
    """Return every command of ours in a runbook or an annotation, with where it stands; bare flags go with the one before."""
    texts = {page.stem: page.read_text() for page in [*PAGES, RUNBOOKS / "README.md"]}
    texts |= {f"{alert.name} (alert)": " ".join(alert.annotations.values()) for alert in ALERTS}
    found = []
    for place, text in texts.items():
        last = ""
        for told in re.findall(r"`((?:batchline |--)[^`\n]+)`", text):
            last = told if told.startswith("batchline ") else last
            words = last if told == last else f"{last} {told}"
            found.append((place, words))
    return found


def wrong(told: str) -> str:
    """Return why the command line would refuse these words, without running anything; empty where it would not."""
    command: Any = typer.main.get_command(build())
    words = shlex.split(told)[1:]
    parent = None
    try:
        while True:
            context = command.make_context(command.name, list(words), parent=parent, resilient_parsing=False)
            if not hasattr(command, "resolve_command"):
                return ""
            words = [*context._protected_args, *context.args]
            _, command, words = command.resolve_command(context, words)
            parent = context
    except (REFUSED, typer.Exit) as error:
        return str(error) or type(error).__name__


def test_the_index_names_every_page_with_its_severity() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", index, re.MULTILINE)
    assert sorted(rows) == sorted((alert.name, alert.name, alert.labels["severity"]) for alert in ALERTS)
