"""What the page may ask of Prometheus: ranges that it offers, and a scope that the caller's rights allow.

What is asked is in `dormouse_contract.promql`, so the figures are those of the dashboards and of the recording rules.
"""

from dataclasses import dataclass

from dormouse_contract.promql import memory, use
from dormouse_contract.promql.selection import Selection, equals

from .errors import BadRequest
from .names import namespace_name, object_name

RANGES = {"15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
POINTS = 240
"""Of a chart, at most: about one for two pixels of a phone."""


def seconds_of(chosen: str) -> int:
    """Raises BadRequest for a range that the page does not offer."""
    if chosen not in RANGES:
        raise BadRequest(f"{chosen[:40]!r} is not one of the ranges {', '.join(RANGES)}")
    return RANGES[chosen]


def step_of(seconds: int) -> int:
    return max(1, -(-seconds // POINTS))


@dataclass(frozen=True, slots=True)
class Scope:
    """Namespace None is the whole cluster. Callers' names are checked here, so no scope can hold more than it says.

    selector: label matchers of the jobs whose series of pods are believed.
    """

    namespace: str | None = None
    selector: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.namespace is not None:
            namespace_name(self.namespace)

    def released(self) -> str:
        return memory.released(self._selection)

    def held(self) -> str:
        return memory.held(self._selection)

    def saved_byte_seconds(self, seconds: int) -> str:
        return memory.saved(self._selection, f"{seconds}s")

    def simulated_replicas(self) -> str:
        """How many there are on each device."""
        return memory.devices(self._selection)

    def idle_for(self) -> str:
        """Seconds per ManagedModel, 0 while it is in use; of the replicas that the operator would believe."""
        return use.idle_for_by_owner(self._selection)

    def owners(self, name: str, seconds: int) -> str:
        """The replicas that a ManagedModel had within the last seconds."""
        return use.replicas_of(object_name(name), f"{seconds}s", self._selection)

    def tiers(self, pods: list[str]) -> str:
        """2 on the GPU, 1 in host RAM, 0 on disk only, per replica."""
        return use.tiers_of_pods(pods, self._selection)

    @property
    def _selection(self) -> Selection:
        matchers = () if self.namespace is None else (equals("namespace", self.namespace),)
        return Selection(matchers, of_pods=self.selector)
