"""Puts the sidecar into a pod: a pod in, a JSON patch out. Pure, so that the whole of it is tested without a cluster.

It adds what is missing and changes nothing that is there, so a pod that has it all is answered with an empty
patch: the API server may ask twice. What makes no sense is a warning and no injection, never a refusal, since
a pod without a sidecar serves, always awake.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dormouse_contract.ports import Port

from ..cluster.pods import SIDECAR_LABEL, SIDECAR_NAME, has_sidecar
from .settings import SidecarSettings

CONTAINER_ANNOTATION = "dormouse.dev/container"
SOCKET_ANNOTATION = "dormouse.dev/socket"
SOCKET_VARIABLE = "DORMOUSE_SOCKET"
DEFAULT_SOCKET = "/run/dormouse/model.sock"
TRUST_FOLDER = "/etc/dormouse/trust"
# The same as in trust.py, which brings kopf along; a test holds the two together.
TRUST_CONFIG_MAP = "dormouse-operator-trust"
RUN_VOLUME, TRUST_VOLUME = "dormouse-run", "dormouse-trust"
USER = 10001
"""Of the sidecar, and of the group that shares the socket, where the pod names neither."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Injection:
    """`patch` is a JSON patch (RFC 6902); `warnings` are shown to whoever made the pod."""

    patch: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()


class _NotThisPod(Exception):
    """Why this pod stays as it is, in words for its owner."""


def inject(pod: Mapping[str, Any], settings: SidecarSettings) -> Injection:
    """Total: a body that is no pod is answered with a warning."""
    spec = pod.get("spec")
    if not isinstance(spec, Mapping) or not spec.get("containers"):
        return Injection(warnings=("dormouse: no sidecar was injected: this is no pod with containers",))
    if has_sidecar(pod):
        return Injection()
    metadata = pod.get("metadata") or {}
    try:
        index = _model_container(spec, metadata.get("annotations") or {})
        socket = _socket(spec["containers"][index], metadata.get("annotations") or {})
        _check(spec)
    except _NotThisPod as reason:
        return Injection(warnings=(f"dormouse: no sidecar was injected, the pod runs and stays awake: {reason}",))
    return Injection(tuple(_patch(metadata, spec, index, socket, settings)))


