"""Whoever acts no more leaves no loan behind: in the running operator, and after a restart."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from dormouse_contract.timestamps import to_rfc3339_micro

from tests.waiting import eventually

from .fake_pod import FakeModel, FakePod
from .world import World, always

QUICK = {"offloadAfterSeconds": 0}


class Lending:
    """Remembers loans by owner as the model process does, from the calls that a fake pod got."""

    def __init__(self, pod: FakePod) -> None:
        self._pod = pod

    def owners(self, model: str = "tts") -> set[str]:
        lent: dict[str, float] = {}
        for call in self._pod.loans:
            if call.path.split("/")[4] == model:
                lent[call.body["order"]["owner"]] = call.body["validForSeconds"]
        return {owner for owner, seconds in lent.items() if seconds > 0}


def uid(applied: dict[str, Any]) -> str:
    return str(applied["metadata"]["uid"])


@pytest.mark.parametrize("mode", ["Paused", "Observe"])
def test_a_mode_that_does_not_act_withdraws_also_when_it_was_set_while_no_operator_ran(world: World, mode: str) -> None:
    pod = world.add_pod("tts-0", {"tts": FakeModel()}, app="tts")
    lending, owner = Lending(pod), uid(world.apply("tts", model="tts", policy=QUICK))
    world.operator.start()
    world.trust()
    eventually("it is lent", lambda: lending.owners() == {owner})
    world.apply("tts", model="tts", mode=mode, policy=QUICK)
    eventually("it is withdrawn", lambda: not lending.owners())
    world.apply("tts", model="tts", policy=QUICK)
    eventually("it is lent again", lambda: lending.owners() == {owner})
    world.wait_for("tts", "Ready", "True", "AsDesired")

    world.operator.kill()
    world.apply("tts", model="tts", mode=mode, policy=QUICK)
    world.operator.start()
    eventually("the new one takes it back", lambda: not lending.owners())
    sent = len(pod.loans)
    always("once", lambda: len(pod.loans) == sent, for_seconds=3)


def test_the_loser_of_a_conflict_leaves_no_loan_behind_over_a_restart_either(world: World) -> None:
    pod = world.add_pod("pod-0", {"tts": FakeModel()}, app="pod")
    lending, whole = Lending(pod), uid(world.apply("whole", app="pod", policy=QUICK))
    world.operator.start()
    world.trust()
    eventually("it is lent", lambda: lending.owners() == {whole})
    world.wait_for("whole", "Ready", "True", "AsDesired")
    world.operator.kill()
    named = uid(world.apply("named", app="pod", model="tts", policy=QUICK))
    world.operator.start()
    eventually("only the winner lends", lambda: lending.owners() == {named})
    world.wait_for("whole", "Ready", "False", "Conflict")


def test_one_that_never_acted_sends_nothing_at_all_over_a_restart_either(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100)
    pod = world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", mode="Observe", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "False", "Observing")
    url = f"http://127.0.0.1:{world.operator.metrics_port}/metrics"
    counted = f'dormouse_operator_observed_releasable_bytes{{name="tts",namespace="{world.namespace}"}} '

    def releasable() -> str:
        lines = httpx.get(url, trust_env=False).text.splitlines()
        return next((line.removeprefix(counted) for line in lines if line.startswith(counted)), "")

    eventually("what it would release is counted", lambda: float(releasable() or 0) == 512 * 1024**2)
    world.operator.kill()
    world.operator.start()
    world.wait_for("tts", "Ready", "False", "Observing")
    always("nothing is sent", lambda: not pod.orders and not pod.loans, for_seconds=3)

    def events() -> list[str]:
        found = world.get(f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events")
        assert found is not None
        return [item["note"] for item in found["items"] if item["reason"] == "WouldOrder"]

    (note,) = eventually("an Event says what and why", events)
    assert "GPU → CPU: idle" in note


def test_a_sidecar_that_does_not_know_the_order_is_named_with_what_to_do(world: World) -> None:
    model = FakeModel(idle_since=time.time() - 100, refuse_with=(422, "BadBody"))
    world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", model="tts", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "False", "VersionSkew")
    message = next(c["message"] for c in world.status("tts")["conditions"] if c["type"] == "Ready")
    assert "tts-0" in message
    assert "same version" in message


def test_kubectl_waits_for_ready(world: World) -> None:
    world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts", policy={"offloadAfterSeconds": 30, "minResidentSeconds": 0})
    world.operator.start()
    world.trust()
    told = world.control_plane.kubectl(
        "wait", "--for=condition=Ready", "dmm/tts", "--timeout=60s", namespace=world.namespace
    )
    assert "condition met" in told


def test_moves_of_a_model_with_keep_alive_0_are_a_series_on_the_api_server(world: World) -> None:
    """One Event of each kind, which kubectl shows with its count; the operator writes it once a minute at most."""
    model = FakeModel(residency="CPU", idle_since=time.time() - 100)
    world.add_pod("tts-0", {"tts": model}, app="tts")
    world.apply("tts", model="tts", policy=QUICK)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")

    def events() -> list[dict[str, Any]]:
        found = world.get(f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events")
        assert found is not None
        return [item for item in found["items"] if item["reason"] in ("Woken", "Offloaded")]

    for _ in range(3):
        model.move("GPU", "Demand", "a request")
        before = model.last_transition
        eventually("it goes down again", lambda before=before: model.last_transition != before)
        moved = model.last_transition
        assert moved is not None
        at = to_rfc3339_micro(moved["time"])
        eventually(
            "the operator knows",
            lambda at=at: world.status("tts").get("lastTransition", {}).get("time") == at,
        )
    reasons = [item["reason"] for item in events()]
    assert len(reasons) == len(set(reasons))
