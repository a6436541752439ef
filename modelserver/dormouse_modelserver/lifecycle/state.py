"""What a slot owns of one model. Everything here is read and written under `lock`, by the slot and its view alone."""

from collections import deque
from typing import Any

from dormouse_contract import Residency

from .clock import Clock
from .engine import Engine, Fence
from .fencing import OrderFence
from .history.history import History
from .locked import Lock
from .settings import Lending, SlotSettings
from .transition import Transition
from .uses.use import Use


class SlotState:
    """residency: the tier of the last settled move, asked of the engine, which may have had the model before.

    uses: those that hold the model, the oldest first. fences: what ended uses have queued on the device; the next move
        waits for them.
    """

    def __init__(self, engine: Engine[Any], settings: SlotSettings, clock: Clock) -> None:
        self.lock = Lock()
        self.clock = clock
        self.lending = Lending(settings)
        self.order_fence = OrderFence()
        self.residency = engine.residency
        self.transition: Transition | None = None
        self.uses: dict[Use, None] = {}
        self.waiters: deque[Use] = deque()
        self.fences: list[Fence] = []
        self.pinned_by_hand = False
        self.history = History(clock(), self.residency)
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
