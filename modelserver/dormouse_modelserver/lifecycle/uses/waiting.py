"""A place in the queue for a model: granted, failed or given up exactly once."""

import threading
from collections.abc import Callable
from enum import Enum, auto

from ...errors import DormouseError


class Place(Enum):
    WAITING = auto()
    GRANTED = auto()
    FAILED = auto()
    LEFT = auto()


class Waiter:
    """Changed only under the slot's lock; `settled` tells the waiting side, from any thread, and returns
    False when that side is gone.

    A grant already counts as a use, made by the slot itself. So a waiter that was cancelled or timed out
    while the grant was on its way must hand its place back (`Slot.abandon`), or the model would never
    sleep again.

    model: the slot. holding: the uses, of all models, that its request holds while it asks.
    """

    __slots__ = ("budget_seconds", "error", "holding", "model", "place", "settled", "since")

    def __init__(
        self,
        settled: Callable[[], bool],
        since: float,
        budget_seconds: float,
        model: object,
        holding: "tuple[Waiter, ...]" = (),
    ) -> None:
        self.settled = settled
        self.since, self.budget_seconds = since, budget_seconds
        self.model, self.holding = model, holding
        self.place = Place.WAITING
        self.error: DormouseError | None = None


class ThreadSignal:
    """For a waiting thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        self._event.set()
        return True

    def wait(self, seconds: float) -> None:
        # A wait without end is written as infinity, which no lock takes.
        self._event.wait(min(seconds, threading.TIMEOUT_MAX))
