"""A pod of real slots on the simulated device, whose moves take virtual time.

The state machine, the fence, the loans and the idle timer's decisions are the product's own. What is replaced is
what waits: the thread of a move and the thread of the idle timer become timers of the loop, and the loop does what
`finalizing` has a thread for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

from dormouse_contract import Residency, Trigger, metrics
from dormouse_contract.problems import Problem, ProblemReason
from dormouse_contract.wire import ModelList, OrderStamp, PolicyLoan, ResidencyOrder
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.errors import DormouseError
from dormouse_modelserver.lifecycle.engine import Fence
from dormouse_modelserver.lifecycle.idle_timer import IdleTimer
from dormouse_modelserver.lifecycle.settings import SlotSettings
from dormouse_modelserver.lifecycle.slot import Slot
from dormouse_modelserver.lifecycle.telemetry import Telemetry
from dormouse_modelserver.lifecycle.transition import Transition
from dormouse_modelserver.lifecycle.uses import finalizing, left_behind
from dormouse_modelserver.lifecycle.uses.use import Place, Use
from dormouse_modelserver.server.problems import refusal_for
from torch import nn

from .judge import Judge
from .virtual_time import MIDNIGHT, unix_now

ANSWER_WITHIN_SECONDS = 2.0
Began = Callable[["VirtualSlot", Transition], None]


@contextmanager
def in_the_loop_alone() -> Iterator[None]:
    """No thread of the product's wakes a model, or looks after a use, while virtual time goes on."""
    loop = asyncio.get_running_loop()

    def soon(action: Callable[[], object]) -> None:
        loop.call_soon_threadsafe(action)

    with ExitStack() as stack:
        stack.enter_context(patch.object(finalizing, "soon", soon))
        stack.enter_context(patch.object(finalizing, "runs", lambda: True))
        for module, names in ((finalizing, ("start",)), (left_behind, ("start", "look_after", "use_began"))):
            for name in names:
                stack.enter_context(patch.object(module, name, lambda *nothing: None))
        yield


class VirtualSlot(Slot[nn.Linear]):
    """`order` is the one that is being looked at, for who judges what begins."""

    def __init__(self, *args: Any, rng: Random, began: Began, **named: Any) -> None:
        super().__init__(*args, **named)
        self._rng, self._began = rng, began
        # Who judges the beginning of a move looks at the slot while it holds its lock.
        self._state.lock = threading.RLock()  # type: ignore[assignment]
        self.order: OrderStamp | None = None

    def _start(self, to: Residency, trigger: Trigger, reason: str) -> Transition:
        state = self._state
        transition = Transition(state.residency, to, trigger, reason, state.clock())
        fences: list[Fence] = state.fences
        state.fences = []
        self._began(self, transition)
        state.transition = transition
        takes = self._rng.uniform(1, 12) if transition.wakes else self._rng.uniform(0.2, 3)
        asyncio.get_running_loop().call_later(takes, self._carry_out, transition, fences)
        return transition


