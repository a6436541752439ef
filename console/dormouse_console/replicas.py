"""A model's replicas as Prometheus shows them: where each is now, where it was, and what comes next. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dormouse_contract import Observation, Policy, Residency, metrics, plan

from .timeseries import Series

Replica = tuple[str, str]
"""Pod and model."""
_TIERS = (Residency.UNLOADED, Residency.CPU, Residency.GPU)
_RESIDENCIES = {str(tier): tier for tier in Residency}


@dataclass(slots=True)
class Figures:
    """None is what nobody exported. Times are Unix seconds; `idle_since` 0 while a request is in flight."""

    residency: Residency | None = None
    device: str = ""
    values: dict[str, float] = field(default_factory=dict)

    @property
    def idle_since(self) -> float | None:
        since = self.values.get(metrics.IDLE_SINCE.name)
        return None if since is None or self.in_flight else since

    @property
    def in_flight(self) -> int | None:
        count = self.values.get(metrics.IN_FLIGHT.name)
        return None if count is None else int(count)

    def observation(self) -> Observation:
        moved = self.values.get(metrics.LAST_TRANSITION.name) or None
        return Observation(self.residency, self.in_flight, self.idle_since, resident_since=moved)


def figures(samples: Iterable[Series]) -> dict[Replica, Figures]:
    """By replica; where two jobs scraped one, the higher counts, as everywhere."""
    found: defaultdict[Replica, Figures] = defaultdict(Figures)
    for series in samples:
        labels = series.labels
        if not series.points or "model" not in labels:
            continue
        name, value = labels.get("__name__", ""), series.points[-1][1]
        each = found[labels.get("pod", ""), labels["model"]]
        if name == metrics.RESIDENCY.name:
            if value == 1:
                each.residency = _RESIDENCIES.get(labels.get("residency", ""))
        elif name == metrics.GPU_INFO.name:
            each.device = labels.get("device", "")
        else:
            each.values[name] = max(value, each.values.get(name, value))
    return dict(found)


def as_json(replica: Replica, seen: Figures, policy: Policy, now: float) -> dict[str, Any]:
    """With the decision that the operator takes at this moment on the same figures."""
    decision = plan(policy, seen.observation(), now)
    return {
        "pod": replica[0],
        "model": replica[1],
        "residency": seen.residency,
        "device": seen.device,
        "inFlight": seen.in_flight,
        "idleSince": seen.idle_since,
        "gpuBytes": seen.values.get(metrics.GPU_MEMORY.name),
        "hostBytes": seen.values.get(metrics.HOST_MEMORY.name),
        "releasedBytes": seen.values.get(metrics.RELEASED.name),
        "restoreSeconds": seen.values.get(metrics.RESTORE_ESTIMATE.name),
        "decision": decision.reason,
        "desired": decision.desired,
        "nextLookAt": decision.revisit_at,
    }


def runs(series: Series, step: float) -> list[list[Any]]:
    """[start, end, residency] for each time that it stayed somewhere; a gap in the samples is a gap between runs."""
    found: list[list[Any]] = []
    for at, value in series.points:
        tier = _TIERS[min(2, max(0, int(value)))]
        if found and found[-1][2] == tier and at - found[-1][1] <= step * 1.5:
            found[-1][1] = at
        else:
            if found and at - found[-1][1] <= step * 1.5:
                found[-1][1] = at
            found.append([at, at, tier])
    return found


def belongs(labels: Mapping[str, str], owned: set[Replica], pods: set[str], model: str | None) -> bool:
    """Whether a series is of this ManagedModel: as the operator tells, or else by its pods and its one model."""
    replica = (labels.get("pod", ""), labels.get("model", ""))
    if owned:
        return replica in owned
    return replica[0] in pods and model in (None, replica[1])
