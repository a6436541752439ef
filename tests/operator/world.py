"""What the integration tests stand on: a namespace, a Prometheus, the operator as a process, and fake pods."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dormouse_operator.keys.store import SECRET_NAME
from dormouse_operator.keys.trust import CONFIG_MAP_NAME

from localcluster.controlplane import ControlPlane
from localcluster.errors import ApiRefused
from localcluster.pods import register_pod, remove_pod
from localcluster.ports import reserve_port
from localcluster.prometheus import Prometheus, Target
from tests.waiting import eventually

from .fake_pod import FakeModel, FakePod

RBAC = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
OPERATOR_NAMESPACE = "dormouse-system"
SIDECAR: dict[str, Any] = {
    "initContainers": [{"name": "dormouse-sidecar", "image": "localhost/sidecar", "restartPolicy": "Always"}]
}


def always(what: str, check: Callable[[], Any], for_seconds: float) -> None:
    """`check` stays truthy; for what must not happen, where only time can tell."""
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        assert check(), what
        time.sleep(0.1)


class OperatorProcess:
    """The real command in a process of its own, under the RBAC of `deploy/rbac.yaml`."""

    def __init__(
        self,
        kubeconfig: Path,
        prometheus_url: str,
        log: Path,
        namespaces: str = "",
        flags: Sequence[str] = (),
        program: Sequence[str] = ("-m", "dormouse_operator.cli"),
    ) -> None:
        """`program`: what Python runs."""
        self.metrics_port = reserve_port()
        self._log = log
        self._command = [
            sys.executable,
            *program,
            "run",
            f"--kubeconfig={kubeconfig}",
            f"--prometheus-url={prometheus_url}",
            "--scrape-interval=1",
            "--tick=1",
            f"--operator-namespace={OPERATOR_NAMESPACE}",
            "--metrics-host=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            f"--namespaces={namespaces}",
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        """As a node that loses power."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        return self._end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def _end(self, with_signal: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(with_signal)
        return process.wait(timeout=30)


class World:
    def __init__(
        self, control_plane: ControlPlane, namespace: str, prometheus: Prometheus, operator: OperatorProcess
    ) -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.prometheus = prometheus
        self.operator = operator
        self.pods: dict[str, FakePod] = {}
        self._targets: dict[str, Target] = {}

    def add_pod(self, name: str, models: dict[str, FakeModel], app: str | None = None, sidecar: bool = True) -> FakePod:
        """A pod that is scraped and, as soon as the operator has published its certificate, takes orders."""
        pod = FakePod(
            f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 2}", models
        )
        self.pods[name] = pod
        pod.uid = register_pod(
            self.control_plane,
            namespace=self.namespace,
            name=name,
            ip=pod.ip,
            labels={"app": app or name},
            spec=SIDECAR if sidecar else None,
        )
        labels = {"namespace": self.namespace, "pod": name}
        self._targets[name] = Target(f"{pod.ip}:9743", labels)
        self.prometheus.set_targets(self.namespace, self._targets.values())
        return pod

    def remove_pod(self, name: str) -> None:
        remove_pod(self.control_plane, namespace=self.namespace, name=name)
        self.pods.pop(name).close()

    def certificate(self) -> str:
        """The operator's, as published in this namespace."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{CONFIG_MAP_NAME}"

        def read() -> str:
            found = self.get(path)
            return str(found["data"][f"{OPERATOR_NAMESPACE}.crt"]) if found else ""

        return str(eventually("the trust is published", read))

    def trust(self) -> None:
        """What the kubelet does with the ConfigMap, for all pods."""
        certificate = self.certificate()
        for pod in self.pods.values():
            pod.trust(certificate)

    def apply(self, name: str, app: str | None = None, **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": app or name}}, **spec},
        }
        import json

        self.control_plane.kubectl("apply", "-f", "-", input=json.dumps(body), namespace=self.namespace)
        return self.managed_model(name)

    def delete(self, name: str) -> None:
        self.control_plane.kubectl("delete", "managedmodel", name, "--timeout=10s", namespace=self.namespace)

    def managed_model(self, name: str) -> dict[str, Any]:
        path = f"/apis/dormouse.dev/v1alpha1/namespaces/{self.namespace}/managedmodels/{name}"
        return self.control_plane.api.request("GET", path)

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason, empty before the first visit."""
        for each in self.managed_model(name).get("status", {}).get("conditions", []):
            if each["type"] == kind:
                return each["status"], each["reason"]
        return "", ""

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.managed_model(name).get("status", {}))

    def wait_for(self, name: str, kind: str, status: str, reason: str, deadline_seconds: float = 30) -> None:
        deadline = time.monotonic() + deadline_seconds
        while (found := self.condition(name, kind)) != (status, reason):
            assert time.monotonic() < deadline, f"{name} {kind} is {found}; log:\n{self.operator.log[-4000:]}"
            time.sleep(0.1)

    def get(self, path: str) -> dict[str, Any] | None:
        try:
            return self.control_plane.api.request("GET", path)
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise

    def close(self) -> None:
        self.operator.kill()
        for pod in self.pods.values():
            pod.close()
        self.prometheus.set_targets(self.namespace, [])


def operator_kubeconfig(control_plane: ControlPlane) -> Path:
    control_plane.kubectl("apply", "-f", str(RBAC))
    return control_plane.service_account_kubeconfig(OPERATOR_NAMESPACE, "dormouse-operator")


__all__ = [
    "OPERATOR_NAMESPACE",
    "SECRET_NAME",
    "OperatorProcess",
    "World",
    "always",
    "eventually",
    "operator_kubeconfig",
]
