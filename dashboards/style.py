"""How a panel of ours looks: each has a title, a description and a unit, and says what an empty one means."""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HALF, THIRD, SIXTH = 12, 8, 4
"""Widths, of 24."""
TIERS = {"2": ("🟢 GPU", "green"), "1": ("🟡 CPU", "yellow"), "0": ("⚪ Unloaded", "text")}
BYTES, SECONDS, SHARE, COUNT = "bytes", "s", "percentunit", "short"
GIB_HOURS = "suffix: GiB·h"


def query(expression: str, legend: str = "", *, instant: bool = False, ref: str = "A") -> prometheus.Dataquery:
    built = prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).ref_id(ref)
    return built.instant().format(_format(instant)) if instant else built.range()


def number(title: str, description: str, unit: str, expression: str, *, decimals: int | None = None) -> stat.Panel:
    """One figure, as it is now or over the chosen time."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .with_target(query(expression, instant=True))
        .graph_mode(options.BigValueGraphMode.NONE)
        .color_mode(options.BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("no data")
        .span(SIXTH)
        .height(4)
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    title: str, description: str, unit: str, *queries: prometheus.Dataquery, stacked: bool = False, span: int = HALF
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 10)
        .show_points(options.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
        .no_value("no data")
        .span(span)
        .height(8)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    for each, ref in zip(queries, "ABCDEFGH", strict=False):
        panel.with_target(each.ref_id(ref))
    return panel


def residencies(title: str, description: str, *queries: prometheus.Dataquery) -> statetimeline.Panel:
    """Where the weights were, by the values of `promql.use.tiers`."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(COUNT)
        .mappings([tiers()])
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .merge_values(True)
        .show_value(options.VisibilityMode.AUTO)
        .row_height(0.8)
        .legend(_legend())
        .no_value("no data")
        .span(24)
        .height(8)
    )
    for each in queries:
        panel.with_target(each)
    return panel


def rows(
    title: str,
    description: str,
    unit: str,
    expression: str,
    names: dict[str, str],
    *,
    span: int = HALF,
    links: Sequence[dashboard.DashboardLink] = (),
    as_tiers: bool = False,
) -> table.Panel:
    """A table of an instant query; `names` gives the columns, in order, by label (`Value` is the figure)."""
    ordered = {label: position for position, label in enumerate(names)}
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(COUNT)
        .with_target(query(expression, instant=True))
        .transformations(
            [
                model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(names)}}),
                model.DataTransformerConfig(
                    id_val="organize", options={"indexByName": ordered, "renameByName": names, "excludeByName": {}}
                ),
            ]
        )
        .no_value("no data")
        .span(span)
        .height(9)
    )
    figure: list[model.DynamicConfigValue] = [model.DynamicConfigValue(id_val="unit", value=unit)]
    if as_tiers:
        figure.append(model.DynamicConfigValue(id_val="mappings", value=[tiers()]))
    panel.override_by_name(names["Value"], figure)
    panel.sort_by([common.TableSortByFieldState().display_name(names["Value"]).desc(True)])
    if links:
        panel.data_links(list(links))
    return panel


def tiers() -> model.ValueMap:
    return model.ValueMap(
        options={
            value: model.ValueMappingResult(text=text, color=color, index=position)
            for position, (value, (text, color)) in enumerate(TIERS.items())
        }
    )


def to_model() -> dashboard.DashboardLink:
    """From a row that has the labels namespace and model to that model's page."""
    where = "/d/dormouse-model?${__url_time_range}&${datasource:queryparam}"
    chosen = "&var-namespace=${__data.fields.Namespace}&var-model=${__data.fields.Model}"
    return dashboard.DashboardLink("Open the model").url(where + chosen).type(model.DashboardLinkType.LINK)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def _format(instant: bool) -> Any:
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    return PromQueryFormat.TABLE if instant else PromQueryFormat.TIME_SERIES