def sidecar(settings: SidecarSettings, socket: str = DEFAULT_SOCKET, user: int | None = None) -> Json:
    """The native sidecar. It has no readiness probe: that it is away must not take the pod out of its Service."""
    return {
        "name": SIDECAR_NAME,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",
        "env": [
            {"name": "DORMOUSE_POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
            {"name": SOCKET_VARIABLE, "value": socket},
            {"name": "DORMOUSE_CONTROL_PORT", "value": str(settings.control_port)},
        ],
        "ports": [
            {"name": "dormouse-orders", "containerPort": settings.control_port, "protocol": "TCP"},
            {"name": "dormouse-scrape", "containerPort": Port.SIDECAR, "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": Port.SIDECAR},
            "periodSeconds": 15,
            "timeoutSeconds": 5,
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user or USER,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": dict(settings.resources),
        "volumeMounts": [
            {"name": RUN_VOLUME, "mountPath": posixpath.dirname(socket)},
            {"name": TRUST_VOLUME, "mountPath": TRUST_FOLDER, "readOnly": True},
        ],
    }


def volumes() -> list[Json]:
    """The trust is optional: a pod starts whether or not the operator was ever there."""
    return [
        {"name": RUN_VOLUME, "emptyDir": {}},
        {"name": TRUST_VOLUME, "configMap": {"name": TRUST_CONFIG_MAP, "optional": True}},
    ]


def _model_container(spec: Mapping[str, Any], annotations: Mapping[str, str]) -> int:
    names = [container.get("name") for container in spec["containers"]]
    wanted = annotations.get(CONTAINER_ANNOTATION)
    if wanted is None:
        return 0
    if wanted not in names:
        raise _NotThisPod(f"{CONTAINER_ANNOTATION} is {wanted!r}; write one of {', '.join(map(str, names))}")
    return names.index(wanted)


def _socket(container: Mapping[str, Any], annotations: Mapping[str, str]) -> str:
    """The annotation, else what the container has set already, else the usual one."""
    of_container = next((e.get("value") for e in container.get("env") or () if e.get("name") == SOCKET_VARIABLE), None)
    socket = annotations.get(SOCKET_ANNOTATION) or of_container or DEFAULT_SOCKET
    if of_container and socket != of_container:
        raise _NotThisPod(f"{SOCKET_ANNOTATION} is {socket} and the container sets {SOCKET_VARIABLE} to {of_container}")
    # A path of a socket is at most 107 bytes long, and the model binds a temporary name beside it first.
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+){2,}", socket) or ".." in socket.split("/") or len(socket) > 90:
        raise _NotThisPod(
            f"the socket {socket!r} is no absolute path in a folder of its own of at most 90 characters; "
            f"leave {SOCKET_ANNOTATION} out for {DEFAULT_SOCKET}"
        )
    return socket


def _check(spec: Mapping[str, Any]) -> None:
    if spec.get("hostNetwork"):
        raise _NotThisPod("it uses the node's network, where the sidecar's ports would be open to every pod")
    if (spec.get("os") or {}).get("name") == "windows":
        raise _NotThisPod("the sidecar runs on Linux")


def _shared_user(spec: Mapping[str, Any], container: Mapping[str, Any]) -> int | None:
    """The socket is for its owner and its group. None: they have to meet in the pod's group."""
    of_pod = spec.get("securityContext") or {}
    if of_pod.get("fsGroup") is not None:
        return None
    of_container = (container.get("securityContext") or {}).get("runAsUser")
    return (of_pod.get("runAsUser") if of_container is None else of_container) or None


def _patch(
    metadata: Mapping[str, Any], spec: Mapping[str, Any], index: int, socket: str, settings: SidecarSettings
) -> Iterable[Json]:
    if not metadata.get("labels"):
        yield _add("/metadata/labels", {})
    # PodMonitor and NetworkPolicy find the pod by it.
    yield _add(f"/metadata/labels/{SIDECAR_LABEL.replace('/', '~1')}", "true")

    container, at = spec["containers"][index], f"/spec/containers/{index}"
    folder = posixpath.dirname(socket)
    mounts = container.get("volumeMounts") or ()
    shared = next((mount for mount in mounts if mount.get("mountPath", "").rstrip("/") == folder), None)
    user = _shared_user(spec, container)
    added = sidecar(settings, socket, user)
    if shared is not None:
        # The model has a place for its socket already: that is where the sidecar looks.
        added["volumeMounts"][0] = dict(shared)
    # After the pod's own init containers: what they do is not held up by us.
    yield from _append("/spec/initContainers", spec.get("initContainers"), [added])
    names = {volume.get("name") for volume in spec.get("volumes") or ()} | ({RUN_VOLUME} if shared else set())
    yield from _append("/spec/volumes", spec.get("volumes"), [v for v in volumes() if v["name"] not in names])
    if all(entry.get("name") != SOCKET_VARIABLE for entry in container.get("env") or ()):
        yield from _append(f"{at}/env", container.get("env"), [{"name": SOCKET_VARIABLE, "value": socket}])
    if shared is None:
        yield from _append(f"{at}/volumeMounts", mounts, [{"name": RUN_VOLUME, "mountPath": folder}])

    of_pod = spec.get("securityContext")
    if user is None and (of_pod or {}).get("fsGroup") is None:
        if of_pod is None:
            yield _add("/spec/securityContext", {})
        yield _add("/spec/securityContext/fsGroup", USER)
        if "fsGroupChangePolicy" not in (of_pod or {}):
            # Volumes with gigabytes of weights are not walked through at each start.
            yield _add("/spec/securityContext/fsGroupChangePolicy", "OnRootMismatch")


def _add(path: str, value: Any) -> Json:
    return {"op": "add", "path": path, "value": value}


def _append(path: str, existing: Any, values: list[Json]) -> Iterable[Json]:
    if not existing and values:
        yield _add(path, values)
        return
    for value in values:
        yield _add(f"{path}/-", value)
