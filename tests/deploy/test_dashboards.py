"""The generated dashboards: fresh, complete, readable by Grafana and Prometheus, and nothing in them leads nowhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy import dashboards as read
from tests.deploy.tools import ROOT, run, tool

if os.environ.get("DEPLOY_TOOLS") != "required":
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not here: run `make deploy-setup`")

from grafana.source import __main__ as generator
from grafana.source.promql import LABELS

NAMES = ["batches", "money", "overview", "providers"]
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOK = re.compile(r"docs/runbooks/(\w+)\.md")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
METRIC = re.compile(r"\bbatchline_\w+")
BROUGHT_TO_ONE = re.compile(
    r"\b(?:max|min) by \(namespace, job\b[^()]*\) \((?:(?:rate|max_over_time|min_over_time)\()?$"
)
ALERTS = ROOT / "grafana/alerts/batchline.yaml"
DASHBOARDS = read.dashboards()
PANELS = [pytest.param(panel, id=f"{name}-{panel['title']}") for name, panel in read.panels()]


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    name: str = request.param
    return DASHBOARDS[name]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what is generated and what it is generated from."""
    for path in generator.files():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    (tmp_path / generator.ALERTS).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ALERTS, tmp_path / generator.ALERTS)
    return tmp_path


def runbooks() -> set[str]:
    texts = [panel.get("description", "") for _, panel in read.panels()]
    links = [link["url"] for _, panel in read.panels() for link in panel.get("links", [])]
    named = {name for text in texts for name in RUNBOOK.findall(text)}
    return named | {name for link in links for name in re.findall(r"/(\w+)\.md$", link)}


def test_the_four_dashboards_are_there() -> None:
    assert sorted(DASHBOARDS) == NAMES


def test_generated_files_are_what_their_sources_say() -> None:
    assert generator.stale() == []


def test_a_changed_copy_is_not_fresh(project: Path) -> None:
    changed = project / "helm/batchline/files/dashboards/money.json"
    changed.write_text(changed.read_text().replace("Saved", "Gained", 1))
    assert generator.stale(project) == [Path("helm/batchline/files/dashboards/money.json")]


def test_a_missing_dashboard_is_not_fresh(project: Path) -> None:
    (project / "grafana/dashboards/batches.json").unlink()
    assert generator.stale(project) == [Path("grafana/dashboards/batches.json")]


def test_a_dashboard_without_a_source_is_not_fresh(project: Path) -> None:
    (project / "grafana/dashboards/forgotten.json").write_text("{}\n")
    assert generator.stale(project) == [Path("grafana/dashboards/forgotten.json")]


def test_changed_alerts_make_the_charts_copy_stale(project: Path) -> None:
    (project / generator.ALERTS).write_text("groups: []\n")
    assert generator.stale(project) == [Path("helm/batchline/files/alerts.yaml")]


def test_what_was_written_anew_is_fresh(project: Path) -> None:
    for path in generator.files(project):
        (project / path).unlink()
    generator.write(project)
    assert generator.stale(project) == []


def test_uids_are_unique_and_never_change() -> None:
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {
        "overview": "batchline-overview",
        "batches": "batchline-batches",
        "providers": "batchline-providers",
        "money": "batchline-money",
    }


def test_panel_ids_are_unique(dashboard: dict[str, Any]) -> None:
    numbers = Counter(panel["id"] for panel in dashboard["panels"])
    assert [number for number, times in numbers.items() if times > 1] == []


def test_titles_are_unique_in_a_row_of_panels(dashboard: dict[str, Any]) -> None:
    titles = Counter(panel["title"] for panel in dashboard["panels"] if panel["type"] != "row")
    assert [title for title, times in titles.items() if times > 1] == []


def test_no_two_panels_overlap(dashboard: dict[str, Any]) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    assert [(a, b) for (a, one), (b, other) in combinations(places, 2) if _overlap(one, other)] == []


def test_panels_stand_within_the_24_columns(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)


def test_it_is_the_classic_kind_that_any_grafana_imports(dashboard: dict[str, Any]) -> None:
    assert isinstance(dashboard["schemaVersion"], int)
    assert dashboard.get("id") is None
    assert "__inputs" not in dashboard


def test_variables_are_chained_and_start_with_everything(dashboard: dict[str, Any]) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job", "account", "endpoint", "model", "runbooks"]
    assert variables["datasource"] | {"type": "datasource", "query": "prometheus"} == variables["datasource"]
    lane = [variables[name] for name in ("account", "endpoint", "model")]
    assert all(each["multi"] and each["includeAll"] and each["current"]["value"] == "$__all" for each in lane)
    assert '$account"' in variables["endpoint"]["query"]["query"]
    assert '$endpoint"' in variables["model"]["query"]["query"]


def test_it_links_to_the_others_and_to_the_runbooks(dashboard: dict[str, Any]) -> None:
    others, pages = dashboard["links"]
    assert others["type"] == "dashboards"
    assert set(others["tags"]) <= set(dashboard["tags"])
    assert pages["url"] == "${runbooks}"


def test_nothing_in_it_names_a_place_on_the_network(dashboard: dict[str, Any]) -> None:
    assert "://" not in json.dumps(dashboard)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [PROMETHEUS] * (
        len(panel["targets"]) + 1
    )


@pytest.mark.parametrize("panel", PANELS)
def test_every_series_of_an_expression_is_brought_to_one_value_first(panel: dict[str, Any]) -> None:
    """Several exporters show the same figures: what is not brought to one by max or min is counted twice."""
    for target in panel["targets"]:
        # The last part, `or 0 * max(batchline_store_up ...)`, only asks whether there is an exporter.
        figure = TEXT.sub('""', target["expr"]).split(" or 0 * max(batchline_store_up")[0]
        assert [
            found[0] for found in METRIC.finditer(figure) if not BROUGHT_TO_ONE.search(figure[: found.start()])
        ] == []


def test_every_expression_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    promtool = tool("promtool", package="prometheus")
    rules = [{"record": f"panel:{n}", "expr": each.expr} for n, each in enumerate(read.expressions())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = run(promtool, "check", "rules", str(tmp_path / "panels.yaml"))
    assert (checked.returncode, f"{len(rules)} rules found" in checked.stdout) == (0, True), checked.stderr


def test_an_unreadable_expression_is_found(tmp_path: Path) -> None:
    promtool = tool("promtool", package="prometheus")
    rules = [{"record": "panel:0", "expr": "sum(batchline_batches"}]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert run(promtool, "check", "rules", str(tmp_path / "panels.yaml")).returncode != 0


def test_only_known_metrics_are_shown_and_all_of_them() -> None:
    shown = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in read.metric_names()}
    assert shown - set(LABELS) == set()
    assert set(LABELS) - shown == set()


def test_grafanas_variables_are_filled_in_whichever_way_they_are_written() -> None:
    values = {"model": ".+", "__range": "1h"}
    assert read.filled('a{m=~"$model"}[$__range] b{m=~"${model:regex}"}[${__range}]', values) == (
        'a{m=~".+"}[1h] b{m=~".+"}[1h]'
    )


def test_every_runbook_that_a_panel_names_is_an_alerts() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert runbooks()
    assert runbooks() - alerts == set()


def test_every_runbook_that_a_panel_names_has_its_page() -> None:
    pages = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")}
    assert runbooks() - pages == set()


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not above
