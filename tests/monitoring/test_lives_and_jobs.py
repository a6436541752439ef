"""One figure in all places: what a counter went up by, on a real Prometheus, for pods with many lives and many jobs.

The samples are written into Prometheus' own storage beforehand, so the truth is known to the sample.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from dormouse_console.promql import Scope
from dormouse_contract import metrics
from dormouse_contract.promql import memory, waiting
from dormouse_contract.promql.rules import groups
from dormouse_contract.promql.savings import queries
from dormouse_contract.promql.selection import EVERYTHING

from dashboards.queries import SAVED_BYTE_SECONDS
from localcluster.prometheus import Prometheus

from .test_figures import CHOSEN, TIMES, filled
from .written import prometheus_with

STEP, RANGE = 15, 3600
# It begins and ends on a sample; long ago, so that it is in blocks of storage and not in the head.
END = (int(time.time()) - 4 * 3600) // 3600 * 3600
BEGIN = END - RANGE
MIDDLE = BEGIN + RANGE // 2
PER_SECOND = 1000
HALF = PER_SECOND * RANGE / 2


@dataclass(frozen=True, slots=True)
class Life:
    """A process as one job scraped it: from 0, by PER_SECOND, between two moments."""

    job: str
    instance: str
    begin: int = BEGIN - 300
    end: int = END
    every: int = STEP


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    lives: tuple[Life, ...]
    saved: float
    wakes: int
    device: str = "cuda:0"

    @property
    def labels(self) -> str:
        return f'namespace="speech",pod="{self.name}",model="tts"'


FIRST, SECOND = Life("a", "10.0.0.1:9743", end=MIDDLE), Life("a", "10.0.0.2:9743", begin=MIDDLE + STEP)
PODS = (
    Pod("steady", (Life("a", "10.0.0.1:9743"),), 2 * HALF, 6),
    Pod("restarted-under-a-new-address", (FIRST, SECOND), 2 * HALF, 6),
    Pod("restarted-at-the-same-address", (FIRST, Life("a", "10.0.0.1:9743", begin=MIDDLE + STEP)), 2 * HALF, 6),
    Pod("of-two-jobs", (Life("a", "10.0.0.1:9743"), Life("b", "10.0.0.1:9743")), 2 * HALF, 6),
    Pod("of-two-jobs-with-two-addresses", (Life("a", "10.0.0.1:9743"), Life("b", "node-7:9743")), 2 * HALF, 6),
    Pod(
        "restarted-of-two-jobs",
        (FIRST, SECOND, Life("b", "node-7:1", end=MIDDLE), Life("b", "node-8:1", begin=MIDDLE + STEP)),
        2 * HALF,
        6,
    ),
    Pod("of-a-second-job-that-fails-often", (Life("a", "x"), Life("b", "y", every=20 * STEP)), 2 * HALF, 6),
    Pod("gone-since", (FIRST,), HALF, 3),
    Pod("simulated", (Life("a", "10.0.0.9:9743"),), 2 * HALF, 6, device="sim:1GiB"),
)
# Labels of what the driver counts on one device, and MiB: a pod that two jobs scrape, two servers outside of pods of
# which two jobs scrape one, and a pod of another cluster that has the first one's name.
PROCESSES = (
    ('namespace="speech",pod="tts-0",job="a",instance="10.0.0.1:9743"', 1),
    ('namespace="speech",pod="tts-0",job="b",instance="node-7:9743"', 1),
    ('job="a",instance="gpu-1:9743"', 10),
    ('job="b",instance="gpu-1:9743"', 10),
    ('job="a",instance="gpu-2:9743"', 100),
    ('cluster="west",namespace="speech",pod="tts-0",job="a",instance="10.9.0.1:9743"', 1000),
)
REAL = [pod for pod in PODS if pod.device != "sim:1GiB"]


def samples() -> Iterator[str]:
    """In OpenMetrics' text format. A wake every 10 minutes, of a kind that has no series before its first."""
    for pod in PODS:
        for life in pod.lives:
            scrape = f'{pod.labels},job="{life.job}",instance="{life.instance}"'
            for at in range(life.begin, life.end + 1, life.every):
                value = PER_SECOND * (at - life.begin)
                yield f"{metrics.RELEASED_BYTE_SECONDS.name}{{{scrape}}} {value} {at}"
                yield f'{metrics.GPU_INFO.name}{{{scrape},device="{pod.device}",gpu_uuid="u"}} 1 {at}'
                wakes = (at - max(life.begin, BEGIN) + 300) // 600
                if wakes > 0:
                    kind = 'from="CPU",to="GPU",trigger="Demand",outcome="ok"'
                    yield f"{metrics.TRANSITIONS.name}{{{scrape},{kind}}} {wakes} {at}"
    for labels, mib in PROCESSES:
        yield f'{metrics.PROCESS_GPU_MEMORY.name}{{{labels},gpu_uuid="GPU-1"}} {mib} {END}'
        yield f'{metrics.RESIDENCY.name}{{{labels},model="tts",residency="GPU"}} 1 {END}'


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with prometheus_with(samples()) as running:
        yield running


def by_pod(prometheus: Prometheus, promql: str) -> dict[str, float]:
    return {each.labels["pod"]: each.value for each in prometheus.query(promql, at=END)}


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.name)
def test_savings_add_a_pods_lives_and_count_it_once(prometheus: Prometheus, pod: Pod) -> None:
    asked = queries(RANGE, None)
    assert by_pod(prometheus, asked["released"])[pod.name] == pytest.approx(pod.saved, rel=0.02)
    assert round(by_pod(prometheus, asked["transitions"])[pod.name]) == pod.wakes


@pytest.mark.parametrize("pod", REAL, ids=lambda pod: pod.name)
def test_what_the_page_the_dashboards_and_the_rules_add_up_is_the_same(prometheus: Prometheus, pod: Pod) -> None:
    shown = by_pod(prometheus, memory.saved_by_replicas(EVERYTHING, f"{RANGE}s"))
    assert shown[pod.name] == pytest.approx(pod.saved, rel=0.02)
    wakes = waiting.wakes(EVERYTHING, f"{RANGE}s", "pod")
    assert round(by_pod(prometheus, wakes)[pod.name]) == pod.wakes


def test_all_sums_are_one(prometheus: Prometheus) -> None:
    ledger = by_pod(prometheus, queries(RANGE, None)["released"])
    expected = sum(ledger[pod.name] for pod in REAL)
    (hours,) = (
        rule.expression for group in groups() for rule in group.rules if rule.record.endswith("byte_hours:increase1h")
        if rule.record.startswith("namespace_model:")
    )  # fmt: skip
    everywhere = {
        "console": Scope("speech").saved_byte_seconds(RANGE),
        "dashboard": filled(SAVED_BYTE_SECONDS, CHOSEN | TIMES | {"__range": f"{RANGE}s"}),
        "recording rule": f"sum({hours}) * 3600",
    }
    for where, promql in everywhere.items():
        (sample,) = prometheus.query(promql, at=END)
        assert sample.value == pytest.approx(expected, rel=1e-9), where


def test_each_process_on_a_device_counts_once(prometheus: Prometheus) -> None:
    (on_device,) = prometheus.query(memory.of_processes(EVERYTHING), at=END)
    assert on_device.value == 1111
    of_models = prometheus.query(memory.of_processes_of_models(EVERYTHING), at=END)
    assert {each.labels.get("pod", ""): each.value for each in of_models} == {"tts-0": 1001, "": 110}
