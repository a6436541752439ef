"""From a view to the status that the user sees: counts, residencies, what is released, the last transition."""

from collections import Counter
from collections.abc import Iterable

from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.managed_model import MIXED, UNKNOWN, LastTransition, ReplicaCounts, Status
from dormouse_contract.printable import printable
from dormouse_contract.quantity import as_quantity
from dormouse_contract.timestamps import to_rfc3339, to_rfc3339_micro
from dormouse_contract.wire import TransitionReport

from ..view import View
from .conditions import MAX_MESSAGE_CHARACTERS, conditions


def summarize(view: View, now: float) -> Status:
    """Pure: the same world gives the same status, so an unchanged world gives no write."""
    previous = view.owner.status
    at = [replica.residency for replica in view.present]
    counts = Counter(at)
    moment = to_rfc3339(now)
    return Status(
        conditions=tuple(each.after(previous.condition(each.type), moment) for each in conditions(view)),
        observed_generation=view.owner.generation,
        desired_residency=_common(
            replica.decision.desired for replica in view.present if replica.decision.desired is not None
        ),
        residency=_common(tier for tier in at if tier is not None) or UNKNOWN,
        replicas=ReplicaCounts(
            total=len(at),
            gpu=counts[Residency.GPU],
            cpu=counts[Residency.CPU],
            unloaded=counts[Residency.UNLOADED],
            unknown=counts[None],
        ),
        gpu_memory_released=_released(view, previous.gpu_memory_released),
        last_transition=_last_transition(view, previous.last_transition),
    )


def describe(transition: TransitionReport) -> LastTransition:
    """In the words that the CRD has; a trigger that it does not have stays empty."""
    figures = [transition.reason] if transition.reason else []
    if transition.released_bytes > 0:
        figures.append(f"released {as_quantity(transition.released_bytes)}")
    return LastTransition(
        transition.from_,
        transition.to,
        to_rfc3339_micro(transition.time),
        transition.trigger if isinstance(transition.trigger, Trigger) else "",
        printable("; ".join(figures), MAX_MESSAGE_CHARACTERS),
    )


def _common(tiers: Iterable[Residency]) -> str | None:
    found = set(tiers)
    if len(found) > 1:
        return MIXED
    return str(found.pop()) if found else None


def _released(view: View, previous: str | None) -> str | None:
    """The sum over the replicas; while one of them is unknown, what was last measured stays."""
    measured = [
        replica.seen.reading.released_bytes
        if replica.seen.reading is not None and replica.residency is not None
        else None
        for replica in view.present
    ]
    known = [released for released in measured if released is not None]
    if len(known) < len(measured):
        return previous
    return as_quantity(sum(known)) if known else None


def _last_transition(view: View, previous: LastTransition | None) -> LastTransition | None:
    told = [
        replica.memory.last_transition
        for replica in view.present
        if replica.memory.last_transition is not None
        and replica.memory.last_transition.outcome is TransitionOutcome.OK
        # A tier that the CRD does not have can't be written.
        and isinstance(replica.memory.last_transition.from_, Residency)
        and isinstance(replica.memory.last_transition.to, Residency)
        # What the replica did before the object was there is not its story.
        and replica.memory.last_transition.time >= view.owner.created
    ]
    latest = max(told, key=lambda transition: transition.time, default=None)
    before = None if previous is None else previous.unix_seconds
    if latest is None or (before is not None and before >= latest.time - 1e-3):
        return previous
    return describe(latest)
