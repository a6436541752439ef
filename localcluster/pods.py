"""Pods without a node: objects that say where a server on this machine listens.

Linux routes all of 127/8 to loopback, so a server on 127.0.0.2:7443 and a Pod with that address are, for an
operator, a pod like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcluster.controlplane import ControlPlane

NODE_NAME = "this-machine"


def register_pod(
    control_plane: ControlPlane,
    *,
    namespace: str,
    name: str,
    ip: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> str:
    """Create the Pod as Running and Ready at `ip`; returns its UID. `spec` is merged over a minimal one."""
    container = {"name": "model", "image": "localhost/registered-by-hand"}
    created = control_plane.api.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "metadata": {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})},
            "spec": {"nodeName": NODE_NAME, "containers": [container], **(spec or {})},
        },
    )
    set_pod_status(control_plane, namespace=namespace, name=name, ip=ip)
    return str(created["metadata"]["uid"])


def set_pod_status(
    control_plane: ControlPlane,
    *,
    namespace: str,
    name: str,
    ip: str | None,
    phase: str = "Running",
    ready: bool = True,
) -> None:
    """What a kubelet would write: the address, the phase and whether it takes requests."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    pod = control_plane.api.request("GET", path)
    conditions = [
        {"type": kind, "status": "True" if ready else "False"}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    # kubectl counts a container as ready only when its state says that it runs.
    since = {"state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}}
    containers = [
        {"name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "restartCount": 0} | since
        for c in pod["spec"]["containers"]
    ]
    status: dict[str, Any] = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
    if ip is not None:
        status |= {
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
        }
    control_plane.api.request(
        "PATCH", f"{path}/status", {"status": status}, content_type="application/merge-patch+json"
    )


def remove_pod(control_plane: ControlPlane, *, namespace: str, name: str) -> None:
    """Delete it at once; without a kubelet a grace period would never end."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    control_plane.api.request("DELETE", path, {"gracePeriodSeconds": 0})
