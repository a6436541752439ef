"""`helm install`, `upgrade` and `uninstall` on an API server of their own: what stays is what people rely on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import ControlPlane

from .helm import CHART, NAMESPACE, helm


class Cluster:
    def __init__(self, control_plane: ControlPlane, home: Path) -> None:
        self.kubectl = control_plane.kubectl
        self.api = control_plane.api
        self._environment = {"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(home)}

    def helm(self, *arguments: str | Path) -> str:
        return helm(*arguments, "--namespace", NAMESPACE, environment=self._environment)

    def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json", namespace=namespace))
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ControlPlane(tmp_path_factory.mktemp("install")) as control_plane:
        yield Cluster(control_plane, tmp_path_factory.mktemp("home"))


def test_the_whole_life_of_a_release(cluster: Cluster) -> None:
    notes = cluster.helm("install", "dormouse", CHART, "--create-namespace", "--set", "webhook.enabled=true")
    assert "helm --namespace chart-release test dormouse" in notes
    assert "Kubernetes keeps the GPU allocated" in notes
    cluster.api.wait_for_crd("managedmodels.dormouse.dev")

    cluster.kubectl(
        "apply", "--filename", "-", namespace="default",
        input=json.dumps(
            {
                "apiVersion": "dormouse.dev/v1alpha1",
                "kind": "ManagedModel",
                "metadata": {"name": "tts"},
                "spec": {"selector": {"matchLabels": {"app": "tts"}}},
            }
        ),
    )  # fmt: skip
    live = cluster.get("dmm", "tts", "default")
    certificate = cluster.get("secret", "dormouse-webhook-tls")["data"]
    # The operator's own, which the chart knows nothing of.
    cluster.kubectl("create", "secret", "generic", "dormouse-operator-key", namespace=NAMESPACE)
    cluster.kubectl("annotate", "crd", "managedmodels.dormouse.dev", "from-before=1")

    cluster.helm("upgrade", "dormouse", CHART, "--set", "webhook.enabled=true,replicas=3")
    assert cluster.get("deployment", "dormouse")["spec"]["replicas"] == 3
    assert cluster.get("secret", "dormouse-webhook-tls")["data"] == certificate, "the webhook's key changed"
    assert cluster.get("dmm", "tts", "default") == live
    assert "from-before" in cluster.get("crd", "managedmodels.dormouse.dev")["metadata"]["annotations"]

    cluster.helm("uninstall", "dormouse")
    assert cluster.get("dmm", "tts", "default") == live
    assert cluster.get("secret", "dormouse-operator-key")
    for kind in ("deployment", "service", "serviceaccount", "role", "networkpolicy", "poddisruptionbudget"):
        left = cluster.kubectl("get", kind, "-o", "name", "--selector=app.kubernetes.io/part-of=dormouse",
                               namespace=NAMESPACE)  # fmt: skip
        assert left == "", kind
    for kind in ("clusterrole", "clusterrolebinding", "mutatingwebhookconfiguration"):
        assert cluster.kubectl("get", kind, "-o", "name", "--selector=app.kubernetes.io/part-of=dormouse") == "", kind

    # The CRD that was kept is taken up again by the same release, and by another with Helm's own flag.
    cluster.helm("install", "dormouse", CHART)
    cluster.helm("uninstall", "dormouse")
    cluster.helm("install", "other", CHART, "--take-ownership")
    assert cluster.get("dmm", "tts", "default") == live
