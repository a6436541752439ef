"""What is different between two looks at the fleet, as far as a decision or a status depends on it.

Whole values are compared, so that what a look or a reading is given one day is compared from that day on. What does
not count is named here and in `Reading`.
"""

from collections.abc import Set
from dataclasses import replace

from dormouse_contract.idleness import SKEW_SECONDS, IdleSignal, ReplicaKey
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


def changed_namespaces(before: IdleSignal, after: IdleSignal) -> Set[str]:
    """Those of which another part could be read, or that were asked for the first time."""
    unread = before.unread.items() ^ after.unread.items()
    return {unit[0] for unit, _ in unread} | ((after.asked or frozenset()) - (before.asked or frozenset()))


def _circumstances(signal: IdleSignal) -> IdleSignal:
    """What is in the verdict on a replica besides its own reading: all but what is compared by itself or is another
    one at each look."""
    return replace(
        signal,
        readings={},
        models_by_pod={},
        ignored={},
        evaluated_at=0.0,
        clock_ahead_seconds=0.0,
        retry_after_seconds=None,
        # One namespace more or less, or one that is too large, concerns nobody else: `changed_namespaces`.
        asked=None,
        unread={},
        too_large=frozenset(),
    )


def _changed(before: IdleSignal, after: IdleSignal, fresh_for_seconds: float) -> set[ReplicaKey]:
    old, new = before.readings, after.readings
    changed = set(old.keys() ^ new.keys())
    for key, reading in new.items():
        known = old.get(key)
        if known is not None and (
            known != reading
            or before.is_fresh(known, fresh_for_seconds) is not after.is_fresh(reading, fresh_for_seconds)
        ):
            changed.add(key)
    return changed
