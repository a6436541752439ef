"""The snippet, the library and the webhook put the same into a pod, so one page of documentation is true of all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dormouse_operator.cluster.pods import has_sidecar
from dormouse_operator.webhook.injection import inject
from dormouse_operator.webhook.settings import SidecarSettings
from dormouse_sidecar import cli as sidecar_cli

from localcluster import ControlPlane
from tests.webhook.pods import patched, pod

from .helm import ROOT, HelmFailed, Object, container, kinds, template

RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}}
EXAMPLE = ROOT / "examples" / "kubernetes" / "model-server.yaml"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A chart that depends on the library, vendored as `helm dependency build` does."""
    chart = shutil.copytree(Path(__file__).parent / "using_the_library", tmp_path / "my-model")
    shutil.copytree(ROOT / "charts" / "dormouse-sidecar", chart / "charts" / "dormouse-sidecar")
    return chart


def by_webhook(**settings: Any) -> Object:
    body = pod(securityContext={"fsGroup": 10001})
    done = inject(body, SidecarSettings("sidecar:1", **({"resources": RESOURCES} | settings)))
    return patched(body, done.patch)


def test_library_and_webhook_agree(library: Path) -> None:
    (rendered,) = kinds(template(chart=library), "Pod")
    assert rendered["spec"] == by_webhook()["spec"]
    assert rendered["metadata"]["labels"].items() <= by_webhook()["metadata"]["labels"].items()


def test_they_agree_on_what_can_be_set(library: Path) -> None:
    resources = {"limits": {"memory": "1Gi"}}
    given = {"image": "sidecar:1", "controlPort": 8443, "pullPolicy": "Always", "resources": resources}
    (rendered,) = kinds(template({"dormouse": given}, chart=library), "Pod")
    expected = by_webhook(control_port=8443, pull_policy="Always", resources=resources)
    assert rendered["spec"]["initContainers"] == expected["spec"]["initContainers"]


def renamed(body: Object) -> Object:
    """Its sidecar has another name, as an image policy or a chart of somebody may want it."""
    changed: Object = json.loads(json.dumps(body).replace('"name": "dormouse-sidecar"', '"name": "sleeper"'))
    assert changed != body
    return changed


def test_each_way_is_known_as_a_sidecar_under_whatever_name(library: Path) -> None:
    (of_library,) = kinds(template(chart=library), "Pod")
    (deployment,) = kinds(list(yaml.safe_load_all(EXAMPLE.read_text())), "Deployment")
    for body in (by_webhook(), of_library, deployment["spec"]["template"]):
        assert has_sidecar(body)
        assert has_sidecar(renamed(body))


def test_the_library_asks_for_an_image(library: Path) -> None:
    with pytest.raises(HelmFailed, match="name the image of the sidecar"):
        template({"dormouse": {"image": ""}}, chart=library)


def test_the_pod_of_the_library_is_accepted(library: Path, control_plane: ControlPlane, namespace: str) -> None:
    (rendered,) = kinds(template(chart=library), "Pod")
    manifest = json.dumps(rendered)
    control_plane.kubectl("create", "--dry-run=server", "--filename", "-", input=manifest, namespace=namespace)


def test_the_snippet_has_what_the_webhook_adds() -> None:
    objects = list(yaml.safe_load_all(EXAMPLE.read_text()))
    written_out, injected = kinds(objects, "Deployment")[0]["spec"]["template"], by_webhook()["spec"]
    assert has_sidecar(written_out)
    spec = written_out["spec"]
    (written,), (added,) = spec["initContainers"], injected["initContainers"]
    for key in ("name", "restartPolicy", "livenessProbe", "volumeMounts", "resources"):
        assert written[key] == added[key], key
    assert [(p["name"], p["containerPort"]) for p in written["ports"]] == [
        (p["name"], p["containerPort"]) for p in added["ports"]
    ]
    assert all(volume in spec["volumes"] for volume in injected["volumes"])
    model = container(objects, "model")
    assert injected["containers"][0]["env"][0] in model["env"]
    assert injected["containers"][0]["volumeMounts"][0] in model["volumeMounts"]


def test_what_the_sidecar_is_told_it_can_be_told() -> None:
    given = {e["name"] for e in by_webhook()["spec"]["initContainers"][0]["env"]}
    known = " ".join(action.help or "" for action in sidecar_cli._parser({})._actions)
    assert all(name in known for name in given)
