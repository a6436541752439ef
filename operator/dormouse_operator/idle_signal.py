"""What Prometheus knows of the replicas, judged: PromQL in, readings out. What is not certain is unknown.

One query per metric for the whole fleet, all evaluated at one instant, so that a reading is one scrape and
not a mixture. An instant query answers samples that are up to five minutes old under the time of the
evaluation; so the age is asked for as well (`timestamp(…)`), and it is Prometheus' clock on both sides.

Three clocks meet in an idle time: the pod's (since when), Prometheus' and ours (now). A pod that is behind
or an operator that is ahead makes a model look idle for longer than it is; the replica then refuses the
order by its own clock. So that we don't order in vain, the earlier of Prometheus' clock and ours counts as
now, and a time that lies ahead of its own scrape is not believed.
"""

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dormouse_contract import Observation, Residency, metrics

from .collector import without_collector
from .errors import SignalThrottled, SignalUnauthorized, SignalUnavailable
from .prometheus_api import PrometheusApi, Vector

# What a clock may be ahead before its times are not believed; half a minute of drift is no rarity.
FUTURE_SECONDS = 60.0
# Less than this between Prometheus' clock and ours is the way that the answer took.
SKEW_SECONDS = 1.0
# Each answer may be 3 MB, and is reduced when it is there.
QUERIES_AT_ONCE = 2

ReplicaKey = tuple[str, str, str]
"""Namespace, pod and model, as the scrape labels them."""


class SignalState(StrEnum):
    """The values are condition reasons."""

    FRESH = "IdleSignalFresh"
    DIRECT = "IdleSignalDirect"
    MISSING = "IdleSignalMissing"
    STALE = "IdleSignalStale"
    INVALID = "IdleSignalInvalid"
    PROMETHEUS_INCOMPLETE = "PrometheusIncomplete"
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    PROMETHEUS_THROTTLED = "PrometheusThrottled"
    PROMETHEUS_UNAUTHORIZED = "PrometheusUnauthorized"

    @property
    def known(self) -> bool:
        """Whether the replica's idleness is known, from wherever."""
        return self in (SignalState.FRESH, SignalState.DIRECT)


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
    """One look at the fleet. With `failure` nothing is known of anybody, and `failure_state` is its kind.

    unlabelled: series without the labels namespace and pod, which a scrape configuration forgot.
    warning: Prometheus says that its answer may lack something. What is there is right, so each replica is
        judged by what there is of it.
    evaluated_at: the instant of the queries, on Prometheus' clock. clock_ahead_seconds: how far ours is ahead of
        it, at least; 0 when it is not.
    direct_because: why the sidecars were asked instead of Prometheus; empty when they were not. silent: of
        those, the pods that did not answer, with the reason.
    """

    readings: Mapping[ReplicaKey, Reading] = field(default_factory=dict)
    failure: str = ""
    unlabelled: int = 0
    failure_state: SignalState = SignalState.PROMETHEUS_UNAVAILABLE
    retry_after_seconds: float | None = None
    warning: str = ""
    evaluated_at: float = math.nan
    clock_ahead_seconds: float = 0.0
    direct_because: str = ""
    silent: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def models_of(self, namespace: str, pod: str) -> frozenset[str]:
        return self.models_by_pod.get((namespace, pod), frozenset())

    # Filled by `build`; a dict beside the readings, since every pod of the fleet asks on every pass.
    models_by_pod: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def see(self, key: ReplicaKey, fresh_for_seconds: float) -> Seen:
        """The verdict for one replica; only what is complete, valid and fresh may demote."""
        if self.failure:
            return _unknown(self.failure_state, self.failure)
        reading = self.readings.get(key)
        if reading is None:
            return self._missing(key)
        if reading.fault:
            return _unknown(SignalState.INVALID, reading.fault, reading)
        if reading.age_seconds is None or not reading.age_seconds <= fresh_for_seconds:
            return _unknown(
                SignalState.STALE,
                f"the last scrape of {key[1]} is older than {fresh_for_seconds:g} s; does Prometheus still reach it, "
                "and is --scrape-interval what Prometheus really does?",
                reading,
            )
        lacking = _lacking(reading)
        if lacking:
            return _unknown(SignalState.MISSING, f"Prometheus has no {lacking} of {key[1]}/{key[2]}", reading)
        ahead = self.clock_ahead_seconds
        return Seen(
            SignalState.DIRECT if self.direct_because else SignalState.FRESH,
            Observation(
                residency=reading.residency,
                in_flight=reading.in_flight,
                # 0 is "in use".
                idle_since=reading.idle_since and reading.idle_since + ahead,
                # 0 is "before the first transition"; the wake, if any, is then the load, as idle_since is.
                resident_since=reading.last_transition + ahead if reading.last_transition else None,
                signal_age_seconds=max(0.0, reading.age_seconds),
            ),
            reading,
        )

    def _missing(self, key: ReplicaKey) -> Seen:
        what = f"Prometheus has no idle signal of {key[1]}/{key[2]}"
        if self.direct_because:
            said = self.silent.get(key[:2], "it has no such model")
            why = f"Prometheus can't be had, and pod {key[1]} was asked itself for {key[2]}: {said}"
            return _unknown(SignalState.MISSING, why)
        if self.warning:
            why = f"{what}, and says that its answer is incomplete: {self.warning}"
            return _unknown(SignalState.PROMETHEUS_INCOMPLETE, why)
        if self.unlabelled:
            why = f"{what}; {self.unlabelled} series lack the labels namespace and pod: correct the scrape"
            return _unknown(SignalState.MISSING, why)
        return _unknown(SignalState.MISSING, f"{what}: is its port 9743 scraped?")


