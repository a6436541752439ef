"""kubectl apply → operator → mTLS → sidecar → socket → weights → Prometheus → status, and back by demand."""

import json
from datetime import datetime

from dormouse_contract import Residency, Trigger
from dormouse_contract.wire import LastTransitionSnapshot

from .conftest import Loop, Users, eventually


def test_an_idle_model_walks_down_the_ladder_and_a_request_brings_it_back(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 3, "unloadAfterSeconds": 30, "minResidentSeconds": 1})
    loop.until_watched("tiny")
    first = loop.ask()

    on_cpu = loop.until_on(Residency.CPU)
    assert on_cpu.last_transition is not None
    assert (on_cpu.last_transition.trigger, on_cpu.last_transition.outcome) == (Trigger.IDLE, "ok")
    assert on_cpu.last_transition.reason.startswith("idle ")
    assert on_cpu.gpu_memory_released_bytes > 0
    eventually("the status shows it", lambda: loop.status("tiny").get("residency") == "CPU")

    loop.until_on(Residency.UNLOADED)
    assert loop.ask() == first
    loop.until_on(Residency.CPU)
    assert loop.ask() == first


def test_kubectl_shows_what_the_replicas_do(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 3, "minResidentSeconds": 1})
    loop.ask()
    slept = loop.until_on(Residency.CPU).last_transition
    assert slept is not None

    def seen() -> bool:
        """This transition, and not one of before, which the status may still show for a moment."""
        status = loop.status("tiny")
        shown = datetime.fromisoformat(status.get("lastTransition", {}).get("time", "1970-01-01T00:00:00Z"))
        return status.get("residency") == "CPU" and abs(shown.timestamp() - slept.time) < 1.5

    eventually("status shows the transition", seen)
    loop.kubectl("wait", "--for=condition=Ready", "dmm/tiny", "--timeout=20s")
    status = loop.status("tiny")
    assert status["desiredResidency"] == "CPU"
    assert status["replicas"] == {"total": 1, "gpu": 0, "cpu": 1, "unloaded": 0, "unknown": 0, "summary": "0/1"}
    assert status["lastTransition"]["trigger"] == "Idle"
    assert status["gpuMemoryReleased"] != "0"
    header, row = loop.kubectl("get", "dmm", "tiny").splitlines()
    assert header.split()[:6] == ["NAME", "RESIDENCY", "DESIRED", "READY", "MODE", "ON"]
    assert row.split()[:6] == ["tiny", "CPU", "CPU", "True", "Active", "0/1"]

    def events() -> list[str]:
        items = json.loads(loop.kubectl("get", "events", "-o", "json"))["items"]
        return [item["message"] for item in items if item["involvedObject"]["name"] == "tiny"]

    eventually("an Event tells of the transition", lambda: any("GPU" in text and "CPU" in text for text in events()))


def test_residency_set_by_hand_wakes_and_offloads(loop: Loop) -> None:
    loop.apply("tiny", residency="GPU")
    loop.until_on(Residency.GPU)
    loop.apply("tiny", residency="Unloaded", policy={"minResidentSeconds": 0})
    loop.until_on(Residency.UNLOADED)


def test_no_request_fails_while_the_model_is_sent_up_and_down(loop: Loop, users: Users) -> None:
    """Demand and orders against each other: each order is either carried out while idle or refused."""
    for residency in (Residency.UNLOADED, Residency.CPU, Residency.GPU, Residency.UNLOADED, Residency.CPU):
        since = loop.snapshot().last_transition
        loop.apply("tiny", residency=residency, policy={"minResidentSeconds": 0})
        if residency is not Residency.GPU:  # where the users keep it anyway
            eventually(f"ordered to {residency}", lambda to=residency, since=since: _ordered(loop, to, since))
        users.until_asked(3)


def _ordered(loop: Loop, to: Residency, since: LastTransitionSnapshot | None) -> bool:
    last = loop.snapshot().last_transition
    return last is not None and last != since and (last.to, last.trigger) == (to, Trigger.MANUAL)


def test_changed_weights_stay_in_host_ram(loop: Loop) -> None:
    loop.ask()
    loop.http.post(f"{loop.replica.url}/merge").raise_for_status()
    changed = loop.ask()
    loop.apply("tiny", policy={"offloadAfterSeconds": 2, "unloadAfterSeconds": 4, "minResidentSeconds": 0})
    eventually(
        "Ready says that unloading would lose changes",
        lambda: loop.condition("tiny", "Ready").get("reason") == "ChangedWeights",
    )
    assert loop.until_on(Residency.CPU).dirty
    assert loop.ask() == changed
    # Put it back for the tests that follow: another process, the same pod.
    loop.replica.server.stop()
    loop.replica.server.start()
    loop.stage.wait_until_ready()
