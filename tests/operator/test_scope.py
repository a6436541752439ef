"""An operator that is responsible for a part: listed namespaces with Roles alone, or a shard by labels."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

from localcluster.controlplane import ControlPlane
from localcluster.pods import register_pod
from localcluster.prometheus import Prometheus
from tests.waiting import eventually

from .fake_pod import FakeModel
from .world import RBAC, SIDECAR, OperatorProcess, World, always

POLICY = {"offloadAfterSeconds": 30, "minResidentSeconds": 0}
NAMESPACED = RBAC.parent / "rbac-namespaced.yaml"


def test_with_roles_in_listed_namespaces_it_works_there_and_touches_nothing_else(
    control_plane: ControlPlane, namespace: str, prometheus: Prometheus, tmp_path: Path
) -> None:
    second, outside = (f"{namespace}-{suffix}" for suffix in ("second", "outside"))
    own = f"listed-{secrets.token_hex(3)}"
    for name in (second, outside):
        control_plane.api.create_namespace(name)
    for watched in (namespace, second):
        text = NAMESPACED.read_text().replace("dormouse-system", own).replace("speech", watched)
        control_plane.kubectl("apply", "-f", "-", input=text)
    kubeconfig = control_plane.service_account_kubeconfig(own, "dormouse-operator")
    operator = OperatorProcess(
        kubeconfig,
        prometheus.url,
        tmp_path / "operator.log",
        namespaces=f"{namespace},{second}",
        flags=[f"--operator-namespace={own}", "--lease=on"],
    )
    worlds = [World(control_plane, each, prometheus, operator) for each in (namespace, second, outside)]
    try:
        for world in worlds[:2]:
            world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
        register_pod(
            control_plane, namespace=outside, name="tts-0", ip="127.0.0.9", labels={"app": "tts"}, spec=SIDECAR
        )
        for world in worlds:
            world.apply("tts", model="tts", policy=POLICY)
        operator.start()
        for world in worlds[:2]:
            path = f"/api/v1/namespaces/{world.namespace}/configmaps/dormouse-operator-trust"

            def published(path: str = path, world: World = world) -> str:
                return str((world.get(path) or {}).get("data", {}).get(f"{own}.crt", ""))

            certificate = eventually("the trust is published", published)
            world.pods["tts-0"].trust(certificate)
        for world in worlds[:2]:
            world.wait_for("tts", "Ready", "True", "AsDesired")
            assert world.pods["tts-0"].models["tts"].residency == "CPU"
        assert worlds[2].status("tts") == {}
        assert worlds[2].get(f"/api/v1/namespaces/{outside}/configmaps/dormouse-operator-trust") is None
        # After a comma it is the milliseconds of a time.
        assert not re.search(r"(?<!,)\b403\b", operator.log)
    finally:
        for world in worlds:
            world.close()
        for name in (second, outside, own):
            control_plane.api.remove_namespace(name)


def test_two_shards_order_each_its_own_and_together_all(world: World, kubeconfig: Path, tmp_path: Path) -> None:
    pods = {}
    for name, shard in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        pods[name] = world.add_pod(f"{name}-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app=name)
        world.apply(name, model="tts", policy=POLICY)
        world.control_plane.kubectl("label", "managedmodel", name, f"shard={shard}", namespace=world.namespace)
    shards = {
        shard: OperatorProcess(
            kubeconfig,
            world.prometheus.url,
            tmp_path / f"{shard}.log",
            namespaces=world.namespace,
            flags=[
                f"--managed-model-selector=shard={shard}",
                "--lease=on",
                f"--lease-name=shard-{shard}-{world.namespace}",
            ],
        )
        for shard in ("a", "b")
    }
    try:
        shards["a"].start()
        world.trust()
        for name in ("a1", "a2"):
            world.wait_for(name, "Ready", "True", "AsDesired")
        always(
            "the other shard's is left alone", lambda: not pods["b1"].calls and not world.status("b1"), for_seconds=3
        )
        shards["b"].start()
        world.wait_for("b1", "Ready", "True", "AsDesired")
        assert [pod.models["tts"].residency for pod in pods.values()] == ["CPU"] * 3
        issuers = {name: {call.body["order"]["issuer"] for call in pod.orders} for name, pod in pods.items()}
        assert issuers["a1"] == issuers["a2"] != issuers["b1"], "each under the Lease of its own"
        assert all(len(each) == 1 for each in issuers.values())
        world.control_plane.kubectl("label", "managedmodel", "a2", "shard=b", "--overwrite", namespace=world.namespace)
        pods["a2"].models["tts"].move("GPU", "Demand", "")
        pods["a2"].models["tts"].idle_since = time.time() - 100
        eventually(
            "it is ordered by its new shard", lambda: pods["a2"].orders[-1].body["order"]["issuer"] in issuers["b1"]
        )
    finally:
        for operator in shards.values():
            operator.kill()


def test_a_selector_that_the_api_server_can_not_read_ends_it_with_a_sentence(
    control_plane: ControlPlane, namespace: str, kubeconfig: Path
) -> None:
    command = (sys.executable, "-m", "dormouse_operator.cli", "run", f"--kubeconfig={kubeconfig}")
    flags = ("--managed-model-selector=team speech", f"--namespaces={namespace}", "--operator-namespace=default")
    ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    sentence = ended.stderr.splitlines()[-1]
    assert sentence.startswith("dormouse-operator: --managed-model-selector is 'team speech', which the API server")
    assert "for example team=speech" in sentence
    assert "Traceback" not in ended.stderr