async def read_idle_signal(
    prometheus: PrometheusApi, *, namespaces: Sequence[str] = (), clock: Callable[[], float]
) -> IdleSignal:
    """Never raises for what Prometheus does: then nothing is known, with the reason in `failure`.

    namespaces: the only ones that are asked for; empty for all.
    """
    among = _among(namespaces)
    asked_at = clock()
    try:
        first = await prometheus.query(f"{metrics.RESIDENCY.name}{among} == 1")
        if not first.samples:
            return IdleSignal(warning=first.warning)
        with without_collector():
            fleet, room = _Fleet(first), asyncio.Semaphore(QUERIES_AT_ONCE)

        async def ask(query: str) -> _Answer:
            async with room:
                vector = await prometheus.query(query % among, at=fleet.evaluated_at)
            with without_collector():
                column = fleet.column(vector)
            return _Answer(column, vector.evaluated_at if vector.samples else None, vector.warning)

        warning = first.warning
        del first
        answers = await asyncio.gather(*map(ask, _QUERIES.values()))
    except SignalUnavailable as error:
        return failed(error)
    if any(abs((each.evaluated_at or fleet.evaluated_at) - fleet.evaluated_at) > 0.1 for each in answers):
        return IdleSignal(failure="Prometheus did not answer for the instant that was asked for; is a cache before it?")
    columns = {name: answer.column for name, answer in zip(_QUERIES, answers, strict=True)}
    with without_collector():
        joined = fleet.join(columns)
    return replace(
        joined,
        warning=next((each for each in (warning, *(answer.warning for answer in answers)) if each), ""),
        clock_ahead_seconds=_ahead(asked_at, fleet.evaluated_at),
    )


def failed(error: SignalUnavailable) -> IdleSignal:
    if isinstance(error, SignalThrottled):
        return IdleSignal(
            failure=str(error),
            failure_state=SignalState.PROMETHEUS_THROTTLED,
            retry_after_seconds=error.retry_after_seconds,
        )
    if isinstance(error, SignalUnauthorized):
        return IdleSignal(failure=str(error), failure_state=SignalState.PROMETHEUS_UNAUTHORIZED)
    return IdleSignal(failure=str(error))


def _among(namespaces: Sequence[str]) -> str:
    """A selector of labels. A name is no pattern, and neither a quote in it is the end of the string."""
    if not namespaces:
        return ""
    pattern = "|".join(re.escape(name) for name in namespaces).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{namespace=~"{pattern}"}}'


def _ahead(asked_at: float, evaluated_at: float) -> float:
    """Prometheus looked at its clock after we asked, so by what ours was ahead already then, it is ahead."""
    ahead = asked_at - evaluated_at
    return ahead if ahead > SKEW_SECONDS else 0.0


# With the place for the selector of labels.
_QUERIES = {
    "in_flight": f"{metrics.IN_FLIGHT.name}%s",
    "idle_since": f"{metrics.IDLE_SINCE.name}%s",
    "sampled_at": f"timestamp({metrics.IDLE_SINCE.name}%s)",
    "last_transition": f"{metrics.LAST_TRANSITION.name}%s",
    "released": f"{metrics.RELEASED.name}%s",
    "gpu_memory": f"{metrics.GPU_MEMORY.name}%s",
    # Few replicas move at a time, so this is all but empty.
    "moving_since": f"{metrics.TRANSITION_START.name}%s > 0",
}


def build(residencies: Vector, answers: Mapping[str, Vector]) -> IdleSignal:
    """Joins the answers by replica. `answers` has the keys of the queries; pure, for tests."""
    fleet = _Fleet(residencies)
    return fleet.join({name: fleet.column(vector) for name, vector in answers.items()})


_Column = Mapping[ReplicaKey, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Answer:
    column: _Column
    evaluated_at: float | None
    warning: str


class _Fleet:
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

    def column(self, vector: Vector) -> _Column:
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

    def join(self, columns: Mapping[str, _Column]) -> IdleSignal:
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
    columns: Mapping[str, _Column],
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


def _lacking(reading: Reading) -> str:
    if reading.in_flight is None:
        return metrics.IN_FLIGHT.name
    if reading.idle_since is None:
        return metrics.IDLE_SINCE.name
    return ""


def _unknown(state: SignalState, why: str, reading: Reading | None = None) -> Seen:
    return Seen(state, Observation(None, None, None, unknown_because=why), reading)
