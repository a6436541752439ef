"""What the operator, Prometheus or the user may do in the middle, and what must hold all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from localcluster.controlplane import ControlPlane
from localcluster.prometheus import Prometheus
from localcluster.workspace import Workspace
from tests.waiting import eventually

from .fake_pod import FakeModel
from .world import (
    OPERATOR_NAMESPACE,
    SECRET_NAME,
    OperatorProcess,
    World,
    always,
)

SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}


def test_an_operator_that_is_killed_and_restarted_comes_to_the_same_end(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100)
    pod = world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    eventually("an order arrives", lambda: pod.orders)
    world.operator.kill()
    issuer = pod.orders[0].body["order"]["issuer"]
    model.move("GPU", "Demand", "")
    model.idle_since = time.time() - 100
    world.operator.start()
    eventually("it is ordered again", lambda: model.residency == "CPU")
    world.wait_for("tts", "Ready", "True", "AsDesired")
    assert pod.orders[-1].body["order"]["issuer"] != issuer, "the issuer is the process"
    assert world.operator.terminate() == 0


def test_deleting_works_at_once_with_the_operator_dead_and_leaves_no_trace(world: World) -> None:
    world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    world.operator.kill()
    pod = world.get(f"/api/v1/namespaces/{world.namespace}/pods/tts-0")
    assert pod is not None
    for body in (world.managed_model("tts"), pod):
        metadata = body["metadata"]
        assert not metadata.get("finalizers")
        assert all("kopf" not in key and "dormouse" not in key for key in metadata.get("annotations", {}))
    assert "kopf" not in world.status("tts")
    world.delete("tts")
    assert world.get(f"/apis/dormouse.dev/v1alpha1/namespaces/{world.namespace}/managedmodels/tts") is None


def test_an_unchanged_world_is_not_written_to(world: World) -> None:
    world.add_pod("tts-0", {"tts": FakeModel(residency="CPU", idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    world.wait_for("tts", "ReplicasReachable", "True", "Reachable")

    def settled() -> bool:
        before = world.managed_model("tts")["metadata"]["resourceVersion"]
        time.sleep(2.5)
        return bool(world.managed_model("tts")["metadata"]["resourceVersion"] == before)

    eventually("it settles", settled)
    # Longer than the ten seconds that a write may be held back.
    version = world.managed_model("tts")["metadata"]["resourceVersion"]
    fields = world.managed_model("tts")["metadata"]["managedFields"]
    time.sleep(12)
    after = world.managed_model("tts")["metadata"]
    assert (after["resourceVersion"], after["managedFields"]) == (version, fields)


def test_the_trust_is_published_again_when_someone_deletes_it(world: World) -> None:
    world.apply("tts")
    world.operator.start()
    certificate = world.certificate()
    assert "BEGIN CERTIFICATE" in certificate
    assert "PRIVATE KEY" not in certificate
    world.operator.kill()
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/dormouse-operator-trust"
    world.control_plane.api.request("DELETE", path)
    world.operator.start()
    assert world.certificate() == certificate, "the key outlives the process"


def test_the_operator_may_read_no_secret_but_its_own(
    world: World, control_plane: ControlPlane, kubeconfig: Path
) -> None:
    account = f"system:serviceaccount:{OPERATOR_NAMESPACE}:dormouse-operator"

    def may(verb: str, what: str, namespace: str) -> bool:
        try:
            answer = control_plane.kubectl("auth", "can-i", verb, what, "--as", account, namespace=namespace)
        except Exception as error:
            return "yes" in str(error)
        return answer.strip() == "yes"

    assert may("get", f"secrets/{SECRET_NAME}", OPERATOR_NAMESPACE)
    assert not may("list", "secrets", OPERATOR_NAMESPACE)
    assert not may("get", f"secrets/{SECRET_NAME}", world.namespace)
    assert not may("create", "secrets", world.namespace)
    assert not may("create", "configmaps", world.namespace)
    assert not may("patch", "pods", world.namespace)
    assert not may("update", "managedmodels", world.namespace)


def test_transitions_and_trouble_are_told_in_events_once(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100)
    world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.apply("nothing")
    world.operator.start()
    world.trust()

    def events() -> list[tuple[str, str]]:
        found = world.get(f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events")
        assert found is not None
        return sorted((item["regarding"]["name"], item["reason"]) for item in found["items"])

    eventually("the transition is told", lambda: ("tts", "Offloaded") in events())
    eventually("the trouble is told", lambda: ("nothing", "NoReplicas") in events())
    world.operator.kill()
    world.operator.start()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    always("nothing is told twice", lambda: len(events()) == len(set(events())), for_seconds=2)


@pytest.fixture
def own_prometheus() -> Iterator[Prometheus]:
    """One that a test may stop."""
    workspace = Workspace()
    try:
        with Prometheus(workspace.path, scrape_interval_seconds=1) as running:
            yield running
    finally:
        workspace.remove()


def test_without_prometheus_nothing_is_demoted_and_it_recovers_by_itself(
    control_plane: ControlPlane,
    namespace: str,
    kubeconfig: Path,
    own_prometheus: Prometheus,
    tmp_path: Path,
) -> None:
    operator = OperatorProcess(kubeconfig, own_prometheus.url, tmp_path / "operator.log", namespaces=namespace)
    world = World(control_plane, namespace, own_prometheus, operator)
    try:
        model = FakeModel()
        pod = world.add_pod("tts-0", {"tts": model}, app="tts")
        world.apply("tts", model="tts", policy={"offloadAfterSeconds": 8, "minResidentSeconds": 0})
        operator.start()
        world.trust()
        world.wait_for("tts", "IdleSignalAvailable", "True", "IdleSignalFresh")
        own_prometheus.stop()
        model.idle_since = time.time()
        world.wait_for("tts", "IdleSignalAvailable", "False", "PrometheusUnavailable")
        model.idle_since = time.time() - 100
        sent = len(pod.orders)
        always("nothing is demoted", lambda: len(pod.orders) == sent, for_seconds=4)
        assert world.condition("tts", "Ready")[0] == "Unknown"
        own_prometheus.start()
        world.wait_for("tts", "IdleSignalAvailable", "True", "IdleSignalFresh")
        eventually("it is demoted", lambda: model.residency == "CPU")
    finally:
        world.close()


def test_a_pod_that_is_gone_delays_nobody(world: World) -> None:
    dead = world.add_pod("dead-0", {"tts": FakeModel()}, app="dead")
    model = FakeModel(idle_since=time.time() - 100)
    world.add_pod("tts-0", {"tts": model}, app="tts")
    dead.close()
    world.apply("dead", model="tts", policy=SLEEPY)
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.pods.pop("dead-0")
    world.trust()
    eventually("the other is ordered", lambda: model.residency == "CPU")
    world.wait_for("dead", "ReplicasReachable", "False", "Unreachable")


def test_metrics_and_liveness_are_served(world: World) -> None:
    world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    url = f"http://127.0.0.1:{world.operator.metrics_port}"
    assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok\n"
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    assert 'dormouse_operator_orders_total{desired="CPU",outcome="done"} 1.0' in text
    assert 'dormouse_operator_prometheus_queries_total{outcome="ok"}' in text
    assert "dormouse_operator_leader 1.0" in text
