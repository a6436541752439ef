"""Pods as typed values; of the objects that the API server sends nothing else is kept."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract.managed_model import Labels, Name
from dormouse_contract.ports import Port

SIDECAR_NAME = "dormouse-sidecar"


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


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((sys.intern(key), sys.intern(value)) for key, value in labels.items()))
