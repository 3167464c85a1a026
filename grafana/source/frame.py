"""What all dashboards share: variables, annotations, links, and where the panels stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana.source.panels import RUNBOOKS, SOURCE, Row
from grafana.source.promql import ALERTS, CHOSEN
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

TAG = "batchline"
COLUMNS = 24
EVERYTHING = models.VariableOption(selected=True, text="All", value="$__all")


def framed(uid: str, title: str, text: str, rows: Sequence[Row], *, since: str = "now-6h") -> str:
    """Return a dashboard's classic JSON. Raises ValueError where a line of panels does not fill the width."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags([TAG])
        .timezone("browser")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time(since, "now")
        .variables(_variables())
        .links(_links())
        .build()
    )
    built.panels = _placed(rows)
    as_json: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    as_json["annotations"] = {"list": _annotations()}
    for variable in as_json["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):  # of interval variables alone
            variable.pop(name, None)
    return json.dumps(as_json, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(rows: Sequence[Row]) -> list[models.Panel | models.RowPanel]:
    placed: list[models.Panel | models.RowPanel] = []
    y = 0
    for row in rows:
        place = models.GridPos(h=1, w=COLUMNS, x=0, y=y)
        placed.append(models.RowPanel(id_val=row.number, title=row.title, collapsed=False, grid_pos=place, panels=[]))
        y += 1
        for line in row.lines:
            x = 0
            for panel in line:
                about = panel.about
                panel.built.grid_pos = models.GridPos(h=about.height, w=about.width, x=x, y=y)
                placed.append(panel.built)
                x += about.width
            if x != COLUMNS:
                raise ValueError(f"row {row.title!r}: a line of panels is {x} columns wide, not {COLUMNS}")
            y += max(panel.about.height for panel in line)
    return placed


def _variables() -> list[Any]:
    # Chained: each one offers only what there is for those before it.
    above = f"{CHOSEN['namespace']}, {CHOSEN['job']}"
    enqueued = "batchline_requests_enqueued_total"
    account = f"{above}, {CHOSEN['account']}"
    endpoint = f"{account}, {CHOSEN['endpoint']}"
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _labels("namespace", "Namespace", "label_values(batchline_store_up, namespace)"),
        _labels("job", "Job", f"label_values(batchline_store_up{{{CHOSEN['namespace']}}}, job)"),
        _labels("account", "Account", f"label_values({enqueued}{{{above}}}, account)"),
        _labels("endpoint", "Endpoint", f"label_values({enqueued}{{{account}}}, endpoint)"),
        _labels("model", "Model", f"label_values({enqueued}{{{endpoint}}}, model)"),
        dashboard.TextBoxVariable("runbooks")
        .label("Runbooks")
        .description("Where the pages of docs/runbooks are served; the links to runbooks start with it")
        .default_value(RUNBOOKS)
        .current(models.VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS)),
    ]


def _labels(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": f"variable-{name}"})
        .datasource(SOURCE)
        .multi(True)
        .include_all(True)
        # Not the list of all values: `.*` also finds series without the label, and keeps the expressions short.
        .all_value(".*")
        .current(EVERYTHING)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _links() -> list[Any]:
    others = dashboard.DashboardLink("batchline").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    others.as_dropdown(False).include_vars(True).keep_time(True).target_blank(False)
    runbooks = dashboard.DashboardLink("Runbooks").type(models.DashboardLinkType.LINK).icon("doc").url("${runbooks}")
    return [others, runbooks.tooltip("What to do when an alert fires").target_blank(True)]


def _annotations() -> list[dict[str, Any]]:
    # The SDK's annotation has no expression; the fields are those that Grafana reads for Prometheus.
    version = f"max by (version) (batchline_build_info{{{CHOSEN['namespace']}}}"
    deploys = f"{version}) unless {version} offset 5m)"
    source = {"type": "prometheus", "uid": "${datasource}"}
    common = {"datasource": source, "enable": True, "hide": False, "step": "60s", "useValueForTime": False}
    return [
        {
            **common,
            "name": "Deploys",
            "iconColor": "blue",
            "expr": deploys,
            "titleFormat": "Version {{version}}",
            "textFormat": "A version that did not run five minutes before",
            "tagKeys": "version",
        },
        {
            **common,
            "name": "Alerts",
            "iconColor": "red",
            "expr": ALERTS,
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}} {{account}} {{endpoint}} {{model}}",
            "tagKeys": "severity",
        },
    ]
