"""The operator's process dies right after something that it did, before it hears of it: the end is the same.

The proxy, or the pod, has the order carried out and kills the process with SIGKILL instead of answering.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.waiting import eventually

from ..fake_pod import FakeModel, FakePod
from ..world import OPERATOR_NAMESPACE, SECRET_NAME, World
from .api_proxy import Seen
from .conftest import Faulty

SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}


class Killer:
    """Kills once, at the first thing that `after` likes, and holds its answer back until then."""

    def __init__(self, world: World, after: Callable[[str], bool]) -> None:
        self._world, self._after = world, after
        self._lock = threading.Lock()
        self.killed_after = ""

    def saw(self, what: str) -> None:
        with self._lock:
            if not self.killed_after and self._after(what):
                self.killed_after = what
                self._world.operator.kill()


def told(pod: FakePod, killer: Killer) -> None:
    """The pod tells the killer of what it has carried out."""
    answer = pod.answer

    def and_tell(method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        given = answer(method, path, body)
        withdrawal = path.endswith("/policy") and body["validForSeconds"] == 0
        killer.saw(f"pod {method} {path.rpartition('/')[2]}{' withdrawn' if withdrawal else ''}")
        return given

    pod.answer = and_tell  # type: ignore[method-assign]


def live(faulty: Faulty, after: Callable[[str], bool]) -> tuple[Killer, list[Any]]:
    """Asleep by the ladder, then paused. Returns what is left in the world at the end."""
    world, proxy = faulty.world, faulty.proxy
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/{SECRET_NAME}"
    if world.get(path) is not None:
        world.control_plane.api.request("DELETE", path)
    killer = Killer(world, after)

    def done(seen: Seen, status: int) -> None:
        if seen.writes and status < 300:
            killer.saw(f"{seen.method} {seen.path.partition('?')[0]}")

    proxy.done = done
    pod = world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    told(pod, killer)
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    _through(world, killer, lambda: bool(world.get(_trust(world))), "the trust is published")
    world.trust()
    _through(world, killer, lambda: world.condition("tts", "Ready") == ("True", "AsDesired"), "it is put to sleep")
    _through(world, killer, lambda: "Offloaded" in _events(world), "that is told")
    _through(world, killer, lambda: bool(pod.loans), "its policy is lent")
    # The status apart from its conditions is written at most once in ten seconds.
    _through(world, killer, lambda: world.status("tts").get("residency") == "CPU", "the status has it")
    world.apply("tts", model="tts", mode="Paused", policy=SLEEPY)
    _through(world, killer, lambda: pod.loans[-1].body["validForSeconds"] == 0, "the policy is taken back")
    _through(world, killer, lambda: world.condition("tts", "Ready") == ("True", "Paused"), "it is paused")
    _through(world, killer, lambda: world.status("tts").get("observedGeneration") == 2, "the status is of now")
    return killer, [_status(world), pod.models["tts"].residency, sorted(set(_events(world)))]


def _through(world: World, killer: Killer, there: Callable[[], bool], what: str) -> None:
    """Wait; and when the operator has been killed, start the next one, as the kubelet does."""

    def check() -> bool:
        if killer.killed_after and world.operator._process is None:
            world.operator.start()
        return there()

    eventually(what, check)


def _trust(world: World) -> str:
    return f"/api/v1/namespaces/{world.namespace}/configmaps/dormouse-operator-trust"


def _events(world: World) -> list[str]:
    found = world.get(f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events") or {"items": []}
    # What a restart passes through on its way is told or not, as it comes; what was done is told always.
    return [item["reason"] for item in found["items"] if item["type"] == "Normal"]


def _status(world: World) -> dict[str, Any]:
    status = world.status("tts")
    conditions = sorted((c["type"], c["status"], c["reason"]) for c in status.pop("conditions"))
    moved = status.pop("lastTransition", {})
    how = re.sub(r"\d+", "N", moved.get("message", ""))
    return status | {"conditions": conditions, "moved": (moved.get("from"), moved.get("to"), how)}


@pytest.mark.parametrize(
    "effect",
    [
        pytest.param("POST .*/secrets", id="its key is stored"),
        pytest.param("PATCH .*/configmaps/", id="its trust is published"),
        pytest.param("PATCH .*/status", id="the status is written"),
        pytest.param("POST .*/events", id="an Event is told"),
        pytest.param("pod PUT residency", id="an order is carried out"),
        pytest.param("pod PUT policy$", id="a policy is lent"),
        pytest.param("pod PUT policy withdrawn", id="a policy is taken back"),
    ],
)
def test_the_end_is_that_of_an_undisturbed_run(faulty: Faulty, effect: str) -> None:
    killer, end = live(faulty, lambda what: re.match(effect, what) is not None)
    assert killer.killed_after, "it was killed at all"
    assert end == UNDISTURBED


UNDISTURBED = [
    {
        "observedGeneration": 2,
        "residency": "CPU",
        "replicas": {"total": 1, "gpu": 0, "cpu": 1, "unloaded": 0, "unknown": 0, "summary": "0/1"},
        "gpuMemoryReleased": "512Mi",
        "conditions": [
            ("IdleSignalAvailable", "True", "IdleSignalFresh"),
            ("Ready", "True", "Paused"),
            ("ReplicasReachable", "True", "Reachable"),
        ],
        "moved": ("GPU", "CPU", "idle N s ≥ N s; signal N s old; in flight N; released NMi"),
    },
    "CPU",
    ["Offloaded"],
]


def test_undisturbed_it_ends_so(faulty: Faulty) -> None:
    """What the others are compared with is what really happens."""
    killer, end = live(faulty, lambda what: False)
    assert not killer.killed_after
    assert end == UNDISTURBED
