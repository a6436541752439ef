"""The loop on the real API server and the real Prometheus, under the RBAC that we ship."""

from __future__ import annotations

import time

from .fake_pod import FakeModel
from .world import World, always, eventually


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
