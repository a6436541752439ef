"""One move of a model, from its start to what is known of it afterwards."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.wire import LastTransitionSnapshot, TransitionSnapshot

from ..errors import DeviceFull, DormouseError, ModelChanged
from .engine import Released


@dataclass(slots=True)
class Transition:
    """A move under way; `settled` resolves to None, or to the error that stopped it. obstacle: what it waits for.

    claimed: it lacked room while somebody waited. room_at: when it got it. said_slow: the log has that it takes long.
    asked: where it was to go when it began. An offload for which host RAM has no room goes `to` Unloaded instead,
        and whoever asked for it has got what there was to get.
    """

    origin: Residency
    to: Residency
    trigger: Trigger
    reason: str
    started_at: float
    asked: Residency = field(init=False)
    obstacle: DeviceFull | None = None
    claimed: bool = False
    room_at: float | None = None
    said_slow: bool = False
    settled: "Future[DormouseError | None]" = field(default_factory=Future)
    _taken: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.asked = self.to
        # Running: a waiter that is cancelled, or its loop, can't cancel what others wait for as well.
        self.settled.set_running_or_notify_cancel()

    def take(self) -> bool:
        """True for one caller: who carries it out, or settles it when nobody can."""
        return self._taken.acquire(blocking=False)

    def doing(self, now: float) -> str:
        """What is going on, and for how long, as part of a sentence."""
        if self.obstacle is not None:
            what = "waiting for room"
        elif self.wakes:
            what = "loading" if self.origin is Residency.UNLOADED else "waking"
        else:
            what = f"moving {self.origin} → {self.to}"
        return f"{what} since {max(0.0, now - self.started_at):.0f} s ago"

    @property
    def wakes(self) -> bool:
        """Whether it leads towards the GPU."""
        return self.to.is_above(self.origin)

    def snapshot(self, correction: float) -> TransitionSnapshot:
        """As it leaves the process: `started_at` is steady, and `correction` makes it the wall clock's."""
        started_at = self.started_at + correction
        return TransitionSnapshot(from_=self.origin, to=self.to, trigger=self.trigger, started_at=started_at)


def outcome_of(error: DormouseError | None) -> TransitionOutcome:
    if error is None:
        return TransitionOutcome.OK
    return TransitionOutcome.REFUSED if isinstance(error, ModelChanged) else TransitionOutcome.FAILED


def describe(
    transition: Transition,
    outcome: TransitionOutcome,
    error: DormouseError | None,
    now: float,
    released: Released | None,
) -> LastTransitionSnapshot:
    return LastTransitionSnapshot(
        from_=transition.origin,
        to=transition.to,
        trigger=transition.trigger,
        reason=str(error) if error is not None else transition.reason,
        time=now,
        seconds=now - transition.started_at,
        released_bytes=released.nbytes if released is not None else 0,
        outcome=outcome,
    )
