"""Every manifest of every scenario is taken by the real API server, and its pods by Pod Security `restricted`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dormouse_operator.cluster.pods import has_sidecar
from dormouse_operator.webhook.injection import inject
from dormouse_operator.webhook.settings import SidecarSettings

from localcluster import ControlPlane
from localcluster.errors import KubectlFailed
from tests.webhook.pods import patched

from .helm import NAMESPACE, ROOT, SCENARIOS, Object, kinds, template

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
MODELS = ("speech", "vision")
EXAMPLES = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))


@pytest.fixture(scope="module")
def namespaces(control_plane: ControlPlane) -> Iterator[None]:
    for namespace in (NAMESPACE, *MODELS):
        control_plane.api.create_namespace(namespace, RESTRICTED)
    yield
    for namespace in (NAMESPACE, *MODELS):
        control_plane.api.remove_namespace(namespace)


def dry_run(control_plane: ControlPlane, objects: list[Object], namespace: str | None = None) -> list[str]:
    """As `kubectl apply` of them would be judged; raises KubectlFailed with what the API server says."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    answer = control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename", "-",
        input=manifest, namespace=namespace,
    )  # fmt: skip
    return answer.splitlines()


def pods_of(objects: list[Object]) -> list[Object]:
    """Pod Security refuses pods, and only warns of Deployments: so their pods are asked about themselves."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"of-{found['metadata']['name']}",
                "namespace": found["metadata"].get("namespace"),
                "labels": found["spec"]["template"]["metadata"]["labels"],
            },
            "spec": found["spec"]["template"]["spec"],
        }
        for found in kinds(objects, "Deployment")
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_a_scenario_is_accepted(
    scenario: Path, control_plane: ControlPlane, namespaces: None, foreign_kinds: None
) -> None:
    objects = template(scenario)
    accepted = dry_run(control_plane, objects + pods_of(objects))
    assert len(accepted) == len(objects) + len(pods_of(objects))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted(example: Path, control_plane: ControlPlane, namespaces: None) -> None:
    objects = [found for found in yaml.safe_load_all(example.read_text()) if found]
    accepted = dry_run(control_plane, objects + pods_of(objects), namespace="speech")
    assert len(accepted) == len(objects) + len(pods_of(objects))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_pod_that_was_injected_is_as_restricted_as_before(
    example: Path, control_plane: ControlPlane, namespaces: None
) -> None:
    objects = [found for found in yaml.safe_load_all(example.read_text()) if found]
    pods = [patched(p, inject(p, SidecarSettings("sidecar:1")).patch) for p in pods_of(objects)]
    assert all(has_sidecar(p) for p in pods)
    if pods:
        dry_run(control_plane, pods, namespace="speech")


def test_a_pod_that_is_not_restricted_would_be_refused(control_plane: ControlPlane, namespaces: None) -> None:
    """Or the tests above could not fail."""
    (pod,) = pods_of(template())
    del pod["spec"]["securityContext"]
    with pytest.raises(KubectlFailed, match="violates PodSecurity"):
        dry_run(control_plane, [pod])
