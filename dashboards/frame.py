"""What all dashboards have in common: identity, variables, links to each other, marks of transitions."""

from dormouse_contract import metrics
from dormouse_contract.promql import waiting
from dormouse_contract.promql.selection import EVERYTHING, Selection
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models import dashboard as model

from dashboards.queries import CLUSTER, PODS, STEP
from dashboards.style import SOURCE

TAG = "dormouse"


def frame(uid: str, title: str, description: str) -> Dashboard:
    return (
        Dashboard(f"Dormouse / {title}")
        .uid(f"dormouse-{uid}")
        .description(description)
        .tags([TAG])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            DashboardLink("Dormouse")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )


def cluster_of(metric: metrics.Metric) -> QueryVariable:
    """Empty where no series has the label: then `.*` matches those without it."""
    return _choice("cluster", "Cluster", metric, EVERYTHING)


def namespace() -> QueryVariable:
    return _choice("namespace", "Namespace", metrics.RESIDENCY, CLUSTER)


def model_name() -> QueryVariable:
    return _choice("model", "Model", metrics.RESIDENCY, Selection(PODS.matchers))


def _choice(name: str, label: str, metric: metrics.Metric, among: Selection) -> QueryVariable:
    query = f"label_values({among.series(metric)}, {name})"
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def typed(name: str, label: str, default: str, description: str) -> TextBoxVariable:
    return TextBoxVariable(name).label(label).default_value(default).description(description)


class Transitions(AnnotationQuery):
    """Marks each transition."""

    def build(self) -> model.AnnotationQuery:
        labels = ("namespace", "pod", "model", "from", "to", "trigger", "outcome")
        return _Labelled(
            name="Transitions",
            datasource=SOURCE,
            enable=True,
            icon_color="blue",
            expr=f"{waiting.moves(PODS, STEP, *labels)} > 0",
        )


class _Labelled(model.AnnotationQuery):
    """The SDK's type lacks how the text of a mark is made of the labels, which Grafana's data source knows."""

    def to_json(self) -> dict[str, object]:
        words: dict[str, object] = {
            "titleFormat": "{{model}}: {{from}} → {{to}}",
            "textFormat": "{{trigger}}, {{outcome}} ({{pod}})",
            "tagKeys": "trigger,outcome",
        }
        return super().to_json() | words
