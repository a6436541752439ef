"""Kubernetes Events: one for each transition, and one when a condition turns bad.

The name of an Event is made of what it is about, so that telling the same twice, after a restart or by a
second operator, is refused by the API server and not shown twice.
"""

import hashlib
import logging
from typing import Any

from dormouse_contract import Residency, TransitionOutcome
from dormouse_contract.wire import LastTransitionSnapshot

from .conditions import NOT_YET_CONTACTED, OBSERVING, TRANSITIONING
from .errors import KubeConflict, KubeError
from .kube import Kube
from .resources import API_VERSION, KIND, ManagedModel, Pod
from .status import Condition, Status
from .summary import describe
from .timestamps import to_rfc3339_micro

CONTROLLER = "dormouse.dev/operator"
# Part of the normal course of things, though the condition is False meanwhile.
_NO_NEWS = {TRANSITIONING, OBSERVING, NOT_YET_CONTACTED}
log = logging.getLogger(__name__)


def transition_event(
    owner: ManagedModel, pod: Pod, model: str, moved: LastTransitionSnapshot, now: float, instance: str
) -> dict[str, Any]:
    failed = moved.outcome is not TransitionOutcome.OK
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


def _word(moved: LastTransitionSnapshot) -> str:
    if moved.to is Residency.CPU:
        return "Offloaded" if moved.from_ is Residency.GPU else "Loaded"
    return "Woken" if moved.to is Residency.GPU else "Unloaded"


def condition_events(
    owner: ManagedModel, before: Status, after: Status, now: float, instance: str
) -> list[dict[str, Any]]:
    """One for each reason that is bad now and was not before; one cause often turns several conditions."""
    known = {each.reason for each in before.conditions if _is_bad(each)}
    news: dict[str, Condition] = {}
    for each in after.conditions:
        if _is_bad(each) and each.reason not in known:
            news.setdefault(each.reason, each)
    return [
        _event(
            owner,
            identity=(owner.uid, each.reason, each.last_transition_time),
            reason=each.reason,
            note=f"{each.type} is {each.status}: {each.message}",
            warning=True,
            action="Reconcile",
            now=now,
            instance=instance,
        )
        for each in news.values()
    ]


async def post(kube: Kube, event: dict[str, Any]) -> None:
    """An Event that can't be told is not worth stopping for."""
    path = f"/apis/events.k8s.io/v1/namespaces/{event['metadata']['namespace']}/events"
    try:
        await kube.request("POST", path, event)
    except KubeConflict:
        pass
    except KubeError as error:
        log.info("An Event was not recorded: %s", error)


def _is_bad(condition: Condition) -> bool:
    return condition.status == "False" and condition.reason not in _NO_NEWS


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
        "metadata": {"name": f"{owner.name[:200]}.{digest}", "namespace": owner.namespace},
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
        "note": note[:1000],
        "type": "Warning" if warning else "Normal",
    }
