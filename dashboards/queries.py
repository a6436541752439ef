"""What the dashboards ask: label filters by the variables at the top of each, and the expressions of several panels.

The expressions are on the metrics themselves and not on the recording rules, so that a dashboard also works
where nobody has loaded the rules. The maximum per replica is taken first: a pod that two jobs scrape counts once.
"""

from dormouse_contract import metrics
from dormouse_contract.metrics import Metric

REPLICA = "cluster, namespace, pod, model"
SIMULATED = 'device=~"sim.*"'


def pods(metric: Metric | str, more: str = "") -> str:
    """The series of a metric in the pods that the variables choose; a whole process has no model's name on it."""
    name = metric if isinstance(metric, str) else metric.name
    chosen = 'cluster=~"$cluster", namespace=~"$namespace"'
    if isinstance(metric, str) or "model" in metric.labels:
        chosen += ', model=~"$model"'
    return f"{name}{{{chosen}{f', {more}' if more else ''}}}"


def operators(metric: Metric, more: str = "") -> str:
    """The same in the operators; `namespace` is there the ManagedModel's, where there is one."""
    return f'{metric.name}{{cluster=~"$cluster"{f", {more}" if more else ""}}}'


def per_replica(series: str) -> str:
    return f"max by ({REPLICA}) ({series})"


def counted(series: str) -> str:
    """Per replica, without the simulated ones, unless every replica is simulated."""
    real = pods(metrics.GPU_INFO, 'device!~"sim.*"')
    anything = pods(metrics.GPU_INFO)
    return f"({per_replica(series)} and on ({REPLICA}) ({real} or ({anything} and on () absent({real}))))"


def events(series: str, within: str) -> str:
    """How often a counter went up, also where its series began with the first event and so shows no increase."""
    return f"(({series} unless {series} offset {within}) or increase({series}[{within}]))"


RELEASED = f"sum({counted(pods(metrics.RELEASED))})"
HELD = f"sum({counted(pods(metrics.GPU_MEMORY))})"
SAVED_BYTE_SECONDS = f"sum({counted(f'increase({pods(metrics.RELEASED_BYTE_SECONDS)}[$__range])')})"
SAVED_GIB_HOURS = f"{SAVED_BYTE_SECONDS} / 3600 / 2^30"
ON_GPU, IN_HOST_RAM = (per_replica(pods(metrics.RESIDENCY, f'residency="{tier}"')) for tier in ("GPU", "CPU"))
TIER = f"2 * {ON_GPU} + {IN_HOST_RAM}"
"""2 on the GPU, 1 in host RAM, 0 on disk only; see `style.TIERS`."""


def wait_quantile(quantile: float, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    buckets = pods(f"{metrics.WAKE_WAIT.name}_bucket")
    return f"histogram_quantile({quantile}, sum by ({labels}) (increase({buckets}[$__range])))"
