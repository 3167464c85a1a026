"""The kinds of panels, each built in one way: what it shows, its unit, its limits, the runbooks to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS = "docs/runbooks"

GREEN, YELLOW, ORANGE, RED, BLUE, TEXT = "green", "yellow", "orange", "red", "blue", "text"

Limits = Sequence[tuple[float, str]]
"""From which value on which colour; below the first one it is green."""

Builder = stat.Panel | timeseries.Panel | table.Panel | heatmap.Panel | bargauge.Panel


@dataclass(frozen=True)
class Query:
    """One expression of a panel and the name of its series; a table names a column with it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class About:
    """What every panel says of itself. ``number`` is its id for good: links and embedded panels refer to it."""

    number: int
    title: str
    text: str
    unit: str
    alerts: Sequence[str] = ()
    """Alerts whose runbooks say what to do about what is shown here."""
    width: int = 12
    height: int = 8


@dataclass(frozen=True)
class Panel:
    """A built panel and the room that it takes."""

    about: About
    built: models.Panel


@dataclass(frozen=True)
class Row:
    """A titled row: lines of panels, each of which fills 24 columns."""

    number: int
    title: str
    lines: Sequence[Sequence[Panel]] = field(default_factory=tuple)


def tile(
    about: About,
    expr: str,
    *,
    limits: Limits = (),
    words: Mapping[str, tuple[str, str]] | None = None,
    beyond: tuple[float, str] | None = None,
    missing: str = "no data",
    decimals: int | None = None,
    colour: str = GREEN,
    legend: str = "",
) -> Panel:
    """Return a single figure. ``words`` gives values a text and a colour, ``missing`` stands where there is no value.

    ``beyond`` is the value from which on a text stands in its place, in red: what never was is 0 as a time, and very old.
    """
    panel = (
        stat.Panel()
        .color_mode(shapes.BigValueColorMode.BACKGROUND if limits or words else shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .text_mode(shapes.BigValueTextMode.NAME if legend else shapes.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(limits, first=colour))
        .no_value(missing)
        .with_target(_target(Query(expr, legend), "A", instant=True))
    )
    if words:
        panel.mappings([_words(words)])
    if beyond:
        text = models.ValueMappingResult(text=beyond[1], color=RED, index=0)
        panel.mappings([models.RangeMap(options=models.DashboardRangeMapOptions(from_val=beyond[0], result=text))])
    if decimals is not None:
        panel.decimals(decimals)
    return _finished(panel, about)


def lines(
    about: About,
    *queries: Query,
    limits: Limits = (),
    stacked: bool = False,
    bars: bool = False,
    largest: float | None = None,
    negative: bool = False,
    window: str = "",
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Return figures over time. ``limits`` are drawn as dashed lines, ``window`` is the shortest rate interval."""
    panel = (
        timeseries.Panel()
        .draw_style(shapes.GraphDrawStyle.BARS if bars else shapes.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(60 if bars else 25 if stacked else 8)
        .show_points(shapes.VisibilityMode.AUTO)
        # A batch ends now and then: figures of what ended are joined, however far apart they are.
        .span_nulls(bool(window))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(shapes.LegendDisplayMode.TABLE)
            .placement(shapes.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(_thresholds(limits))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    if not negative:
        panel.min(0)
    if largest is not None:
        panel.max(largest)
    if window:
        panel.interval(window)
    for name, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="color", value=fixed)])
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(_target(query, ref))
    return _finished(panel, about)


def gauges(about: About, *queries: Query, limits: Limits = (), largest: float | None = None) -> Panel:
    """Return one bar per series, as it is now."""
    panel = (
        bargauge.Panel()
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(limits))
        .min(0)
        .no_value("no data")
    )
    if largest is not None:
        panel.max(largest)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(_target(query, ref, instant=True))
    return _finished(panel, about)


def distribution(about: About, buckets: str) -> Panel:
    """Return a histogram over time; ``buckets`` is a sum by ``le``."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmaps.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmaps.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit(about.unit).axis_placement(shapes.AxisPlacement.LEFT))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_legend()
        .interval("5m")
        .with_target(_target(Query(buckets, "{{le}}"), "A").format(PromQueryFormat.HEATMAP))
    )
    return _finished(panel, about)


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, the expression whose value it shows, its unit and its limits."""

    name: str
    expr: str
    unit: str
    limits: Limits = ()
    decimals: int | None = None


def grid(about: About, keys: Sequence[str], columns: Sequence[Column], *, sort: str, opens: str = "") -> Panel:
    """Return a table: one line for each set of the labels ``keys``, which all columns are summed by.

    A click on a label opens the dashboard of uid ``opens`` with the labels of that line chosen.
    """
    renamed = {f"Value #{ref}": column.name for ref, column in zip("ABCDEFGHIJKL", columns, strict=False)}
    order = {name: index for index, name in enumerate([*keys, *renamed])}
    panel = (
        table.Panel()
        .show_header(True)
        .cell_height(shapes.TableCellHeight.SM)
        .footer(common.TableFooterOptions().show(False).reducer(["sum"]).count_rows(False))
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .no_value("-")
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed},
            )
        )
    )
    for key in keys if opens else ():
        panel.override_by_name(key, [models.DynamicConfigValue(id_val="links", value=[_choosing(keys, opens)])])
    for ref, column in zip("ABCDEFGHIJKL", columns, strict=False):
        panel.with_target(_target(Query(column.expr), ref, instant=True).format(PromQueryFormat.TABLE))
        panel.override_by_name(column.name, _column(column))
    return _finished(panel, about)


def _choosing(keys: Sequence[str], uid: str) -> dict[str, str]:
    chosen = "&".join(f"var-{key}=${{__data.fields.{key}}}" for key in keys)
    kept = "${datasource:queryparam}&${namespace:queryparam}&${job:queryparam}&${__url_time_range}"
    return {"title": "Show this alone", "url": f"/d/{uid}?{chosen}&{kept}"}


def _column(column: Column) -> list[models.DynamicConfigValue]:
    properties: list[tuple[str, Any]] = [("unit", column.unit)]
    if column.decimals is not None:
        properties.append(("decimals", column.decimals))
    if column.limits:
        properties.append(("thresholds", _thresholds(column.limits, first=TEXT).build()))
        properties.append(("custom.cellOptions", {"type": "color-text"}))
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in properties]


def _finished(panel: Builder, about: About) -> Panel:
    panel.id(about.number).title(about.title).description(_description(about)).unit(about.unit).datasource(SOURCE)
    panel.links([_runbook(alert) for alert in about.alerts])
    return Panel(about, panel.build())


def _description(about: About) -> str:
    if not about.alerts:
        return about.text
    pages = ", ".join(f"{RUNBOOKS}/{alert}.md" for alert in about.alerts)
    return f"{about.text}\n\nRunbook{'s' if len(about.alerts) > 1 else ''}: {pages}"


def _runbook(alert: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"Runbook {alert}").type(models.DashboardLinkType.LINK)
    return link.url(f"${{runbooks}}/{alert}.md").target_blank(True)


def _target(query: Query, ref: str, *, instant: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE)
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if instant else target.range()


def _thresholds(limits: Limits, first: str = GREEN) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color=first)]
    steps += [models.Threshold(value=value, color=colour) for value, colour in limits]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    options = {
        value: models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(words.items())
    }
    return models.ValueMap(options=options)
