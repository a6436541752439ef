"""What is different between two looks at the fleet, as far as a decision or a status depends on it."""

from collections.abc import Set

from dormouse_contract.idleness import SKEW_SECONDS, IdleSignal, Reading, ReplicaKey
from dormouse_contract.managed_model import Name


def changed_pods(before: IdleSignal, after: IdleSignal, fresh_for_seconds: float) -> Set[Name] | None:
    """Namespace and name of the pods that are seen differently now; None when it may concern anybody.

    The age of a reading grows with every scrape and matters only where it passes the limit.
    """
    if _circumstances(before) != _circumstances(after):
        return None
    if abs(before.clock_ahead_seconds - after.clock_ahead_seconds) > SKEW_SECONDS:
        return None
    if after.failure:
        return frozenset()
    return {key[:2] for key in _changed(before, after, fresh_for_seconds)}


def _circumstances(signal: IdleSignal) -> tuple[object, ...]:
    """What is in the verdict on a replica besides its own reading."""
    return (
        signal.failure,
        signal.failure_state,
        signal.unlabelled,
        signal.warning,
        signal.direct_because,
        signal.silent,
    )


def _changed(before: IdleSignal, after: IdleSignal, fresh_for_seconds: float) -> set[ReplicaKey]:
    old, new = before.readings, after.readings
    changed = set(old.keys() ^ new.keys())
    for key, reading in new.items():
        known = old.get(key)
        if known is not None and not _same(known, reading, fresh_for_seconds):
            changed.add(key)
    return changed


def _same(one: Reading, other: Reading, fresh_for_seconds: float) -> bool:
    return (
        one.idle_since == other.idle_since
        and one.in_flight == other.in_flight
        and one.residency is other.residency
        and one.last_transition == other.last_transition
        and one.released_bytes == other.released_bytes
        and one.gpu_memory_bytes == other.gpu_memory_bytes
        and one.transitioning == other.transitioning
        and one.fault == other.fault
        and _fresh(one, fresh_for_seconds) == _fresh(other, fresh_for_seconds)
    )


def _fresh(reading: Reading, fresh_for_seconds: float) -> bool:
    return reading.age_seconds is not None and reading.age_seconds <= fresh_for_seconds
