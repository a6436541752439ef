"""One instance of the operator: its real parts, wired to the simulated world, with a clock of its own.

It can be killed in the middle of anything and started again with nothing remembered.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
from dormouse_contract.idleness import IdleSignal
from dormouse_operator.cluster.fleet import Fleet
from dormouse_operator.control_client import ControlClient
from dormouse_operator.idle_signal.query import SignalReader
from dormouse_operator.idle_signal.wanted import wanted
from dormouse_operator.keys.trust import TrustPublisher
from dormouse_operator.orders import Fence
from dormouse_operator.reconciler import Reconciler
from dormouse_operator.replicas import Replicas
from dormouse_operator.reporting.recorder import Recorder
from dormouse_operator.telemetry import Telemetry
from dormouse_prometheus.api import PrometheusApi
from prometheus_client import CollectorRegistry

from .api_server import Body, SimApi, SimKube
from .prometheus import PrometheusTransport, SimPrometheus
from .virtual_time import unix_now

OPERATOR_NAMESPACE = "dormouse-system"
ISSUER = "uid-of-the-lease"
TLS = ssl.create_default_context()


@dataclass(frozen=True)
class Pace:
    tick: float = 60.0
    scrape: float = 30.0

    @property
    def fresh_for(self) -> float:
        return 2 * self.scrape + self.tick


class Line:
    """The watch of one operator: late, doubled, and after a cut nothing but a new list."""

    def __init__(self, api: SimApi, who: str, rng: Random) -> None:
        self._api, self._who, self._rng = api, who, rng
        self._fleet: Fleet | None = None
        self._last: dict[str, float] = {}
        self.up_since = float("inf")

    def connect(self, fleet: Fleet) -> None:
        """The list, and everything from then on."""
        self._fleet = fleet
        self._last.clear()
        self._api.watchers[self._who] = self._hear
        for kind in ("managedmodels", "pods"):
            listed = self._api.of_kind(kind)
            for body in listed:
                _observe(fleet, kind, body)
            _forget_what_is_gone(fleet, kind, listed)
        self.up_since = unix_now()

    def cut(self) -> None:
        self._api.watchers.pop(self._who, None)
        self._fleet = None
        self.up_since = float("inf")

    def _hear(self, what: str, kind: str, body: Body) -> None:
        loop = asyncio.get_running_loop()
        # Events of one object come in order, as a watch brings them; those of several may overtake each other.
        key = f"{kind}/{body['metadata']['namespace']}/{body['metadata']['name']}"
        at = max(self._last.get(key, 0.0), loop.time() + self._rng.expovariate(1 / 0.3))
        self._last[key] = at
        for _ in range(1 + (self._rng.random() < 0.1)):
            loop.call_at(at, self._deliver, self._fleet, what, kind, body)

    def _deliver(self, fleet: Fleet, what: str, kind: str, body: Body) -> None:
        if fleet is self._fleet:
            _observe(fleet, kind, body, deleted=what == "DELETED")


def _observe(fleet: Fleet, kind: str, body: Body, deleted: bool = False) -> None:
    observe = fleet.observe_managed_model if kind == "managedmodels" else fleet.observe_pod
    observe(body, deleted=deleted)


def _forget_what_is_gone(fleet: Fleet, kind: str, listed: list[Body]) -> None:
    """What `Resync` finds out from a list of its own."""
    there = {body["metadata"]["uid"] for body in listed}
    if kind == "managedmodels":
        for model in [each for each in fleet.managed_models.values() if each.uid not in there]:
            fleet.forget_managed_model(model)
    else:
        for pod in [each for each in fleet.pods.values() if each.uid not in there]:
            fleet.forget_pod(pod)


class SimOperator:
    """`running` while its process lives; `term` while it leads."""

    def __init__(
        self,
        name: str,
        api: SimApi,
        prometheus: SimPrometheus,
        control: httpx.AsyncBaseTransport,
        pace: Pace,
        rng: Random,
    ) -> None:
        self.name, self.pace, self.skew = name, pace, 0.0
        self.kube = SimKube(api, name, rng)
        self.line = Line(api, name, rng)
        self.last_figures = float("-inf")
        self.parts: dict[str, Any] = {}
        self._prometheus, self._control = prometheus, control
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def clock(self) -> float:
        return unix_now() + self.skew

    def start(self, term: int) -> None:
        loop = asyncio.get_running_loop()
        fleet = Fleet()
        telemetry = Telemetry(CollectorRegistry())
        client = ControlClient(TLS, control_port=7443, transport=self._control)
        api = PrometheusApi(
            httpx.AsyncClient(transport=PrometheusTransport(self._prometheus, self._answered)), "http://prometheus"
        )

        reader = SignalReader(clock=self.clock, monotonic=loop.time)

        async def read() -> IdleSignal:
            return await reader.read(api, wanted(fleet))

        replicas = Replicas(
            client,
            lambda: Fence(ISSUER, term),
            telemetry,
            clock=self.clock,
            settle_seconds=self.pace.scrape + self.pace.tick,
            on_news=fleet.touch,
        )
        kube: Any = self.kube
        trust = TrustPublisher(kube, OPERATOR_NAMESPACE)
        trust.want("certificate")
        recorder = Recorder(kube, fleet, clock=self.clock, monotonic=loop.time, instance=self.name)
        reconciler = Reconciler(
            fleet,
            replicas,
            recorder,
            trust,
            telemetry,
            read,
            clock=self.clock,
            monotonic=loop.time,
            tick_seconds=self.pace.tick,
            scrape_interval_seconds=self.pace.scrape,
        )
        self.parts = {"reconciler": reconciler, "replicas": replicas, "recorder": recorder, "fleet": fleet}
        self.line.connect(fleet)
        self._task = asyncio.create_task(reconciler.run())

    def reconnect(self) -> None:
        if self.running:
            self.line.connect(self.parts["fleet"])

    async def kill(self) -> None:
        """Whatever is under way is cut off where it is."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self.line.cut()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.parts["reconciler"].stop(0)
        self.parts = {}

    def _answered(self) -> None:
        self.last_figures = unix_now()


def sizes(root: object, seen: set[int] | None = None, depth: int = 0, path: str = "") -> dict[str, int]:
    """How much each container that hangs on our own objects holds, by the path to it."""
    seen = set() if seen is None else seen
    if id(root) in seen or depth > 6:
        return {}
    seen.add(id(root))
    found: dict[str, int] = {}
    names = set(getattr(root, "__dict__", ())) | {
        slot for kind in type(root).__mro__ for slot in getattr(kind, "__slots__", ())
    }
    for name in sorted(names):
        value = getattr(root, name, None)
        here = f"{path}.{name}"
        if isinstance(value, dict | set | list):
            found[here] = len(value)
        elif type(value).__module__.startswith("dormouse_operator") and not isinstance(value, Callable):  # type: ignore[arg-type]
            found |= sizes(value, seen, depth + 1, here)
    return found
