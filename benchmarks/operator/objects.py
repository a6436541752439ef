"""The fleet's objects: namespaces, and for each model a ManagedModel and a pod as large as real ones are (6 KB)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
from dormouse_contract.ports import Port

from localcluster.controlplane import ControlPlane
from localcluster.pods import NODE_NAME

from . import bad
from .bad import Bad
from .replicas import MODEL, Replica

NAMESPACES = 10
CONCURRENCY = 24
OFFLOAD_AFTER_SECONDS = 86_400


def plan_fleet(models: int) -> list[Replica]:
    return [
        Replica(
            namespace=f"fleet-{number % NAMESPACES}",
            pod=f"model-{number:05d}-6c8d9f7b54-{number * 7919 % 99991:05d}",
            # From 127.10.0.1 on; .0 and .255 are addresses like any other here.
            ip=f"127.{10 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        )
        for number in range(1, models + 1)
    ]


def plan_bad(kinds: Sequence[Bad]) -> list[Replica]:
    return [
        Replica(bad.NAMESPACE, f"{kind.name.lower().replace('_', '-')}-{number}-0-0", bad.address(kind, number), kind)
        for number, kind in enumerate(kinds, 1)
    ]


async def create_fleet(control_plane: ControlPlane, fleet: list[Replica], progress: Callable[[int], None]) -> None:
    """Three requests for each model, side by side. Fills in the UIDs."""
    room, done = asyncio.Semaphore(CONCURRENCY), 0
    async with _client(control_plane) as http:

        async def one(replica: Replica) -> None:
            nonlocal done
            async with room:
                await _create(http, replica)
            done += 1
            progress(done)

        names = sorted({replica.namespace for replica in fleet})
        await _all(_post(http, "/api/v1/namespaces", {"metadata": {"name": name}}) for name in names)
        await _all(one(replica) for replica in fleet)


async def delete(control_plane: ControlPlane, fleet: list[Replica]) -> None:
    async with _client(control_plane) as http:
        for each in fleet:
            for path in [_managed_models(each), *([_pods(each)] if each.has_pod else [])]:
                name = each.app if path == _managed_models(each) else each.pod
                response = await http.delete(f"{path}/{name}?gracePeriodSeconds=0")
                response.raise_for_status()


def _client(control_plane: ControlPlane) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CONCURRENCY)
    return httpx.AsyncClient(
        base_url=control_plane.url, verify=control_plane.api.tls, limits=limits, timeout=60, trust_env=False
    )


def _pods(replica: Replica) -> str:
    return f"/api/v1/namespaces/{replica.namespace}/pods"


def _managed_models(replica: Replica) -> str:
    return f"/apis/dormouse.dev/v1alpha1/namespaces/{replica.namespace}/managedmodels"


async def _all(calls: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(_awaited(call))


async def _awaited(call: Awaitable[Any]) -> None:
    await call


async def _create(http: httpx.AsyncClient, replica: Replica) -> None:
    app = replica.app
    if replica.has_pod:
        created = await _post(http, _pods(replica), _pod(replica, app))
        replica.uid = created["metadata"]["uid"]
        status = await http.patch(
            f"{_pods(replica)}/{replica.pod}/status",
            content=json.dumps({"status": _status(replica, created)}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        status.raise_for_status()
    await _post(http, _managed_models(replica), _managed(app, replica.bad))


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(path, json=body)
    if response.status_code == 409:
        return dict((await http.get(f"{path}/{body['metadata']['name']}")).json())
    response.raise_for_status()
    return dict(response.json())


def _managed(app: str, kind: Bad | None) -> dict[str, Any]:
    usual = {"offloadAfterSeconds": OFFLOAD_AFTER_SECONDS, "unloadAfterSeconds": 7 * 86_400}
    # A crowd is managed whole, as its owner would have it.
    model = {} if kind is Bad.CROWDED else {"model": MODEL}
    return {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"name": app},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "policy": usual | (bad.policy(kind) if kind else {}),
            **model,
        },
    }


def _pod(replica: Replica, app: str) -> dict[str, Any]:
    """What a Deployment's pod with a model server, a sidecar, probes, volumes and environment looks like."""
    environment = [{"name": f"MODEL_OPTION_{n}", "value": f"a-value-of-usual-length-{n}"} for n in range(2)]
    probe = {"httpGet": {"path": "/readyz", "port": Port.SIDECAR}, "periodSeconds": 10, "failureThreshold": 3}
    mounts = [{"name": "dormouse", "mountPath": "/run/dormouse"}, {"name": "weights", "mountPath": "/models"}]
    return {
        "metadata": {
            "name": replica.pod,
            "labels": {
                "app": app,
                "app.kubernetes.io/name": app,
                "app.kubernetes.io/part-of": "speech-platform",
                "pod-template-hash": "6c8d9f7b54",
            },
            "annotations": {"example.com/config-checksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c1"},
        },
        "spec": {
            "nodeName": NODE_NAME,
            "initContainers": [
                {
                    "name": "dormouse-sidecar",
                    "image": "registry.example.com/dormouse/sidecar:0.1.0",
                    "restartPolicy": "Always",
                    "ports": [
                        {"containerPort": Port.CONTROL, "name": "dormouse"},
                        {"containerPort": Port.SIDECAR, "name": "metrics"},
                    ],
                    "volumeMounts": mounts[:1],
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                }
            ],
            "containers": [
                {
                    "name": "model",
                    "image": f"registry.example.com/models/{app}:2026-11-01",
                    "env": environment,
                    "ports": [{"containerPort": 8000, "name": "http"}],
                    "readinessProbe": probe,
                    "volumeMounts": mounts,
                    "resources": {"requests": {"cpu": "2", "memory": "16Gi"}, "limits": {"memory": "32Gi"}},
                }
            ],
            "volumes": [
                {"name": "dormouse", "emptyDir": {"sizeLimit": "16Mi"}},
                {"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}},
            ],
        },
    }


def _status(replica: Replica, created: dict[str, Any]) -> dict[str, Any]:
    since = created["metadata"]["creationTimestamp"]

    def ran(container: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"{container['image'].partition(':')[0]}@sha256:{'0123456789abcdef' * 4}",
            "containerID": f"containerd://{'fedcba9876543210' * 4}",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": since}},
        }

    spec = created["spec"]
    return {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": since}
            for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "hostIP": "127.0.0.1",
        "podIP": replica.ip,
        "podIPs": [{"ip": replica.ip}],
        "startTime": since,
        "qosClass": "Burstable",
        "initContainerStatuses": [ran(each) for each in spec["initContainers"]],
        "containerStatuses": [ran(each) for each in spec["containers"]],
    }
