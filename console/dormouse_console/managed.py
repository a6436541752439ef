"""ManagedModels and pods as the page shows them, from the objects that the API server sends. Pure."""

from collections.abc import Mapping
from typing import Any

from dormouse_contract import Policy, Residency
from dormouse_contract.managed_model import AUTO, GROUP, READY, VERSION, Condition, ManagedModel, Wording, managed_model
from dormouse_contract.timestamps import from_rfc3339_or_none

PATH = f"/apis/{GROUP}/{VERSION}"
COLUMNS = (
    "namespace",
    "name",
    "residency",
    "desired",
    "ready",
    "reason",
    "mode",
    "gpu",
    "total",
    "released",
    "movedTo",
    "movedAt",
    "trigger",
    "message",
    "override",
    "overrideUntil",
)
Object = Mapping[str, Any]


def row(model: ManagedModel) -> list[Any]:
    """One line of the fleet's table: values in the order of COLUMNS, so that a thousand of them stay small."""
    status, policy = model.status, model.policy
    ready, replicas, moved = condition(model, READY), status.replicas, status.last_transition
    return [
        model.namespace,
        model.name,
        status.residency or "Unknown",
        status.desired_residency,
        ready.status,
        ready.reason,
        model.wording.mode,
        replicas.gpu if replicas else 0,
        replicas.total if replicas else 0,
        status.gpu_memory_released,
        (moved.to or None) if moved else None,
        moved.unix_seconds if moved else None,
        (moved.trigger or None) if moved else None,
        moved.message if moved else None,
        override(model),
        policy.residency_until,
    ]


def override(model: ManagedModel) -> str:
    """The manual residency that holds. A word of a newer version is shown as it came, though it counts as Auto here."""
    known = model.wording.residency in set(Residency)
    return model.policy.residency or (AUTO if known else model.wording.residency)


def condition(model: ManagedModel, kind: str) -> Condition:
    """Unknown and without a reason before the operator's first visit."""
    return model.status.condition(kind) or Condition(kind, "Unknown", "", "", 0)


def details(body: Object) -> dict[str, Any]:
    """A model's page: its row by name, and what the table has no room for."""
    model = managed_model(body)
    status = model.status
    return {
        **dict(zip(COLUMNS, row(model), strict=True)),
        "model": model.model,
        "selector": dict(model.selector),
        "policy": _policy(model.policy, model.wording),
        "conditions": [each.to_dict() for each in status.conditions],
        "lastTransition": None if status.last_transition is None else status.last_transition.to_dict(),
        "created": model.created or None,
        "visited": status.observed_generation is not None,
        "upToDate": status.observed_generation == model.generation,
    }


def _policy(policy: Policy, wording: Wording) -> dict[str, Any]:
    """As it is understood, with the names of the spec. What is absent is never; windows are as somebody wrote them."""
    asked = {
        "offloadAfterSeconds": policy.offload_after_seconds,
        "unloadAfterSeconds": policy.unload_after_seconds,
        "minResidentSeconds": policy.min_resident_seconds,
        "wakeBudgetSeconds": policy.wake_budget_seconds,
        "schedule": [
            {
                "cron": window.cron,
                "timeZone": window.time_zone,
                "durationSeconds": window.duration_seconds,
                "residency": window.residency,
            }
            for window in wording.schedule
        ],
    }
    return {name: value for name, value in asked.items() if value is not None}


def pod(body: Object) -> dict[str, Any]:
    status = body.get("status") or {}
    ready = next((c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"), "Unknown")
    return {
        "name": body["metadata"]["name"],
        "node": (body.get("spec") or {}).get("nodeName"),
        "phase": "Terminating" if body["metadata"].get("deletionTimestamp") else status.get("phase", "Unknown"),
        "ready": ready == "True",
    }


def event(body: Object) -> dict[str, Any]:
    series = body.get("series") or {}
    times = (series.get("lastObservedTime"), body.get("lastTimestamp"), body.get("eventTime"))
    created = body["metadata"].get("creationTimestamp")
    return {
        "time": next((at for at in map(from_rfc3339_or_none, (*times, created)) if at is not None), None),
        "type": body.get("type", "Normal"),
        "reason": body.get("reason", ""),
        "message": body.get("message", ""),
        "count": series.get("count") or body.get("count") or 1,
    }
