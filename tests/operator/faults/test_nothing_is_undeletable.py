"""Whatever we touched can be deleted at once, with the operator alive or dead."""

from __future__ import annotations

import time
from typing import Any

import pytest

from localcluster.crd import CRD_NAME, apply_crd
from tests.waiting import eventually

from ..fake_pod import FakeModel
from ..world import OPERATOR_NAMESPACE, World
from .conftest import Faulty

SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}


def settled(world: World) -> None:
    world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")


def everything_of(world: World) -> list[dict[str, Any]]:
    """What the operator wrote, and what it looked at."""
    core, base = f"/api/v1/namespaces/{world.namespace}", f"/namespaces/{world.namespace}"
    paths = [
        f"{core}/pods",
        f"{core}/configmaps",
        f"/apis/dormouse.dev/v1alpha1{base}/managedmodels",
        f"/apis/events.k8s.io/v1{base}/events",
        f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets",
        f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases",
    ]
    return [item for path in paths for item in (world.get(path) or {}).get("items", [])]


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
def test_managed_model_pod_and_namespace_go_at_once(faulty: Faulty, alive: bool) -> None:
    world = faulty.world
    settled(world)
    if not alive:
        world.operator.kill()
    things = everything_of(world)
    assert len(things) >= 4
    for thing in things:
        assert not thing["metadata"].get("finalizers"), thing
        assert not thing["metadata"].get("ownerReferences"), thing
    api, namespaced = world.control_plane.api, f"/namespaces/{world.namespace}"
    for path in (
        f"/apis/dormouse.dev/v1alpha1{namespaced}/managedmodels/tts",
        f"/api/v1{namespaced}/pods/tts-0",
        f"/api/v1{namespaced}/configmaps/dormouse-operator-trust",
    ):
        api.request("DELETE", path, {"gracePeriodSeconds": 0})
        assert world.get(path) is None, path
    # Of a namespace only its own finalizer is left, which the controller takes away when it is empty.
    deleted = api.request("DELETE", f"/api/v1{namespaced}")
    assert deleted["spec"]["finalizers"] == ["kubernetes"]
    assert not deleted["metadata"].get("finalizers")


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
def test_the_crd_goes_at_once_and_an_operator_that_lives_comes_to_terms_with_it(faulty: Faulty, alive: bool) -> None:
    world = faulty.world
    settled(world)
    if not alive:
        world.operator.kill()
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD_NAME}"
    try:
        world.control_plane.api.request("DELETE", path)
        eventually("it is gone", lambda: world.get(path) is None, deadline_seconds=20)
    finally:
        apply_crd(world.control_plane)
    if alive:
        model = world.pods["tts-0"].models["tts"]
        model.move("GPU", "Demand", "")
        model.idle_since = time.time() - 100
        world.apply("anew", app="tts", model="tts", policy=SLEEPY)
        eventually("a ManagedModel made after it is obeyed", lambda: model.residency == "CPU")
