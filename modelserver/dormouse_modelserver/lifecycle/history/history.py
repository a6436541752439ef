"""What happened to one model: when it was used, woken and moved, and what was released."""

from collections import deque

from dormouse_contract import Residency, TransitionOutcome
from dormouse_contract.wire import LastTransitionSnapshot

from ...errors import DormouseError, ModelChanged, TransitionFailed
from ..engine import Released
from ..telemetry import SavedMeter
from ..transition import Transition, describe, outcome_of
from .arrivals import Arrivals

# What a page shows of one model; older ones are in the log and counted in the metrics.
RECENT_TRANSITIONS = 20


class History:
    """Kept by the slot under its lock; all times in seconds of the slot's clock.

    last_request_end: load or start-up time before the first request.
    idle_since: the latest of last request's end, last wake and load.
    resident_since: the last arrival on the GPU; None before the first.
    recent: the latest transitions that ended, refused and failed ones included, newest first; bounded.
    unload_refused: why an unload would lose changes; nothing can have changed that while nobody used the model.
    arrivals: when uses came and ended, for advice.
    demotion_failed_at: when the last demotion failed; None when it did not.
    """

    def __init__(self, now: float, residency: Residency = Residency.UNLOADED) -> None:
        """residency: where it was before its slot; on the GPU, that counts as its arrival there."""
        self.last_request_end = self.idle_since = now
        self.resident_since: float | None = now if residency is Residency.GPU else None
        self.ever_loaded = residency is not Residency.UNLOADED
        self.arrivals = Arrivals(now)
        self.last: LastTransitionSnapshot | None = None
        self.recent: deque[LastTransitionSnapshot] = deque(maxlen=RECENT_TRANSITIONS)
        self.released = Released()
        self.unload_refused: ModelChanged | None = None
        self.demotion_failed_at: float | None = None
        self._ever_used = False
        self._saved = SavedMeter(now)

    def use_began(self) -> None:
        self.unload_refused = None

    def use_ended(self, now: float) -> None:
        self._ever_used = True
        self.arrivals.ended(now)
        self.last_request_end = self.idle_since = now

    def released_byte_seconds(self, now: float) -> float:
        return self._saved.total(now)

    def moved(
        self,
        transition: Transition,
        arrived: Residency,
        error: DormouseError | None,
        released: Released | None,
        now: float,
    ) -> LastTransitionSnapshot:
        """Take in a transition that has ended with the weights in `arrived`; what is told of it."""
        outcome = outcome_of(error)
        if released is not None and released.method is not None:
            self.released = released
        if arrived is Residency.GPU:
            self.released = Released(0, self.released.residual, self.released.method)
        self._saved.changed_to(self.released.nbytes, now)
        self.ever_loaded |= arrived is not Residency.UNLOADED
        if error is None and transition.wakes:
            self._woke(arrived, now)
        if isinstance(error, ModelChanged):
            self.unload_refused = error
        if not transition.wakes:
            self.demotion_failed_at = now if isinstance(error, TransitionFailed) else None
        ended = describe(transition, outcome, error, now, released)
        self.recent.appendleft(ended)
        if outcome is not TransitionOutcome.REFUSED:
            self.last = ended
        return ended

    def _woke(self, arrived: Residency, now: float) -> None:
        self.idle_since = now
        if not self._ever_used:
            self.last_request_end = now
        if arrived is Residency.GPU:
            self.resident_since = now
