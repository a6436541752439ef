"""Whether the sidecars have a new certificate already, as Prometheus tells, in one query for the fleet."""

from collections import defaultdict
from collections.abc import Iterable

from dormouse_contract.promql import operators
from dormouse_contract.promql.selection import Selection
from dormouse_prometheus.api import Prometheus
from dormouse_prometheus.errors import PrometheusUnavailable

from ..cluster.fleet import Fleet
from ..cluster.pods import Pod


def ordered_pods(fleet: Fleet) -> dict[str, Pod]:
    """By UID: those that a ManagedModel selects and that have somebody to take orders."""
    selected = (pod for owner in fleet.managed_models.values() for pod in fleet.select(owner))
    return {pod.uid: pod for pod in selected if pod.has_sidecar and pod.ip is not None}


async def all_report(
    prometheus: Prometheus, pods: Iterable[Pod], expires_at: float, selector: tuple[str, ...] = ()
) -> bool:
    """Whether each of them says that the latest certificate it trusts expires at `expires_at`.

    Exactly then: a later time is the certificate of another operator and tells nothing of ours. An old
    sample does as well, for what was trusted is still mounted. A pod without a sample has not reported, and
    an unknown answer is a no: time decides then. `selector`: matchers of the jobs that are believed.
    """
    try:
        answer = await prometheus.query(operators.trusted_until(Selection(of_pods=selector)))
    except PrometheusUnavailable:
        return False
    told: defaultdict[tuple[str, str], set[float]] = defaultdict(set)
    for labels, value in answer.samples:
        told[(labels.get("namespace", ""), labels.get("pod", ""))].add(value)
    return all(told.get((pod.namespace, pod.name)) == {expires_at} for pod in pods)
