"""With `watch.namespaces` the operator works there and touches nothing outside.

It comes last: the release for the whole cluster has been uninstalled by then.
"""

from __future__ import annotations

import json

import pytest

from . import manifests
from .conftest import INSTALL
from .stage import CHART, Stage
from .test_rights import allowed
from .traffic import ask

OURS, THEIRS, SYSTEM = "team-a", "team-b", "team-a-dormouse"


@pytest.fixture(scope="module")
def teams(stage: Stage) -> None:
    """Two namespaces that are alike, of which only one is watched."""
    for namespace in (OURS, THEIRS, SYSTEM):
        stage.namespace(namespace)
    stage.helm(
        "install", "dormouse", str(CHART), "--namespace", SYSTEM, "--wait", "--timeout=120s", *INSTALL,
        # The CRD belongs to the release that installed it first, and stayed when that one went.
        f"--set=crds.install=false,watch.namespaces={{{OURS}}}",
    )  # fmt: skip
    for namespace in (OURS, THEIRS):
        stage.apply(*manifests.model_server("embeddings"), namespace=namespace)
        policy = manifests.managed_model("embeddings", offloadAfterSeconds=5, minResidentSeconds=1)
        stage.apply(policy, namespace=namespace)
    for namespace in (OURS, THEIRS):
        stage.rolled_out("deployment/embeddings", namespace)
        assert ask(stage.address("embeddings", namespace)).failure == ""


@pytest.mark.usefixtures("teams")
def test_the_model_of_the_watched_namespace_sleeps(stage: Stage) -> None:
    stage.until("asleep", lambda: stage.status(OURS, "embeddings").get("residency") == "CPU", seconds=120)


@pytest.mark.usefixtures("teams")
def test_the_namespace_beside_it_is_untouched(stage: Stage) -> None:
    assert stage.status(THEIRS, "embeddings") == {}
    assert stage.get("configmaps", "dormouse-operator-trust", THEIRS) == {}
    events = json.loads(stage.kubectl("get", "events.events.k8s.io", "-o", "json", namespace=THEIRS))["items"]
    assert [event for event in events if "dormouse" in str(event.get("reportingController"))] == []
    assert stage.on_gpu(THEIRS, "app=embeddings") == 1


@pytest.mark.usefixtures("teams")
def test_it_has_rights_in_its_namespaces_only(stage: Stage) -> None:
    operator = f"{SYSTEM}:dormouse"
    assert allowed(stage, operator, "list", "pods", OURS)
    for verb, resource, namespace in (
        ("list", "pods", THEIRS),
        ("list", "managedmodels.dormouse.dev", THEIRS),
        ("patch", "configmaps/dormouse-operator-trust", THEIRS),
        ("list", "pods", ""),
        ("list", "namespaces", ""),
        ("list", "customresourcedefinitions.apiextensions.k8s.io", ""),
    ):
        assert not allowed(stage, operator, verb, resource, namespace), (verb, resource, namespace)
    for kind in ("clusterroles", "clusterrolebindings"):
        assert "dormouse" not in stage.kubectl("get", kind, "-o", "name")