@dataclass
class SimPod:
    """`skew`: how far its clock is ahead. `nan`, `doubled`: what its metrics look like at the moment."""

    namespace: str
    name: str
    uid: str
    ip: str
    labels: dict[str, str]
    names: tuple[str, ...]
    rng: Random
    judge: Judge
    began: Callable[[SimPod, VirtualSlot, Transition], None]
    skew: float = 0.0
    alive: bool = True
    scraped: bool = True
    nan: bool = False
    doubled: bool = False
    reachable: bool = True
    delay: float = 0.05
    slots: dict[str, VirtualSlot] = field(default_factory=dict)
    restarts: int = 0
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def clock(self) -> float:
        return unix_now() + self.skew

    def start(self) -> None:
        """Also after a crash of the model process: everything in it is forgotten, the pod is the same."""
        self.restarts += 1
        engine = TorchProcess(SimDevice("sim", 1 << 30))
        telemetry = Telemetry()
        self._idle_timer = IdleTimer(lambda: self.slots.values(), self.clock)
        self.slots = {
            name: VirtualSlot(
                name,
                Weights(name, _load, engine),
                SlotSettings(),
                telemetry,
                clock=self.clock,
                changed=self._changed,
                rng=self.rng,
                began=lambda slot, transition: self.began(self, slot, transition),
            )
            for name in self.names
        }

    def _changed(self, slot: Slot[Any]) -> None:
        _, due = self._idle_timer._due(slot)
        self._look_again(slot, due)

    def _look_again(self, slot: Slot[Any], due: float) -> None:
        timer = self._timers.pop(slot.name, None)
        if timer is not None:
            timer.cancel()
        if due < float("inf"):
            at = max(due - self.skew - MIDNIGHT, asyncio.get_running_loop().time())
            self._timers[slot.name] = asyncio.get_running_loop().call_at(at, self._look, slot)

    def _look(self, slot: Slot[Any]) -> None:
        if self.alive and self.slots.get(slot.name) is slot:
            # A nanosecond past what rounding may have taken away, or it would look for ever.
            self._look_again(slot, max(self._idle_timer._look_at(slot), self.clock() + 1e-3))

    async def use(self, name: str, seconds: float) -> None:
        """One request. Its wake must come in time, and the weights must stay until it has ended."""
        slot = self.slots[name]
        settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def tell() -> bool:
            if not settled.done():
                settled.set_result(True)
            return True

        waiter = Use(slot.owner_is_gone)
        slot.enter(waiter, tell)
        if waiter.place is not Place.GRANTED:
            try:
                async with asyncio.timeout(waiter.budget_seconds):
                    await settled
            except TimeoutError:
                if slot.conclude(waiter) is not Place.GRANTED and self._lives(slot):
                    self.judge.violated(f"{self.name}/{name} stayed asleep under demand: {slot.timed_out(waiter)}")
                    return
        if waiter.place is not Place.GRANTED:
            if self._lives(slot):
                self.judge.violated(f"a request to {self.name}/{name} failed: {waiter.error}")
            return
        await asyncio.sleep(seconds)
        if slot.view.snapshot().residency is not Residency.GPU or slot.view.snapshot().transition is not None:
            self.judge.violated(f"the weights of {self.name}/{name} moved under a running request")
        slot.leave(waiter, failed=False)
        self.judge.count("requests")

    def _lives(self, slot: VirtualSlot) -> bool:
        return self.alive and self.slots.get(slot.name) is slot

    def exposition(self) -> list[tuple[str, dict[str, str], float]]:
        """As the model process tells it; NaN where its figures are broken."""
        found: list[tuple[str, dict[str, str], float]] = []
        for name, slot in self.slots.items():
            snapshot, figures = slot.view.snapshot(), slot.view.figures()
            labels = {"namespace": self.namespace, "pod": self.name, "model": name}
            found += [
                (metrics.RESIDENCY.name, labels | {"residency": tier}, float(snapshot.residency is tier))
                for tier in Residency
            ]
            last, doing = snapshot.last_transition, snapshot.transition
            values = {
                metrics.IN_FLIGHT: float(snapshot.in_flight),
                metrics.HELD_REQUESTS: float(snapshot.waiting),
                metrics.IDLE_SINCE: float("nan") if self.nan else figures.idle_since,
                metrics.LAST_TRANSITION: last.time if last else 0.0,
                metrics.TRANSITION_START: doing.started_at if doing else 0.0,
                metrics.RELEASED: float(snapshot.gpu_memory_released_bytes),
                metrics.GPU_MEMORY: float(snapshot.gpu_memory_bytes),
                metrics.RELEASED_BYTE_SECONDS: figures.released_byte_seconds,
            }
            for metric, value in values.items():
                found.append((metric.name, labels, value))
                if self.doubled and metric is metrics.IDLE_SINCE:
                    found.append((metric.name, labels | {"instance": "again"}, value + 7))
        return found

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """The control API, as sidecar and model process answer it together."""
        parts = path.removeprefix("/dormouse/v1/models").strip("/").split("/")
        if method == "GET":
            return 200, ModelList(models=[slot.view.snapshot() for slot in self.slots.values()]).to_json()
        slot = self.slots.get(parts[0])
        if slot is None:
            return _problem(404, ProblemReason.NO_SUCH_MODEL)
        kind = ResidencyOrder if parts[1] == "residency" else PolicyLoan
        said = kind.from_json(body)
        if said.pod_uid != self.uid:
            return _problem(421, ProblemReason.WRONG_POD)
        try:
            if isinstance(said, PolicyLoan):
                slot.lend(said)
                return 200, slot.view.snapshot().to_json()
            return await self._move(slot, said)
        except DormouseError as error:
            refusal = refusal_for(error)
            assert refusal is not None
            return refusal.problem.status, refusal.problem.model_dump_json()

    async def _move(self, slot: VirtualSlot, order: ResidencyOrder) -> tuple[int, str]:
        slot.order = order.order
        try:
            moving = slot.begin_move(
                order.desired,
                if_idle_for=order.if_idle_for_seconds,
                trigger=order.trigger,
                reason=order.reason,
                order=order.order,
            )
        finally:
            slot.order = None
        if moving is None:
            return 200, slot.view.snapshot().to_json()
        await asyncio.wait([asyncio.wrap_future(moving.settled)], timeout=ANSWER_WITHIN_SECONDS)
        return (200 if slot.view.snapshot().residency is order.desired else 202), slot.view.snapshot().to_json()


def _load() -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _problem(status: int, reason: ProblemReason) -> tuple[int, str]:
    return status, Problem(title=reason, status=status, detail=f"refused: {reason}", reason=reason).model_dump_json()
