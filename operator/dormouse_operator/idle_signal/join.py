"""What Prometheus answered, joined by replica: one reading each, with what can't be believed of it."""

import math
from collections import defaultdict
from collections.abc import Mapping

from dormouse_contract import Residency
from dormouse_prometheus.answers import Vector

from .signal import IdleSignal, Reading, ReplicaKey

# What a clock may be ahead before its times are not believed; half a minute of drift is no rarity.
FUTURE_SECONDS = 60.0

Column = Mapping[ReplicaKey, tuple[float, ...]]
"""The distinct values that one query gave for each replica: one, unless something is wrong."""


def build(residencies: Vector, answers: Mapping[str, Vector]) -> IdleSignal:
    """Joins the answers by replica. `answers` has the keys of the queries; pure, for tests."""
    fleet = Join(residencies)
    return fleet.join({name: fleet.column(vector) for name, vector in answers.items()})


class Join:
    """The replicas that Prometheus knows, by the first answer; the others are reduced to columns as they come.

    An answer of 10,000 replicas is 10 MB of dicts, a column of it one; seven answers held at once were the most of
    what the operator took.
    """

    def __init__(self, residencies: Vector) -> None:
        self.evaluated_at = residencies.evaluated_at
        self._unlabelled = 0
        self._tiers: defaultdict[ReplicaKey, set[str]] = defaultdict(set)
        for labels, _ in residencies.samples:
            key = _key(labels)
            if key is None:
                self._unlabelled += 1
            else:
                self._tiers[key].add(str(labels.get("residency", "")))
        self._keys = {key: key for key in self._tiers}

    def column(self, vector: Vector) -> Column:
        """The distinct values of each replica; NaN differs from itself and is kept once."""
        column: dict[ReplicaKey, tuple[float, ...]] = {}
        for labels, value in vector.samples:
            found = _key(labels)
            key = self._keys.get(found) if found is not None else None
            if key is None:
                continue
            known = column.get(key)
            if known is None:
                column[key] = (value,)
            elif not any(value == other or (math.isnan(value) and math.isnan(other)) for other in known):
                column[key] = (*known, value)
        return column

    def join(self, columns: Mapping[str, Column]) -> IdleSignal:
        readings: dict[ReplicaKey, Reading] = {}
        models: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for key, found in self._tiers.items():
            readings[key] = _reading(key, found, columns, self.evaluated_at)
            models[key[:2]].add(key[2])
        # Most pods have the same models.
        names: dict[frozenset[str], frozenset[str]] = {}
        by_pod = {pod: names.setdefault(each := frozenset(of_pod), each) for pod, of_pod in models.items()}
        return IdleSignal(readings, unlabelled=self._unlabelled, models_by_pod=by_pod, evaluated_at=self.evaluated_at)


def _reading(
    key: ReplicaKey,
    tiers: set[str],
    columns: Mapping[str, Column],
    evaluated_at: float,
) -> Reading:
    faults: list[str] = []

    def one(name: str) -> float | None:
        values = columns[name].get(key, ())
        if len(values) > 1:
            faults.append(f"{name} is given more than once with different values")
            return None
        if not values:
            return None
        if not math.isfinite(values[0]) or values[0] < 0:
            faults.append(f"{name} is {values[0]:g}")
            return None
        return values[0]

    residency = Residency(next(iter(tiers))) if len(tiers) == 1 and tiers <= _TIERS else None
    if residency is None:
        faults.append(f"residency is {' and '.join(sorted(tiers)) or 'empty'} at once")
    in_flight, idle_since = one("in_flight"), one("idle_since")
    if in_flight == 0 and idle_since == 0:
        faults.append("idle_since is 0 (in use) while nothing is in flight")
    # Several jobs may scrape one pod; then the oldest sample counts.
    sampled_at = min(columns["sampled_at"].get(key, ()), default=None)
    if idle_since is not None and sampled_at is not None and idle_since - sampled_at > FUTURE_SECONDS:
        faults.append("idle_since lies ahead of Prometheus' clock, so set the clock of the pod's node")
    last_transition, released, held = one("last_transition"), one("released"), one("gpu_memory")
    return Reading(
        residency=residency,
        in_flight=None if in_flight is None else int(in_flight),
        idle_since=idle_since,
        age_seconds=None if sampled_at is None else evaluated_at - sampled_at,
        last_transition=last_transition,
        released_bytes=released,
        gpu_memory_bytes=held,
        transitioning=bool(columns["moving_since"].get(key)),
        fault=f"the series of {key[1]}/{key[2]} can't be believed: {'; '.join(faults)}" if faults else "",
    )


_TIERS = {str(tier) for tier in Residency}


def _key(labels: Mapping[str, str]) -> ReplicaKey | None:
    namespace, pod, model = labels.get("namespace"), labels.get("pod"), labels.get("model")
    # JSON may hold anything; a label that is no text names nobody. Spelled out, as it runs 70,000 times a look.
    if type(namespace) is str and type(pod) is str and type(model) is str and namespace and pod and model:
        return (namespace, pod, model)
    return None
