"""For how long ManagedModels are idle, however the pods and the operator are scraped.

What is believed of one replica is compared with the operator's verdict in `tests/console/test_one_verdict.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from dormouse_contract import metrics
from dormouse_contract.idleness import fresh_for_seconds
from dormouse_contract.metrics import Metric
from dormouse_contract.promql import use
from dormouse_contract.promql.selection import EVERYTHING, Selection, equals

from localcluster.prometheus import Prometheus

from .written import prometheus_with

END = (int(time.time()) - 4 * 3600) // 3600 * 3600
LIMIT = int(fresh_for_seconds())
WEST = 'cluster="west",'
# By ManagedModel, for each replica: the label that the scrape of the pods adds, the one that the scrape of the operator
# adds, how old the sample is, how long it is idle (None is in use).
FLEET: dict[str, list[tuple[str, str, int, int | None]]] = {
    "no-clusters": [("", "", 5, 100)],
    "cluster-of-pods-alone": [(WEST, "", 5, 100)],
    "cluster-of-operator-alone": [("", WEST, 5, 100)],
    "clusters-of-both": [(WEST, WEST, 5, 100)],
    "at-the-limit": [("", "", LIMIT, 100)],
    "beyond-the-limit": [("", "", LIMIT + 1, 100)],
    "two-replicas": [("", "", 5, 300), ("", "", 5, 200)],
    "one-of-two-in-use": [("", "", 5, 300), ("", "", 5, None)],
    "one-of-two-unknown": [("", "", 5, 300), ("", "", LIMIT + 1, 60)],
}
IDLE_FOR = {
    **dict.fromkeys(("no-clusters", "cluster-of-pods-alone", "cluster-of-operator-alone", "clusters-of-both"), 100),
    "at-the-limit": 100,
    "two-replicas": 200,
    "one-of-two-in-use": 0,
    "one-of-two-unknown": 300,
}
# In two clusters of one Prometheus.
TWINS = "ocr-0"


def samples() -> Iterator[str]:
    for name, replicas in FLEET.items():
        for number, (of_pods, of_operator, age, idle) in enumerate(replicas):
            labels = f'namespace="speech",pod="{name}-{number}",model="tts"'

            def line(metric: Metric, value: float, scrape: str, age: int = age, labels: str = labels) -> str:
                return f"{metric.name}{{{scrape}{labels}}} {value} {END - age}"

            yield line(metrics.IDLE_SINCE, 0 if idle is None else END - idle, of_pods)
            yield line(metrics.IN_FLIGHT, int(idle is None), of_pods)
            yield line(metrics.RESIDENCY, 1, f'{of_pods}residency="GPU",')
            yield line(metrics.REPLICA_INFO, 1, f'{of_operator}name="{name}",')
    for scrape, idle in (('cluster="east",', 100), (WEST, 50)):
        labels = f'namespace="vision",pod="{TWINS}",model="ocr"'
        for metric, value in ((metrics.IDLE_SINCE, END - idle), (metrics.IN_FLIGHT, 0)):
            yield f"{metric.name}{{{scrape}{labels}}} {value} {END}"
        yield f'{metrics.RESIDENCY.name}{{{scrape}{labels},residency="GPU"}} 1 {END}'


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with prometheus_with(samples()) as running:
        yield running


@pytest.mark.parametrize("name", FLEET)
def test_a_managed_model_is_idle_since_its_last_use_that_is_known(prometheus: Prometheus, name: str) -> None:
    """No operator here says how old a sample may be; then it is the usual."""
    found = {each.labels["name"]: each.value for each in prometheus.query(use.idle_for_by_owner(EVERYTHING), at=END)}
    assert found.get(name) == IDLE_FOR.get(name)


def test_a_dashboard_of_several_clusters_tells_pods_of_one_name_by_their_cluster(prometheus: Prometheus) -> None:
    (shown,) = prometheus.query(use.idle_for(Selection((equals("pod", TWINS),))), at=END)
    assert shown.value == 50
