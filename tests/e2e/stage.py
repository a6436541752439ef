"""What every check stands on: a node with the images, Prometheus in the cluster, and Helm."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from localcluster.binaries import binary
from localcluster.errors import ApiRefused, KubectlFailed
from localcluster.node import Node
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
CHART = Path(os.environ.get("E2E_CHART") or ROOT / "charts" / "dormouse")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
HELM_SECONDS = 180
SCRAPE_SECONDS = 2
Document = Mapping[str, Any]


class Stage:
    """One node for all checks. Each check makes namespaces of its own."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.directory = directory
        self.kubectl = node.kubectl
        self._helm = binary("helm")

    def namespace(self, name: str) -> str:
        """A namespace on which Pod Security `restricted` is enforced, as on all of ours."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        self.until(f"{name} has its service account", lambda: self.get("serviceaccounts", "default", name))
        return name

    def apply(self, *documents: Document, namespace: str | None = None) -> None:
        """kubectl apply: what a user does with a manifest."""
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(map(dict, documents)), namespace=namespace)

    def get(self, resource: str, name: str, namespace: str) -> dict[str, Any]:
        """One object, empty when there is none."""
        try:
            answer = self.kubectl("get", resource, name, "-o", "json", "--ignore-not-found", namespace=namespace)
        except KubectlFailed as failure:
            if "the server doesn't have a resource type" in failure.stderr:
                return {}
            raise
        found: dict[str, Any] = json.loads(answer) if answer.strip() else {}
        return found

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        answer = self.node.control_plane.api.request(
            "GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}"
        )
        return [pod for pod in answer["items"] if "deletionTimestamp" not in pod["metadata"]]

    def status(self, namespace: str, managed_model: str) -> dict[str, Any]:
        """The ManagedModel's status, empty while there is none."""
        try:
            answer = self.node.control_plane.api.request(
                "GET", f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels/{managed_model}"
            )
        except ApiRefused:
            return {}
        status: dict[str, Any] = answer.get("status", {})
        return status

    def on_gpu(self, namespace: str, selector: str) -> int:
        """How many pods have their model on the GPU now, by their own word: status may lag by ten seconds."""
        count = 0
        for pod in self.pods(namespace, selector):
            path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:9743/proxy/metrics"
            lines = self.kubectl("get", "--raw", path).splitlines()
            (gpu,) = [line for line in lines if line.startswith("dormouse_model_residency{") and '"GPU"' in line]
            count += gpu.endswith(" 1.0")
        return count

    def until(self, what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """`eventually`, with what users of a cluster wait for at most."""
        return eventually(what, condition, seconds)

    def address(self, service: str, namespace: str) -> str:
        """The Service's URL, once kube-proxy lets connections through: a moment after its pods are ready."""
        ip = self.get("services", service, namespace)["spec"]["clusterIP"]
        self.until(f"{service} of {namespace} takes connections", lambda: _connects(ip))
        return f"http://{ip}"

    def rolled_out(self, deployment: str, namespace: str, seconds: int = 180) -> None:
        """Wait for a rollout; fails with kubectl's words and what the pods say."""
        process = subprocess.run(
            [self.node.control_plane.kubectl_path, "-n", namespace, "rollout", "status", deployment,
             f"--timeout={seconds}s"],
            env=self.node.control_plane.kubectl_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if process.returncode != 0:
            events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", namespace=namespace)
            pods = self.kubectl("get", "pods", "-o", "wide", namespace=namespace)
            raise AssertionError(f"{deployment}: {process.stderr.strip()}\n{pods}\n{events[-3000:]}")

    def helm(self, *arguments: str) -> str:
        """Run Helm as the admin; fails with its words."""
        environment = self.node.control_plane.kubectl_environment() | {
            f"HELM_{kind}_HOME": str(self.directory / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")
        }
        answer = subprocess.run(
            [self._helm, *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=HELM_SECONDS,
        )  # fmt: skip
        assert answer.returncode == 0, f"helm {' '.join(arguments)}:\n{answer.stderr}\n{answer.stdout}"
        return answer.stdout

    def kill(self, namespace: str, pod: str, container: str) -> None:
        """What the kernel does when memory is short: SIGKILL from outside, without any grace."""
        status = self.get("pods", pod, namespace)["status"]
        states = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        (identity,) = [state["containerID"] for state in states if state["name"] == container]
        self.node.containerd.kill(identity.removeprefix("containerd://"))

    def restarts(self, namespace: str, pod: str, container: str) -> int:
        """How often the kubelet has started that container again."""
        status = self.get("pods", pod, namespace)["status"]
        states = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        return int(next(state["restartCount"] for state in states if state["name"] == container))


def _connects(ip: str) -> bool:
    try:
        socket.create_connection((ip, 80), timeout=2).close()
    except OSError:
        return False
    return True
