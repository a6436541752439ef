"""Kubernetes Events: what they say of a transition, of a wish in Observe, and of a condition that is bad.

The name of an Event is made of what it is about, so that telling the same twice, after a restart or by a
second operator, is refused by the API server and not shown twice.
"""

import hashlib
import logging
from typing import Any

from dormouse_contract import Residency, TransitionOutcome
from dormouse_contract.managed_model import API_VERSION, KIND, Condition, ManagedModel, Status
from dormouse_contract.printable import cut_to_bytes, printable
from dormouse_contract.timestamps import to_rfc3339_micro
from dormouse_contract.wire import TransitionReport

from ..cluster.kube import MERGE_PATCH, Kube
from ..cluster.pods import Pod
from ..errors import KubeConflict, KubeError, KubeNotFound
from ..view import ReplicaView
from .conditions import NOT_YET_CONTACTED, OBSERVING, TRANSITIONING
from .summary import describe

CONTROLLER = "dormouse.dev/operator"
# The API server counts bytes there: 1024 of them.
MAX_NOTE_BYTES = 1000
# Part of the normal course of things, though the condition is False meanwhile.
_NO_NEWS = {TRANSITIONING, OBSERVING, NOT_YET_CONTACTED}
log = logging.getLogger(__name__)


def transition_event(
    owner: ManagedModel, pod: Pod, model: str, moved: TransitionReport, now: float, instance: str
) -> dict[str, Any]:
    failed = moved.outcome in (TransitionOutcome.FAILED, TransitionOutcome.REFUSED)
    reason = f"Transition{str(moved.outcome).capitalize()}" if failed else _word(moved)
    message = describe(moved).message
    note = f"{model} of {pod.name}: {moved.from_} → {moved.to} in {moved.seconds:.1f} s by {moved.trigger}"
    return _event(
        owner,
        identity=(owner.uid, pod.uid, model, repr(moved.time)),
        reason=reason,
        note=f"{note}: {message}" if message else note,
        warning=failed,
        action="Transition",
        now=now,
        instance=instance,
    )


def _word(moved: TransitionReport) -> str:
    if not isinstance(moved.to, Residency) or not isinstance(moved.outcome, TransitionOutcome):
        return "Moved"
    if moved.to is Residency.CPU:
        return "Offloaded" if moved.from_ is Residency.GPU else "Loaded"
    return "Woken" if moved.to is Residency.GPU else "Unloaded"


def wish_event(owner: ManagedModel, replica: ReplicaView, now: float, instance: str) -> dict[str, Any]:
    """What Observe would have ordered, with the reason that an order would have had."""
    decision, seen = replica.decision, replica.seen.observation
    return _event(
        owner,
        identity=(owner.uid, replica.pod.uid, replica.model, str(decision.desired), repr(seen.idle_since)),
        reason="WouldOrder",
        note=f"{replica.model} of {replica.pod.name}: would move {replica.residency or 'from an unknown tier'} → "
        f"{decision.desired}: {decision.reason}. Nothing is sent while mode is Observe.",
        warning=False,
        action="Observe",
        now=now,
        instance=instance,
    )


def condition_event(owner: ManagedModel, condition: Condition, now: float, instance: str) -> dict[str, Any]:
    return _event(
        owner,
        identity=(owner.uid, condition.reason, condition.last_transition_time),
        reason=condition.reason,
        note=f"{condition.type} is {condition.status}: {condition.message}",
        warning=True,
        action="Reconcile",
        now=now,
        instance=instance,
    )


def troubles(status: Status) -> dict[str, Condition]:
    """The bad ones by reason: one cause often turns several conditions and is told once."""
    found: dict[str, Condition] = {}
    for each in status.conditions:
        if each.status == "False" and each.reason not in _NO_NEWS:
            found.setdefault(each.reason, each)
    return found


async def post(kube: Kube, event: dict[str, Any]) -> None:
    """An Event that can't be told is not worth stopping for."""
    path = f"/apis/events.k8s.io/v1/namespaces/{event['metadata']['namespace']}/events"
    try:
        await kube.request("POST", path, event)
    except KubeConflict:
        pass
    except KubeError as error:
        log.info("An Event was not recorded: %s", error)


async def tell_more(kube: Kube, namespace: str, name: str, count: int, last: float) -> bool:
    """The Event was seen `count` times by now. False when it is not there any more, so that it is told anew."""
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}"
    series = {"series": {"count": count, "lastObservedTime": to_rfc3339_micro(last)}}
    try:
        await kube.request("PATCH", path, series, content_type=MERGE_PATCH)
    except KubeNotFound:
        return False
    except KubeError as error:
        log.info("An Event was not counted on: %s", error)
    return True


def _event(
    owner: ManagedModel,
    *,
    identity: tuple[str, ...],
    reason: str,
    note: str,
    warning: bool,
    action: str,
    now: float,
    instance: str,
) -> dict[str, Any]:
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:20]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{owner.name[:200].rstrip('-.')}.{digest}", "namespace": owner.namespace},
        "eventTime": to_rfc3339_micro(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "action": action,
        "reason": reason,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
        "note": cut_to_bytes(printable(note, MAX_NOTE_BYTES), MAX_NOTE_BYTES),
        "type": "Warning" if warning else "Normal",
    }
