"""Whose idle signal is wanted: of the namespaces that have ManagedModels, whatever else Prometheus has."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dormouse_contract.managed_model import ManagedModel

from ..cluster.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Wanted:
    """pods_in: by namespace that is asked for, how many pods it has. selected: of a namespace, the names of the pods
    that a ManagedModel selects; asked only where the namespace is too large."""

    pods_in: Mapping[str, int] = field(default_factory=dict)
    selected: Callable[[str], Iterable[str]] = lambda _: ()


def wanted(fleet: Fleet) -> Wanted:
    owners: defaultdict[str, list[ManagedModel]] = defaultdict(list)
    for owner in fleet.managed_models.values():
        owners[owner.namespace].append(owner)
    pods_in = dict.fromkeys(owners, 0)
    for pod in fleet.pods.values():
        if pod.namespace in pods_in and pod.has_sidecar and pod.alive:
            pods_in[pod.namespace] += 1

    def selected(namespace: str) -> Iterable[str]:
        return {pod.name for owner in owners[namespace] for pod in fleet.select(owner) if pod.has_sidecar}

    return Wanted(pods_in, selected)
