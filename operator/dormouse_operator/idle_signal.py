"""What Prometheus knows of the replicas, judged: PromQL in, readings out. What is not certain is unknown.

One query per metric for the whole fleet, all evaluated at one instant, so that a reading is one scrape and
not a mixture. An instant query answers samples that are up to five minutes old under the time of the
evaluation; so the age is asked for as well (`timestamp(…)`), and it is Prometheus' clock on both sides.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dormouse_contract import Observation, Residency, metrics

from .errors import SignalUnavailable
from .prometheus_api import PrometheusApi, Vector

ReplicaKey = tuple[str, str, str]
"""Namespace, pod and model, as the scrape labels them."""


class SignalState(StrEnum):
    """The values are condition reasons."""

    FRESH = "IdleSignalFresh"
    MISSING = "IdleSignalMissing"
    STALE = "IdleSignalStale"
    INVALID = "IdleSignalInvalid"
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"


@dataclass(frozen=True, slots=True)
class Reading:
    """One replica at the instant of the query. None is unknown; `fault` says why the whole is not believed."""

    residency: Residency | None
    in_flight: int | None
    idle_since: float | None
    age_seconds: float | None
    last_transition: float | None
    released_bytes: float | None
    gpu_memory_bytes: float | None
    transitioning: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading with the verdict: `observation` is what `plan()` may know."""

    state: SignalState
    observation: Observation
    reading: Reading | None


@dataclass(frozen=True, slots=True)
class IdleSignal:
    """One look at the fleet. With `failure` nothing is known of anybody.

    unlabelled: series without the labels namespace and pod, which a scrape configuration forgot.
    """

    readings: Mapping[ReplicaKey, Reading] = field(default_factory=dict)
    failure: str = ""
    unlabelled: int = 0

    def models_of(self, namespace: str, pod: str) -> frozenset[str]:
        return self.models_by_pod.get((namespace, pod), frozenset())

    # Filled by `build`; a dict beside the readings, since every pod of the fleet asks on every pass.
    models_by_pod: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def see(self, key: ReplicaKey, fresh_for_seconds: float) -> Seen:
        """The verdict for one replica; only what is complete, valid and fresh may demote."""
        if self.failure:
            return _unknown(SignalState.PROMETHEUS_UNAVAILABLE, self.failure)
        reading = self.readings.get(key)
        if reading is None:
            return _unknown(SignalState.MISSING, self._why_missing(key))
        if reading.fault:
            return _unknown(SignalState.INVALID, reading.fault, reading)
        if reading.age_seconds is None or not reading.age_seconds <= fresh_for_seconds:
            return _unknown(
                SignalState.STALE,
                f"the last scrape of {key[1]} is older than {fresh_for_seconds:g} s",
                reading,
            )
        lacking = _lacking(reading)
        if lacking:
            return _unknown(SignalState.MISSING, f"Prometheus has no {lacking} of {key[1]}/{key[2]}", reading)
        return Seen(
            SignalState.FRESH,
            Observation(
                residency=reading.residency,
                in_flight=reading.in_flight,
                idle_since=reading.idle_since,
                # 0 is "before the first transition"; the wake, if any, is then the load, as idle_since is.
                resident_since=reading.last_transition or None,
                signal_age_seconds=max(0.0, reading.age_seconds),
            ),
            reading,
        )

    def _why_missing(self, key: ReplicaKey) -> str:
        what = f"Prometheus has no idle signal of {key[1]}/{key[2]}"
        if self.unlabelled:
            return f"{what}; {self.unlabelled} series lack the labels namespace and pod: correct the scrape"
        return f"{what}: is its port 9743 scraped?"


async def read_idle_signal(prometheus: PrometheusApi) -> IdleSignal:
    """Never raises for what Prometheus does: then nothing is known, with the reason in `failure`."""
    try:
        first = await prometheus.query(f"{metrics.RESIDENCY.name} == 1")
        if not first.samples:
            return IdleSignal()
        names = list(_QUERIES)
        answers = await asyncio.gather(*(prometheus.query(_QUERIES[name], at=first.evaluated_at) for name in names))
    except SignalUnavailable as error:
        return IdleSignal(failure=str(error))
    return build(first, dict(zip(names, answers, strict=True)))


_QUERIES = {
    "in_flight": metrics.IN_FLIGHT.name,
    "idle_since": metrics.IDLE_SINCE.name,
    "sampled_at": f"timestamp({metrics.IDLE_SINCE.name})",
    "last_transition": metrics.LAST_TRANSITION.name,
    "released": metrics.RELEASED.name,
    "gpu_memory": metrics.GPU_MEMORY.name,
    # Few replicas move at a time, so this is all but empty.
    "moving_since": f"{metrics.TRANSITION_START.name} > 0",
}


def build(residencies: Vector, answers: Mapping[str, Vector]) -> IdleSignal:
    """Joins the answers by replica. `answers` has the keys of the queries; pure, for tests."""
    unlabelled = 0
    tiers: defaultdict[ReplicaKey, set[str]] = defaultdict(set)
    for labels, _ in residencies.samples:
        key = _key(labels)
        if key is None:
            unlabelled += 1
        else:
            tiers[key].add(labels.get("residency", ""))
    columns = {name: _column(vector) for name, vector in answers.items()}
    readings: dict[ReplicaKey, Reading] = {}
    models: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for key, found in tiers.items():
        readings[key] = _reading(key, found, columns, residencies.evaluated_at)
        models[key[:2]].add(key[2])
    by_pod = {pod: frozenset(names) for pod, names in models.items()}
    return IdleSignal(readings, unlabelled=unlabelled, models_by_pod=by_pod)


def _reading(
    key: ReplicaKey,
    tiers: set[str],
    columns: Mapping[str, Mapping[ReplicaKey, tuple[float, ...]]],
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


def _column(vector: Vector) -> dict[ReplicaKey, tuple[float, ...]]:
    """The distinct values of each replica; NaN differs from itself and is kept once."""
    column: dict[ReplicaKey, tuple[float, ...]] = {}
    for labels, value in vector.samples:
        key = _key(labels)
        if key is None:
            continue
        known = column.get(key, ())
        if not any(value == other or (math.isnan(value) and math.isnan(other)) for other in known):
            column[key] = (*known, value)
    return column


def _key(labels: Mapping[str, str]) -> ReplicaKey | None:
    key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("model", ""))
    return key if all(key) else None


def _lacking(reading: Reading) -> str:
    if reading.in_flight is None:
        return metrics.IN_FLIGHT.name
    if reading.idle_since is None:
        return metrics.IDLE_SINCE.name
    return ""


def _unknown(state: SignalState, why: str, reading: Reading | None = None) -> Seen:
    return Seen(state, Observation(None, None, None, unknown_because=why), reading)
