"""The operator with the arguments and under the rights that the chart gives it: they suffice, everywhere and listed."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from localcluster import ControlPlane
from localcluster.errors import ApiRefused
from localcluster.ports import reserve_port
from localcluster.process import Process

from .helm import NAMESPACE, Object, container, kinds, template

MODELS = "chart-models"
ACCOUNT = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Installed:
    """What the chart renders, as far as there is no node to run it: the account, its roles, and the command."""

    def __init__(self, control_plane: ControlPlane, values: Object, directory: Path) -> None:
        self._api = control_plane.api
        objects = template(values)
        granted = [found for kind in ACCOUNT for found in kinds(objects, kind)]
        self.manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": granted})
        control_plane.kubectl("apply", "--filename", "-", input=self.manifest)
        port = reserve_port()
        self.url = f"http://127.0.0.1:{port}"
        # A process on this machine is told its cluster and its ports; all else is as in the pod.
        kubeconfig = control_plane.service_account_kubeconfig(NAMESPACE, "dormouse")
        here = [f"--kubeconfig={kubeconfig}", "--metrics-host=127.0.0.1", f"--metrics-port={port}", "--tick=1"]
        given = [a for a in container(objects)["args"] if not a.startswith(("--metrics-port", "--tick"))]
        self.process = Process(
            "operator", [sys.executable, "-m", "dormouse_operator.cli", "run", *given, *here], directory=directory
        )

    def get(self, path: str) -> Object | None:
        try:
            return self._api.request("GET", path)
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(params=["cluster-wide", "listed"])
def installed(request: pytest.FixtureRequest, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Installed]:
    for namespace in (NAMESPACE, MODELS):
        control_plane.api.create_namespace(namespace)
    values: dict[str, Any] = {"prometheus": {"url": "http://127.0.0.1:1"}}
    if request.param == "listed":
        values["watch"] = {"namespaces": [MODELS]}
    found = Installed(control_plane, values, tmp_path)
    with found.process:
        yield found
    control_plane.kubectl("delete", "--filename", "-", input=found.manifest)
    for namespace in (NAMESPACE, MODELS):
        control_plane.api.remove_namespace(namespace)


def test_it_leads_makes_its_key_publishes_it_and_writes_status(
    installed: Installed, control_plane: ControlPlane
) -> None:
    managed = {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"name": "tts"},
        "spec": {"selector": {"matchLabels": {"app": "tts"}}},
    }
    control_plane.kubectl("apply", "--filename", "-", input=json.dumps(managed), namespace=MODELS)
    installed.process.start()

    def conditions() -> Any:
        found = installed.get(f"/apis/dormouse.dev/v1alpha1/namespaces/{MODELS}/managedmodels/tts") or {}
        return found.get("status", {}).get("conditions")

    installed.process.wait_until(lambda: bool(conditions()), deadline_seconds=90, what="writing a status")
    assert {condition["reason"] for condition in conditions() if condition["type"] == "Ready"} == {"NoReplicas"}
    lease = installed.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/dormouse")
    assert lease is not None
    assert lease["spec"]["holderIdentity"]

    def trust() -> Any:
        return installed.get(f"/api/v1/namespaces/{MODELS}/configmaps/dormouse-operator-trust")

    installed.process.wait_until(lambda: bool(trust()), deadline_seconds=60, what="publishing its certificate")
    assert f"{NAMESPACE}.crt" in trust()["data"]
    assert installed.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/dormouse-operator-key")
    assert installed.healthy()
    log = installed.process.log.read_text()
    # The namespaces of other tests, which are being deleted, take nothing new from anybody.
    assert not [line for line in log.splitlines() if "forbidden" in line.lower() and "terminated" not in line]
    # After a comma it is the milliseconds of a time.
    assert not re.search(r"(?<!,)\b403\b", log)
