"""What a slot owns of one model. Everything here is read and written under `lock`, by the slot and its view alone."""

from collections import deque
from typing import Any

from dormouse_contract import Residency

from .clock import Clock
from .drain import Drain
from .engine import Engine, Fence
from .fencing import OrderFence
from .history.history import History
from .load_failures import LoadFailures
from .locked import Lock
from .settings import Lending, SlotSettings
from .transition import Transition
from .uses.use import Use


class SlotState:
    """residency: the tier of the last settled move, asked of the engine, which may have had the model before.

    uses: those that hold the model, the oldest first.
    came_in_at: when it came to the GPU, if others had to leave for it; after so many seconds, once there was room.
    fences: what ended uses have queued on the device; the next move waits for them. All times here are steady;
    correction: what makes them the wall clock's, for whoever reads them elsewhere.
    """

    def __init__(self, engine: Engine[Any], settings: SlotSettings, clock: Clock, correction: Clock) -> None:
        self.lock = Lock()
        self.clock, self.correction = clock, correction
        self.lending = Lending(settings)
        self.order_fence = OrderFence()
        self.residency = engine.residency
        self.transition: Transition | None = None
        self.uses: dict[Use, None] = {}
        self.waiters: deque[Use] = deque()
        self.fences: list[Fence] = []
        self.pinned_by_hand = False
        self.history = History(clock(), self.residency)
        self.load_failures = LoadFailures()
        self.drain = Drain()
        self.came_in_at: float | None = None
        self.came_in_after_seconds = 0.0
        self._engine = engine

    @property
    def in_flight(self) -> int:
        return len(self.uses)

    @property
    def oldest_use(self) -> float:
        """When the oldest use began (Unix seconds); 0 while nobody uses the model."""
        return min((use.granted_at for use in self.uses), default=0.0)

    @property
    def wanted(self) -> bool:
        """Used or waited for, so that no demotion may begin."""
        return bool(self.in_flight or self.waiters)

    def came_in(self, transition: Transition, now: float) -> None:
        """After a move: remember whether others had to leave for it, and how long it then took."""
        there = self.residency is Residency.GPU and transition.claimed
        self.came_in_at = now if there else None
        self.came_in_after_seconds = now - (transition.room_at or now) if there else 0.0

    @property
    def at_rest(self) -> bool:
        """No use runs; those that a drain keeps waiting don't count."""
        return not self.in_flight and (self.drain.under_way or not self.waiters)

    def pinned(self, now: float) -> bool:
        loan = self.lending.current(now)
        return self.pinned_by_hand or (loan is not None and loan.pinned)

    def idle_seconds(self) -> float:
        return 0.0 if self.in_flight else max(0.0, self.clock() - self.history.idle_since)

    def estimate_seconds(self, now: float) -> float | None:
        """To the GPU from here, from measured speeds; less what has passed of a wake under way."""
        whole, doing = self._engine.estimate_seconds(), self.transition
        if whole is None or doing is None or doing.to is not Residency.GPU:
            return whole
        return max(0.0, whole - (now - doing.started_at))

    def retry_after_seconds(self) -> float:
        return max(1.0, self.estimate_seconds(self.clock()) or 0.0)
