"""A model's replicas as Prometheus shows them: where each is now, where it was, and what comes next. Pure."""

from collections.abc import Mapping
from typing import Any

from dormouse_contract import Policy, Residency, plan
from dormouse_contract.idleness import ReplicaKey

from .idleness import Look, Shown
from .timeseries import Series

Replica = tuple[str, str]
"""Pod and model."""
_TIERS = (Residency.UNLOADED, Residency.CPU, Residency.GPU)


def as_json(key: ReplicaKey, look: Look, policy: Policy, now: float) -> dict[str, Any]:
    """With the verdict of the operator on the same samples, and the decision that it takes on it at this moment.

    Figures that are not believed are not shown: `decision` says why.
    """
    seen = look.see(key)
    observed, shown = seen.observation, look.shown.get(key, Shown())
    reading = seen.reading if seen.state.known else None
    decision = plan(policy, observed, now)
    return {
        "pod": key[1],
        "model": key[2],
        "signal": seen.state,
        "residency": observed.residency,
        "device": shown.device,
        "inFlight": observed.in_flight,
        "idleSince": None if observed.in_flight else observed.idle_since,
        "gpuBytes": None if reading is None else reading.gpu_memory_bytes,
        "hostBytes": None if reading is None else shown.host_bytes,
        "releasedBytes": None if reading is None else reading.released_bytes,
        "restoreSeconds": None if reading is None else shown.restore_seconds,
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
