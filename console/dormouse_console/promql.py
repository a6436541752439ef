"""What is asked of Prometheus, always within one scope that the caller's rights allow.

The figures are those of the Grafana dashboards and of the recording rules: the maximum per replica first, so that a pod
that two jobs scrape counts once, and simulated replicas left out unless every one in the scope is simulated.
"""

import re
from dataclasses import dataclass

from dormouse_contract import metrics
from dormouse_contract.metrics import Metric

from .errors import BadRequest
from .names import namespace_name, object_name

REPLICA = "namespace, pod, model"
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
    """Namespace None is the whole cluster. Names are checked here, so no scope can hold more than it says."""

    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.namespace is not None:
            namespace_name(self.namespace)

    def series(self, metric: Metric | str, *more: str) -> str:
        only = () if self.namespace is None else (f'namespace="{self.namespace}"',)
        name = metric if isinstance(metric, str) else metric.name
        return f"{name}{{{', '.join((*only, *more))}}}"

    def counted(self, series: str) -> str:
        """Per replica, without the simulated ones, unless every replica of the scope is simulated."""
        real, anything = self.series(metrics.GPU_INFO, 'device!~"sim.*"'), self.series(metrics.GPU_INFO)
        return f"({per_replica(series)} and on ({REPLICA}) ({real} or ({anything} and on () absent({real}))))"

    def released(self) -> str:
        return f"sum({self.counted(self.series(metrics.RELEASED))})"

    def held(self) -> str:
        return f"sum({self.counted(self.series(metrics.GPU_MEMORY))})"

    def saved_byte_seconds(self, seconds: int) -> str:
        series = self.series(metrics.RELEASED_BYTE_SECONDS)
        return f"sum({self.counted(f'increase({series}[{seconds}s])')})"

    def simulated_replicas(self) -> str:
        """How many there are on a simulated device, and (with `real=`) how many are not."""
        return f"""count by (device) (group by ({REPLICA}, device) ({self.series(metrics.GPU_INFO)}))"""

    def owned(self, metric: Metric, fold: str) -> str:
        """A figure per ManagedModel, folded over its replicas by max or min."""
        owner = f"topk by ({REPLICA}) (1, group by ({REPLICA}, name) ({self.series(metrics.REPLICA_INFO)}))"
        each = f"{per_replica(self.series(metric))} * on ({REPLICA}) group_left (name) {owner}"
        return f"{fold} by (namespace, name) ({each})"

    def owners(self, name: str, seconds: int) -> str:
        """The replicas that a ManagedModel had within the last seconds."""
        series = self.series(metrics.REPLICA_INFO, f'name="{object_name(name)}"')
        return f"group by ({REPLICA}) (last_over_time({series}[{seconds}s]))"

    def tiers(self, pods: list[str]) -> str:
        """2 on the GPU, 1 in host RAM, 0 on disk only, per replica."""
        gpu, cpu = (
            per_replica(self.series(metrics.RESIDENCY, one_of_pods(pods), f'residency="{tier}"'))
            for tier in ("GPU", "CPU")
        )
        return f"2 * {gpu} + {cpu}"


def one_of_pods(pods: list[str]) -> str:
    """A matcher of these names and no others, whatever they are."""
    return 'pod=~"' + "|".join(re.sub(r"\.", "[.]", object_name(pod)) for pod in pods) + '"'


def per_replica(series: str) -> str:
    return f"max by ({REPLICA}) ({series})"
