"""The loop on the real API server and the real Prometheus, under the RBAC that we ship."""

from __future__ import annotations

import time

from tests.waiting import eventually

from .fake_pod import FakeModel
from .world import World, always


def test_an_idle_model_is_ordered_off_the_gpu_and_the_status_tells_of_it(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100)
    pod = world.add_pod("tts-0", {"tts": model}, app="tts")
    applied = world.apply("tts", model="tts", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.operator.start()
    world.trust()

    eventually("an order arrives", lambda: pod.orders)
    order = pod.orders[0].body
    assert order["desired"] == "CPU"
    assert order["trigger"] == "Idle"
    assert order["ifIdleForSeconds"] == 30
    assert order["podUID"] == pod.uid
    assert order["order"]["owner"] == applied["metadata"]["uid"]
    assert order["order"]["generation"] == 1
    assert order["order"]["term"] == 0

    world.wait_for("tts", "Ready", "True", "AsDesired")
    status = eventually(
        "the status is complete", lambda: s if (s := world.status("tts")).get("residency") == "CPU" else None
    )
    assert status["desiredResidency"] == "CPU"
    assert status["replicas"] == {"total": 1, "gpu": 0, "cpu": 1, "unloaded": 0, "unknown": 0, "summary": "0/1"}
    assert status["gpuMemoryReleased"] == "512Mi"
    assert status["lastTransition"]["to"] == "CPU"
    assert "idle" in status["lastTransition"]["message"]
    assert world.condition("tts", "ReplicasReachable")[0] == "True"
    assert world.condition("tts", "IdleSignalAvailable")[0] == "True"
    always("the order is not repeated once it is done", lambda: len(pod.orders) == 1, for_seconds=3)


def test_a_manual_gpu_order_is_sent_and_pins(world: World) -> None:
    pod = world.add_pod("tts-0", {"tts": FakeModel(residency="Unloaded")}, app="tts")
    world.apply("tts", model="tts", residency="GPU", policy={"offloadAfterSeconds": 0})
    world.operator.start()
    world.trust()
    order = eventually("an order arrives", lambda: pod.orders)[0].body
    assert (order["desired"], order["trigger"], order["ifIdleForSeconds"]) == ("GPU", "Manual", None)
    world.wait_for("tts", "Ready", "True", "AsDesired")
    loan = eventually("a policy is lent", lambda: pod.loans)[0].body
    assert loan["pinned"] is True
    assert loan["keepAliveSeconds"] == 0
    assert loan["validForSeconds"] == 3600


def test_a_policy_that_was_lent_is_withdrawn_when_paused_and_lent_again_when_active(world: World) -> None:
    pod = world.add_pod("tts-0", {"tts": FakeModel()}, app="tts")
    world.apply("tts", model="tts", policy={"offloadAfterSeconds": 0})
    world.operator.start()
    world.trust()
    eventually("a policy is lent", lambda: [c for c in pod.loans if c.body["validForSeconds"] == 3600])
    world.apply("tts", model="tts", mode="Paused", policy={"offloadAfterSeconds": 0})
    eventually("it is withdrawn", lambda: pod.loans[-1].body["validForSeconds"] == 0)
    world.wait_for("tts", "Ready", "True", "Paused")
    world.apply("tts", model="tts", policy={"offloadAfterSeconds": 0})
    eventually("it is lent again", lambda: pod.loans[-1].body["validForSeconds"] == 3600)
    world.delete("tts")
    eventually("it is withdrawn", lambda: pod.loans[-1].body["validForSeconds"] == 0)


def test_observe_decides_and_sends_no_order(world: World) -> None:
    pod = world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", mode="Observe", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "False", "Observing")
    assert world.status("tts")["desiredResidency"] == "CPU"
    always("nothing is sent", lambda: not pod.orders and not pod.loans, for_seconds=3)


def test_a_pod_without_its_own_model_or_sidecar_gets_a_condition_and_the_others_go_on(world: World) -> None:
    idle = time.time() - 100
    policy = {"offloadAfterSeconds": 30, "minResidentSeconds": 0}
    good = world.add_pod("good-0", {"tts": FakeModel(idle_since=idle)}, app="good")
    world.add_pod("other-0", {"asr": FakeModel(), "vad": FakeModel()}, app="other")
    world.add_pod("bare-0", {}, app="bare", sidecar=False)
    world.apply("good", model="tts", policy=policy)
    world.apply("other", model="tts", policy=policy)
    world.apply("bare", policy=policy)
    world.apply("nothing", policy=policy)
    world.operator.start()
    world.wait_for("nothing", "Ready", "False", "NoReplicas")
    world.wait_for("bare", "Ready", "False", "NoSidecar")
    world.wait_for("good", "Ready", "False", "Untrusted")
    world.trust()
    world.wait_for("other", "Ready", "False", "UnknownModel")
    world.wait_for("good", "Ready", "True", "AsDesired")
    assert good.models["tts"].residency == "CPU"
    messages = {
        name: next(c["message"] for c in world.status(name)["conditions"] if c["type"] == "Ready")
        for name in ("other", "bare")
    }
    assert "asr, vad" in messages["other"]
    assert "bare-0" in messages["bare"]


def test_the_one_that_names_the_model_beats_the_one_that_takes_the_pod(world: World) -> None:
    idle = time.time() - 100
    models = {"tts": FakeModel(idle_since=idle), "asr": FakeModel(idle_since=idle)}
    pod = world.add_pod("pod-0", models, app="pod")
    whole = world.apply("whole", app="pod", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.apply("named", app="pod", model="tts")
    world.operator.start()
    world.trust()
    world.wait_for("whole", "Ready", "False", "Conflict")
    world.wait_for("named", "Ready", "True", "AsDesired")
    order = eventually("its own model is ordered", lambda: pod.orders)[0]
    assert order.path.endswith("/models/asr/residency")
    assert order.body["order"]["owner"] == whole["metadata"]["uid"]
    always("the other is left alone", lambda: models["tts"].residency == "GPU", for_seconds=2)


def test_a_deleted_and_created_managed_model_works_at_once(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100)
    pod = world.add_pod("tts-0", {"tts": model}, app="tts")
    policy = {"offloadAfterSeconds": 30, "minResidentSeconds": 0}
    world.apply("tts", model="tts", policy=policy)
    world.apply("tts", model="tts", policy=policy | {"unloadAfterSeconds": 7200})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    assert pod.orders[-1].body["order"]["generation"] == 2
    world.delete("tts")
    made = world.apply("tts", model="tts", residency="Unloaded", policy=policy)
    eventually("it is ordered anew", lambda: model.residency == "Unloaded")
    stamp = pod.orders[-1].body["order"]
    assert (stamp["owner"], stamp["generation"]) == (made["metadata"]["uid"], 1)


def test_changed_weights_are_left_in_host_ram(world: World) -> None:
    model = FakeModel(residency="CPU", idle_since=time.time() - 100, refuse_with=(409, "Dirty"))
    pod = world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", policy={"offloadAfterSeconds": 10, "unloadAfterSeconds": 30})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "ChangedWeights")
    always("it is not asked again", lambda: len(pod.orders) == 1, for_seconds=3)
