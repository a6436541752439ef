"""A pass that looks only at what happened does exactly what a pass over the whole fleet does.

Two operators live through the same random days, one of which takes nothing for settled. Whatever they send and
write must be the same, step by step.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from dormouse_contract.idleness import IdleSignal, build
from dormouse_contract.managed_model import ManagedModel
from dormouse_contract.wire import ModelSnapshot, PolicyLoan, ResidencyOrder
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.cluster.kube import Kube
from dormouse_operator.control_client import ControlClient
from dormouse_operator.dirty_set import DirtySet
from dormouse_operator.keys.trust import TrustPublisher
from dormouse_operator.orders import Answer, Fence, Outcome
from dormouse_operator.reconciler import Reconciler
from dormouse_operator.replicas import Replicas
from dormouse_operator.reporting.recorder import Recorder
from dormouse_operator.telemetry import Telemetry
from dormouse_operator.turn import Turn
from dormouse_operator.visit import Visited
from dormouse_operator.workqueue.queue import WorkQueue
from dormouse_prometheus.answers import Vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from .objects import NOW, QUERIES, labels, managed_model, pod

TICK = 15.0
OWNERS, PODS, APPS = ("one", "two", "three"), ("p", "q", "r"), ("tts", "asr")
Call = tuple[str, ...]


class Side:
    """One operator, and a cluster of its own that obeys it."""

    def __init__(self, dirty: DirtySet) -> None:
        self.now = NOW
        self.calls: list[Call] = []
        self.bodies: dict[str, dict[str, Any]] = {}
        self.readings: dict[str, dict[str, float]] = {}
        self.residency: dict[str, str] = {}
        self.moved: dict[str, dict[str, Any]] = {}
        self.unreachable: set[str] = set()
        self.prometheus_up = True
        self.version = 100
        self.fleet = Fleet()
        replicas = Replicas(
            Client(self),
            lambda: Fence("issuer", 1),
            telemetry := Telemetry(CollectorRegistry()),
            clock=self.clock,
            settle_seconds=2 * TICK,
            on_news=self.fleet.touch,
        )
        kube = Cluster(self)
        self.recorder = Recorder(kube, self.fleet, clock=self.clock, monotonic=self.clock, instance="i")
        self.reconciler = Reconciler(
            self.fleet,
            replicas,
            self.recorder,
            TrustPublisher(kube, "dormouse-system"),
            telemetry,
            self.read_signal,
            clock=self.clock,
            monotonic=self.clock,
            tick_seconds=TICK,
            scrape_interval_seconds=TICK,
        )
        self.reconciler._dirty = dirty

    def clock(self) -> float:
        return self.now

    async def read_signal(self) -> IdleSignal:
        if not self.prometheus_up:
            return IdleSignal(failure="away")
        residencies, columns = [], {name: [] for name in QUERIES}
        for name, values in self.readings.items():
            if values.get("missing"):
                continue
            residencies.append((labels(name, "tts", residency=self.residency[name]), 1.0))
            seen = {
                "in_flight": values["in_flight"],
                "idle_since": 0.0 if values["in_flight"] else values["idle_since"],
                "sampled_at": self.now - values["age"],
                "last_transition": self.moved.get(name, {}).get("time", 0.0),
                "released_bytes": 0.0,
                "gpu_memory_bytes": 1024.0,
            }
            for column, value in seen.items():
                columns[column].append((labels(name, "tts"), value))
        vectors = {name: Vector(self.now, tuple(samples)) for name, samples in columns.items()}
        return build(Vector(self.now, tuple(residencies)), vectors) if residencies else IdleSignal()

    def happen(self, what: tuple[Any, ...]) -> None:
        match what:
            case ("apply", name, spec, app):
                known = self.bodies.get(name)
                body = managed_model(name, selector={"matchLabels": {"app": app}}, **spec)
                if known is not None:
                    body["spec"]["selector"] = known["spec"]["selector"]
                    body["metadata"] = copy.deepcopy(known["metadata"])
                    body["metadata"]["generation"] += known["spec"] != body["spec"]
                    body["status"] = known.get("status", {})
                else:
                    body["metadata"]["uid"] = f"uid-{name}-{self.version}"
                self.tell(name, body)
            case ("delete", name):
                if (gone := self.bodies.pop(name, None)) is not None:
                    self.fleet.observe_managed_model(gone, deleted=True)
            case ("pod", name, app, phase):
                self.readings.setdefault(name, {"in_flight": 0, "idle_since": NOW, "age": 1.0})
                self.residency.setdefault(name, "GPU")
                body = pod(name, app, phase=phase, podIP=name)
                known = self.fleet.pods.get(("speech", name))
                # What is gone or has ended comes back as another pod only.
                self.version += 1
                lives = known is not None and known.alive
                body["metadata"]["uid"] = known.uid if known and lives else f"uid-{name}-{self.version}"
                self.fleet.observe_pod(body)
            case ("no pod", name):
                if (lost := self.fleet.pods.get(("speech", name))) is not None:
                    self.fleet.forget_pod(lost)
                self.readings.pop(name, None)
            case ("reading", name, values):
                if name in self.readings:
                    self.readings[name] = values | {"idle_since": self.now - values["idle_for"]}
            case ("woken", name):
                if self.residency.get(name, "GPU") != "GPU":
                    self.move(name, "GPU", "Demand")
                    self.readings.get(name, {})["idle_since"] = self.now
            case ("reachable", name, answers):
                (self.unreachable.discard if answers else self.unreachable.add)(name)
            case ("prometheus", up):
                self.prometheus_up = up

    def tell(self, name: str, body: dict[str, Any]) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.bodies[name] = body
        self.fleet.observe_managed_model(body)

    def move(self, name: str, to: str, trigger: str) -> None:
        self.moved[name] = {
            "from": self.residency[name],
            "to": to,
            "trigger": trigger,
            "reason": "",
            "time": self.now,
            "seconds": 0.1,
            "releasedBytes": 0,
            "outcome": "ok",
        }
        self.residency[name] = to

    async def step(self, seconds: float) -> list[Call]:
        self.now += seconds
        self.calls = []
        await self.reconciler.reconcile()
        await self.reconciler._queue.drain(5)
        await self.recorder.queue.drain(5)
        return sorted(self.calls)


class Client(ControlClient):
    def __init__(self, side: Side) -> None:
        self._side = side

    async def list_models(self, ip: str) -> Answer:
        return self._answer("list", ip)

    async def order(self, ip: str, model: str, order: ResidencyOrder) -> Answer:
        answer = self._answer("order", ip, order.desired, order.order.owner, str(order.order.generation))  # type: ignore[union-attr]
        if answer.outcome is Outcome.DONE and self._side.residency[ip] != order.desired:
            self._side.move(ip, order.desired, order.trigger)
        return answer

    async def lend(self, ip: str, model: str, loan: PolicyLoan) -> Answer:
        answer = self._answer("lend", ip, loan.order.owner, str(loan.valid_for_seconds), str(loan.pinned))  # type: ignore[union-attr]
        return Answer(answer.outcome)

    def _answer(self, *call: str) -> Answer:
        side, ip = self._side, call[1]
        side.calls.append(call)
        if ip in side.unreachable or ip not in side.residency:
            return Answer(Outcome.UNREACHABLE, "gone")
        snapshot = ModelSnapshot.model_validate(
            {
                "name": "tts",
                "residency": side.residency[ip],
                "inFlight": 0,
                "waiting": 0,
                "idleSeconds": 0,
                "lastRequestEnd": NOW,
                "gpuMemoryBytes": 0,
                "hostMemoryBytes": 0,
                "gpuMemoryReleasedBytes": 0,
                "releasedMethod": "sim",
                "device": "sim",
                "dirty": False,
                "pinned": False,
                "restoreEstimateSeconds": None,
                "transition": None,
                "lastTransition": side.moved.get(ip),
            }
        )
        return Answer(Outcome.DONE, snapshots=(snapshot,))


class Cluster(Kube):
    def __init__(self, side: Side) -> None:
        self._side = side

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        side, name = self._side, path.split("/")[-2]
        if not path.endswith("/status"):
            # Events and trust; their names hold what they are about.
            side.calls.append((method, path, str((body or {}).get("metadata", {}).get("name"))))
            return {}
        side.calls.append(("status", name, repr(body)))
        known = side.bodies.get(name)
        if known is None or body is None or known["metadata"]["uid"] != body["metadata"]["uid"]:
            return {"metadata": {}, "spec": {}} if known is None else copy.deepcopy(known)
        written = json.loads(json.dumps(known | {"status": body["status"]}))
        side.tell(name, written)
        return copy.deepcopy(written)


SPECS = st.sampled_from(
    [
        {"model": "tts", "policy": {"offloadAfterSeconds": 60, "minResidentSeconds": 0}},
        {"policy": {"offloadAfterSeconds": 120, "unloadAfterSeconds": 3000, "minResidentSeconds": 45}},
        {"policy": {"offloadAfterSeconds": 0}},
        {"residency": "GPU"},
        {"residency": "CPU", "residencyUntil": "2027-01-15T08:10:00Z", "policy": {"offloadAfterSeconds": 900}},
        {"mode": "Observe", "policy": {"offloadAfterSeconds": 60}},
        {"mode": "Paused"},
    ]
)
READINGS = st.fixed_dictionaries(
    {
        "in_flight": st.sampled_from([0, 0, 0, 2]),
        "idle_for": st.sampled_from([0.0, 50.0, 110.0, 2990.0]),
        "age": st.sampled_from([1.0, 1.0, 44.0, 100.0]),
        "missing": st.sampled_from([0, 0, 0, 1]),
    }
)
NAMES, PLACES = st.sampled_from(OWNERS), st.sampled_from(PODS)
HAPPENINGS = st.one_of(
    st.tuples(st.just("apply"), NAMES, SPECS, st.sampled_from(APPS)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("pod"), PLACES, st.sampled_from(APPS), st.sampled_from(["Running", "Running", "Failed"])),
    st.tuples(st.just("no pod"), PLACES),
    st.tuples(st.just("reading"), PLACES, READINGS),
    st.tuples(st.just("woken"), PLACES),
    st.tuples(st.just("reachable"), PLACES, st.booleans()),
    st.tuples(st.just("prometheus"), st.sampled_from([True, True, False])),
)
STEPS = st.lists(
    st.tuples(st.lists(HAPPENINGS, max_size=2), st.sampled_from([TICK, TICK, TICK, 60.0, 700.0, 2000.0])),
    min_size=2,
    max_size=14,
)
BEGINNING = (
    ("pod", "p", "tts", "Running"),
    ("pod", "q", "tts", "Running"),
    ("apply", "one", {"model": "tts", "policy": {"offloadAfterSeconds": 60, "minResidentSeconds": 0}}, "tts"),
)


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkQueue, "_back_off", lambda _, failures: min(60.0, 2.0 ** (failures - 1)))
    monkeypatch.setattr("dormouse_operator.reporting.first_statuses.PER_SECOND", 1e6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_it_does_what_a_pass_over_the_whole_fleet_does(steps: list[tuple[list[tuple[Any, ...]], float]]) -> None:
    async def live() -> None:
        # An hour of virtual time is but a full pass or two: what is missed would stay missed long enough to be seen.
        sides = [Side(DirtySet(full_pass_seconds=1e9)), Side(DirtySet(full_pass_seconds=0))]
        settling = [([], TICK)] * 8
        for happenings, seconds in [(list(BEGINNING), TICK), *settling, *steps, *settling[:3]]:
            done = []
            for side in sides:
                for what in happenings:
                    side.happen(copy.deepcopy(what))
                done.append(await side.step(seconds))
            assert done[0] == done[1], f"after {happenings}"

    asyncio.run(live())


async def test_a_quiet_fleet_is_not_looked_at_until_time_alone_calls_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side(DirtySet(full_pass_seconds=1e9))
    for what in BEGINNING[:2]:
        side.happen(what)
    side.happen(("apply", "one", {"model": "tts", "policy": {"offloadAfterSeconds": 1000}}, "tts"))
    for _ in range(4):
        await side.step(TICK)
    looked: list[float] = []
    visits = side.reconciler._visits
    visit = visits.visit

    async def watched(owner: ManagedModel, signal: IdleSignal, turn: Turn) -> Visited:
        looked.append(side.now)
        return await visit(owner, signal, turn)

    monkeypatch.setattr(visits, "visit", watched)
    while side.now < NOW + 1000 - TICK:
        # The trust that it published is looked at every minute.
        assert all("configmaps" in call[1] for call in await side.step(TICK))
    assert looked == []
    calls = await side.step(TICK) + await side.step(TICK)
    assert [call[:3] for call in calls if call[0] == "order"] == [("order", "p", "CPU"), ("order", "q", "CPU")]
