"""Pods as typed values; of the objects that the API server sends nothing else is kept."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract.managed_model import Labels, Name
from dormouse_contract.ports import Port

SIDECAR_NAME = "dormouse-sidecar"
# On each pod that got its sidecar in one of our ways; PodMonitor and NetworkPolicy go by it too.
SIDECAR_LABEL = "dormouse.dev/sidecar"


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
        has_sidecar=has_sidecar(body),
    )


def has_sidecar(pod: Mapping[str, Any]) -> bool:
    """A container, or native one, that is named `dormouse-sidecar`; in a pod with our label, one with the control port.

    An injected sidecar may be renamed, and a hand-written one may not list its ports. The port alone says nothing:
    7443 is many an HTTPS server's.
    """
    labels, spec = (pod.get("metadata") or {}).get("labels") or {}, pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    if any(container.get("name") == SIDECAR_NAME for container in containers):
        return True
    return labels.get(SIDECAR_LABEL) == "true" and any(
        port.get("containerPort") == Port.CONTROL for container in containers for port in container.get("ports") or ()
    )


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((sys.intern(key), sys.intern(value)) for key, value in labels.items()))
