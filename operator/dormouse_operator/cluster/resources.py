"""ManagedModels and Pods as typed values; of the objects that the API server sends nothing else is kept.

A ManagedModel is about 6 KB of dicts, most of it managedFields; the value here is a few hundred bytes, and
that is the difference between 60 MB and 5 MB at 10,000 of them.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract import InvalidSchedule, Mode, Policy, Residency, Window
from dormouse_contract.defaults import MIN_RESIDENT_SECONDS, WAKE_BUDGET_SECONDS
from dormouse_contract.ports import Port

from ..timestamps import from_rfc3339_or_none
from .status import Status

GROUP, VERSION, PLURAL, KIND = "dormouse.dev", "v1alpha1", "managedmodels", "ManagedModel"
API_VERSION = f"{GROUP}/{VERSION}"
SIDECAR_NAME = "dormouse-sidecar"

Labels = tuple[tuple[str, str], ...]
Name = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class ManagedModel:
    """What a user asked for. `created` is Unix seconds; `resource_version` orders what watches tell.

    schedule_errors: windows that make no sense, in words; the rest of the policy holds without them.
    """

    uid: str
    generation: int
    resource_version: int
    namespace: str
    name: str
    created: float
    selector: Labels
    model: str | None
    policy: Policy
    schedule_errors: tuple[str, ...]
    status: Status

    @property
    def key(self) -> Name:
        return (self.namespace, self.name)

    @property
    def precedence(self) -> tuple[bool, float, str]:
        """Who wins a model: the lowest. Naming the model beats the whole pod, then the older one wins."""
        return (self.model is None, self.created, self.name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as far as it concerns us. `ip` is None until it has one."""

    uid: str
    namespace: str
    name: str
    labels: Labels
    ip: str | None
    alive: bool
    has_sidecar: bool

    @property
    def key(self) -> Name:
        return (self.namespace, self.name)


def managed_model(body: Mapping[str, Any]) -> ManagedModel:
    """From the object as the API server sends it; the CRD's schema has been applied to it."""
    metadata, spec = body["metadata"], body["spec"]
    policy, errors = _policy(spec, _residency_since(metadata.get("managedFields") or ()))
    return ManagedModel(
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 0)),
        resource_version=_version(metadata),
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        created=from_rfc3339_or_none(metadata.get("creationTimestamp")) or 0.0,
        selector=_labels(spec["selector"]["matchLabels"]),
        model=spec.get("model"),
        policy=policy,
        schedule_errors=errors,
        status=Status.from_dict(body.get("status") or {}),
    )


def pod(body: Mapping[str, Any]) -> Pod:
    """A pod that is being deleted or has ended is not `alive`: it takes no orders and counts as nothing."""
    metadata, status = body["metadata"], body.get("status") or {}
    ended = status.get("phase") in ("Succeeded", "Failed")
    return Pod(
        uid=metadata["uid"],
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        labels=_labels(metadata.get("labels") or {}),
        ip=status.get("podIP") or None,
        alive=not ended and not metadata.get("deletionTimestamp"),
        has_sidecar=has_sidecar(body.get("spec") or {}),
    )


def has_sidecar(pod_spec: Mapping[str, Any]) -> bool:
    """A container, or native sidecar, that is named `dormouse-sidecar` or exposes the control port.

    Either will do: an injected sidecar may be renamed, a hand-written one may not list its ports.
    """
    containers = [*(pod_spec.get("initContainers") or ()), *(pod_spec.get("containers") or ())]
    return any(
        container.get("name") == SIDECAR_NAME
        or any(port.get("containerPort") == Port.CONTROL for port in container.get("ports") or ())
        for container in containers
    )


def _policy(spec: Mapping[str, Any], residency_since: float | None) -> tuple[Policy, tuple[str, ...]]:
    asked = spec.get("policy") or {}
    windows: list[Window] = []
    errors: list[str] = []
    for position, entry in enumerate(asked.get("schedule") or ()):
        try:
            windows.append(
                Window(
                    entry["cron"],
                    entry["timeZone"],
                    entry["durationSeconds"],
                    Residency(entry["residency"]),
                )
            )
        except InvalidSchedule as error:
            errors.append(f"policy.schedule[{position}]: {error}")
    residency = spec.get("residency", "Auto")
    policy = Policy(
        mode=Mode(spec.get("mode", Mode.ACTIVE)),
        residency=None if residency == "Auto" else Residency(residency),
        residency_since=residency_since,
        residency_until=from_rfc3339_or_none(spec.get("residencyUntil")),
        offload_after_seconds=asked.get("offloadAfterSeconds"),
        unload_after_seconds=asked.get("unloadAfterSeconds"),
        min_resident_seconds=asked.get("minResidentSeconds", MIN_RESIDENT_SECONDS),
        wake_budget_seconds=asked.get("wakeBudgetSeconds", WAKE_BUDGET_SECONDS),
        schedule=tuple(windows),
    )
    return policy, tuple(errors)


def _residency_since(managed_fields: Iterable[Mapping[str, Any]]) -> float | None:
    """When `spec.residency` was last set: the latest time of whoever owns the field.

    It is the time of that owner's last change of anything, so at worst it is too late, and a replica that
    demand woke is then demoted once before its minimum residence is over; never while it is in use.
    """
    times = [
        since
        for entry in managed_fields
        if "f:residency" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        and (since := from_rfc3339_or_none(entry.get("time"))) is not None
    ]
    return max(times, default=None)


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((sys.intern(key), sys.intern(value)) for key, value in labels.items()))


def _version(metadata: Mapping[str, Any]) -> int:
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
