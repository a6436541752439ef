"""ManagedModels and pods as the page shows them, from the objects that the API server sends. Pure."""

from collections.abc import Mapping
from typing import Any

from dormouse_contract import Mode

from .changes import unix_seconds

PATH = "/apis/dormouse.dev/v1alpha1"
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


def row(body: Object) -> list[Any]:
    """One line of the fleet's table: values in the order of COLUMNS, so that a thousand of them stay small."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    ready = condition(body, "Ready")
    replicas, moved = status.get("replicas") or {}, status.get("lastTransition") or {}
    residency = spec.get("residency", "Auto")
    return [
        metadata["namespace"],
        metadata["name"],
        status.get("residency", "Unknown"),
        status.get("desiredResidency"),
        ready.get("status", "Unknown"),
        ready.get("reason", ""),
        spec.get("mode", Mode.ACTIVE),
        replicas.get("gpu", 0),
        replicas.get("total", 0),
        status.get("gpuMemoryReleased"),
        moved.get("to"),
        unix_seconds(moved.get("time")),
        moved.get("trigger"),
        moved.get("message"),
        residency,
        None if residency == "Auto" else unix_seconds(spec.get("residencyUntil")),
    ]


def condition(body: Object, kind: str) -> Object:
    """Empty before the operator's first visit."""
    listed = (body.get("status") or {}).get("conditions") or ()
    return next((each for each in listed if each.get("type") == kind), {})


def details(body: Object) -> dict[str, Any]:
    """A model's page: its row by name, and what the table has no room for."""
    spec, status = body["spec"], body.get("status") or {}
    return {
        **dict(zip(COLUMNS, row(body), strict=True)),
        "model": spec.get("model"),
        "selector": spec["selector"]["matchLabels"],
        "policy": spec.get("policy") or {},
        "conditions": status.get("conditions") or [],
        "lastTransition": status.get("lastTransition"),
        "created": unix_seconds(body["metadata"].get("creationTimestamp")),
        "visited": "observedGeneration" in status,
        "upToDate": status.get("observedGeneration") == body["metadata"].get("generation"),
    }


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
        "time": next((at for at in map(unix_seconds, (*times, created)) if at is not None), None),
        "type": body.get("type", "Normal"),
        "reason": body.get("reason", ""),
        "message": body.get("message", ""),
        "count": series.get("count") or body.get("count") or 1,
    }
