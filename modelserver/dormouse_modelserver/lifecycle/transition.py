"""One move of a model, from its start to what is known of it afterwards."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from dormouse_contract import Residency, TransitionOutcome, Trigger
from dormouse_contract.wire import LastTransitionSnapshot, TransitionSnapshot

from ..errors import DeviceFull, DormouseError, ModelChanged
from .engine import Released


@dataclass(slots=True)
class Transition:
    """A move under way; `settled` resolves to None, or to the error that stopped it. obstacle: what it waits for.

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
    settled: "Future[DormouseError | None]" = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.asked = self.to
        # Running: a waiter that is cancelled, or its loop, can't cancel what others wait for as well.
        self.settled.set_running_or_notify_cancel()

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
