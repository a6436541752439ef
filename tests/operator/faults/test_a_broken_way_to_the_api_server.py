"""Whatever happens on the way to the API server, the world ends as the API server has it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.waiting import eventually

from ..fake_pod import FakeModel, FakePod
from ..world import World
from .api_proxy import Broken, Seen
from .conftest import Faulty

SLEEPY = {"offloadAfterSeconds": 4, "minResidentSeconds": 0}


def idle() -> FakeModel:
    return FakeModel(idle_since=time.time() - 100)


def settled(world: World) -> FakePod:
    """One model put to sleep, everything written."""
    pod = world.add_pod("tts-0", {"tts": idle()}, app="tts")
    world.apply("tts", model="tts", policy=SLEEPY)
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired", deadline_seconds=60)
    return pod


def changes_are_heard(world: World, pod: FakePod) -> None:
    """An edit, a new pod and a deletion, made meanwhile or now, all reach the replicas and the status."""
    eventually("the edit is obeyed", lambda: pod.models["tts"].residency == "Unloaded")
    # The status of one object is written at most once in ten seconds.
    eventually("and told", lambda: world.status("tts").get("residency") == "Unloaded")
    eventually("the policy of the deleted one is taken back", lambda: last_loan_ended(world.pods["gone-0"]))


def last_loan_ended(pod: FakePod) -> bool:
    return bool(pod.loans) and pod.loans[-1].body["validForSeconds"] == 0


def change_everything(world: World) -> None:
    world.apply("tts", model="tts", residency="Unloaded", policy=SLEEPY)
    world.delete("gone")


def _second(world: World) -> None:
    world.add_pod("gone-0", {"tts": FakeModel()}, app="gone")
    world.apply("gone", app="gone", model="tts", policy=SLEEPY)


def _refuse(status: int | None, *, retry_after: int | None = None) -> Callable[[Seen], Broken | None]:
    return lambda seen: Broken(status, retry_after=retry_after)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_refuse(429, retry_after=1), id="429"),
        pytest.param(_refuse(500), id="500"),
        pytest.param(_refuse(None), id="closed without a word"),
        pytest.param(lambda seen: Broken(after_seconds=1.5, pass_on=True), id="slow"),
        pytest.param(lambda seen: Broken(410) if "watch=" in seen.path else None, id="410 Gone"),
    ],
)
def test_what_changed_during_a_fault_is_seen_after_it(faulty: Faulty, fault: Callable[[Seen], Broken | None]) -> None:
    world, proxy = faulty.world, faulty.proxy
    _second(world)
    pod = settled(world)
    eventually("both were lent their policy", lambda: pod.loans and world.pods["gone-0"].loans)
    proxy.fault = fault
    assert proxy.cut_watches()
    before = len(proxy.requests)
    change_everything(world)
    eventually("it tries, and fails", lambda: len(proxy.requests) >= before + 3)
    proxy.fault = lambda _: None
    changes_are_heard(world, pod)


def test_the_api_server_restarted(faulty: Faulty) -> None:
    world = faulty.world
    _second(world)
    pod = settled(world)
    eventually("both were lent their policy", lambda: pod.loans and world.pods["gone-0"].loans)
    control_plane = world.control_plane
    try:
        control_plane.stop_api_server()
        pod.models["tts"].move("GPU", "Demand", "")
        pod.models["tts"].idle_since = time.time() - 100
    finally:
        control_plane.start_api_server()
    change_everything(world)
    changes_are_heard(world, pod)


def test_events_that_come_twice_or_late_change_nothing(faulty: Faulty) -> None:
    """Each line of a watch again, after the next one: so that an older state of an object follows a newer one."""
    world, proxy = faulty.world, faulty.proxy
    held: list[bytes] = []

    def again_and_late(lines: list[bytes]) -> list[bytes]:
        late, held[:] = list(held), lines
        return [*lines, *late, *lines]

    proxy.mangle = again_and_late
    _second(world)
    pod = settled(world)
    change_everything(world)
    changes_are_heard(world, pod)
