"""Page, plugin and savings believe the same job as the operator does; the series of operators are of another."""

from __future__ import annotations

import re

import pytest
from dormouse_console.idleness import look
from dormouse_console.promql import Scope
from dormouse_console.timeseries import TimeSeries
from dormouse_contract.promql import savings
from dormouse_prometheus.answers import Series, Vector

JOB = 'job="dormouse-system/dormouse-sidecars"'
OPERATORS = "dormouse_operator_"


def selectors(promql: str) -> list[str]:
    """Each `metric{…}`, and each metric without matchers."""
    return re.findall(r"(?:dormouse_\w+)?\{[^}]*\}|dormouse_\w+", promql)


@pytest.mark.parametrize("namespace", [None, "speech"])
@pytest.mark.parametrize(
    "question",
    [
        Scope.released,
        Scope.held,
        lambda scope: scope.saved_byte_seconds(60),
        Scope.simulated_replicas,
        Scope.idle_for,
        lambda scope: scope.owners("tts", 60),
        lambda scope: scope.tiers(["tts-0"]),
    ],
    ids=["released", "held", "saved", "simulated", "idle", "owners", "tiers"],
)
def test_each_figure_of_pods_is_of_the_job_and_none_of_the_operator(namespace: str | None, question: object) -> None:
    assert callable(question)
    found = selectors(question(Scope(namespace, (JOB,))))
    assert found
    for each in found:
        assert (JOB in each) == (not each.startswith(OPERATORS)), each


@pytest.mark.parametrize("namespace", [None, "speech"])
def test_the_savings_too(namespace: str | None) -> None:
    for promql in savings.queries(3600, namespace, (JOB,)).values():
        for each in selectors(promql):
            assert (JOB in each) == (not each.startswith(OPERATORS)), each


class Asked:
    def __init__(self) -> None:
        self.queries: list[str] = []

    async def query(self, promql: str, at: float | None = None, *, max_bytes: int | None = None) -> Vector:
        self.queries.append(promql)
        return Vector(1.0, ())

    async def query_range(self, promql: str, start: float, end: float, step: int) -> tuple[Series, ...]:
        raise AssertionError("a look is of one instant")


async def test_the_verdict_on_a_replica_is_of_the_job() -> None:
    asked = Asked()
    await look(TimeSeries(asked, selector=(JOB,)), "speech", ["tts-0"])
    of_pods = [query for query in asked.queries if OPERATORS not in query]
    assert len(of_pods) == len(asked.queries) - 1
    assert all(JOB in query for query in of_pods)
