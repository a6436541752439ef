"""One look at the idleness of the fleet, and the verdict on each replica. What is not certain is unknown."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from .. import metrics
from ..defaults import SCRAPE_INTERVAL_SECONDS, TICK_SECONDS
from ..policy import Observation
from ..ports import Port
from .reading import Reading, ReplicaKey

# Less than this between Prometheus' clock and ours is the way that the answer took.
SKEW_SECONDS = 1.0


def fresh_for_seconds(
    scrape_interval_seconds: float = SCRAPE_INTERVAL_SECONDS, tick_seconds: float = TICK_SECONDS
) -> float:
    """How old a sample may be: one scrape when it is read, one scrape that is missed, and a tick till it is used."""
    return 2 * scrape_interval_seconds + tick_seconds


def ahead(asked_at: float, evaluated_at: float) -> float:
    """Prometheus looked at its clock after we asked, so by what ours was ahead already then, it is ahead."""
    seconds = asked_at - evaluated_at
    return seconds if seconds > SKEW_SECONDS else 0.0


class SignalState(StrEnum):
    """The values are condition reasons."""

    FRESH = "IdleSignalFresh"
    DIRECT = "IdleSignalDirect"
    MISSING = "IdleSignalMissing"
    STALE = "IdleSignalStale"
    INVALID = "IdleSignalInvalid"
    TOO_LARGE = "IdleSignalTooLarge"
    PROMETHEUS_INCOMPLETE = "PrometheusIncomplete"
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    PROMETHEUS_THROTTLED = "PrometheusThrottled"
    PROMETHEUS_UNAUTHORIZED = "PrometheusUnauthorized"

    @property
    def known(self) -> bool:
        """Whether the replica's idleness is known, from wherever."""
        return self in (SignalState.FRESH, SignalState.DIRECT)


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
    ignored: by namespace, how many series there are of models with a name that no model can have.
    warning: Prometheus says that its answer may lack something. What is there is right, so each replica is
        judged by what there is of it.
    evaluated_at: the instant of the queries, on Prometheus' clock. clock_ahead_seconds: how far ours is ahead of
        it, at least; 0 when it is not.
    direct_because: why the sidecars were asked instead of Prometheus; empty when they were not. silent: of
        those, the pods that did not answer, with the reason.
    asked: the namespaces that were asked for; None for all.
    unread: of those, what could not be read and why, by namespace, or by namespace and pod. too_large: the namespaces
        that have more series than one answer takes; what was asked for by pod is known all the same.
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
    asked: Set[str] | None = None
    unread: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    too_large: Set[str] = frozenset()
    ignored: Mapping[str, int] = field(default_factory=dict)

    def models_of(self, namespace: str, pod: str) -> frozenset[str]:
        return self.models_by_pod.get((namespace, pod), frozenset())

    # Filled by joining; a dict beside the readings, since every pod of the fleet asks on every pass.
    models_by_pod: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def age_seconds(self, reading: Reading) -> float | None:
        """How old its sample was at the instant of the queries, both by Prometheus' clock; None for unknown."""
        return None if reading.sampled_at is None else self.evaluated_at - reading.sampled_at

    def is_fresh(self, reading: Reading, fresh_for_seconds: float) -> bool:
        age = self.age_seconds(reading)
        return age is not None and age <= fresh_for_seconds

    def see(self, key: ReplicaKey, fresh_for_seconds: float) -> Seen:
        """The verdict for one replica; only what is complete, valid and fresh may demote."""
        if self.failure:
            return _unknown(self.failure_state, self.failure)
        unread = self.unread and (self.unread.get(key[:2]) or self.unread.get(key[:1]))
        if unread:
            return _unknown(SignalState.TOO_LARGE, unread)
        reading = self.readings.get(key)
        if reading is None:
            return self._missing(key)
        if reading.fault:
            return _unknown(SignalState.INVALID, reading.fault, reading)
        age = self.age_seconds(reading)
        if age is None or not self.is_fresh(reading, fresh_for_seconds):
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
                signal_age_seconds=max(0.0, age),
                unload_refused=reading.unload_refused,
            ),
            reading,
        )

    def _missing(self, key: ReplicaKey) -> Seen:
        if self.asked is not None and key[0] not in self.asked:
            why = f"Prometheus was not asked for namespace {key[0]} yet; the next look asks"
            return _unknown(SignalState.MISSING, why)
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
        return _unknown(SignalState.MISSING, f"{what}: is its port {Port.SIDECAR} scraped?")


def _lacking(reading: Reading) -> str:
    if reading.in_flight is None:
        return metrics.IN_FLIGHT.name
    if reading.idle_since is None:
        return metrics.IDLE_SINCE.name
    return ""


def _unknown(state: SignalState, why: str, reading: Reading | None = None) -> Seen:
    return Seen(state, Observation(None, None, None, unknown_because=why), reading)
