"""The tables of `docs/metrics.md`, made of the contract that exporters and queries are made of as well."""

from collections.abc import Callable, Iterator

from dormouse_contract import metrics
from dormouse_contract.metrics import Metric

from docsite.markdown import between, code, table

_GROUPS: dict[str, Callable[[Metric], bool]] = {
    "model": lambda metric: not _of_the_operator(metric) and "model" in metric.labels,
    "process": lambda metric: not _of_the_operator(metric) and "model" not in metric.labels,
    "operator": lambda metric: _of_the_operator(metric),
}


def metrics_page(page: str) -> str:
    for name, chosen in _GROUPS.items():
        page = between(page, f"metrics {name}", _rows([metric for metric in metrics.ALL if chosen(metric)]))
    return page


def _of_the_operator(metric: Metric) -> bool:
    return metric.name.startswith("dormouse_operator_")


def _rows(chosen: list[Metric]) -> Iterator[str]:
    yield from table(
        ("metric", "type", "labels", "meaning"),
        ((code(metric.name), metric.type, ", ".join(map(code, metric.labels)), metric.help) for metric in chosen),
    )
