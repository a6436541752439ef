"""One use of a model: it waits for its place, holds the model, and ends exactly once, also when nobody ends it.

A use belongs to its `owner`, the object by which the `with` statement will leave: Python lets go of that when the
statement ends in whatever way, also when an exception out of nowhere (a signal handler, Ctrl-C) strikes between the
grant and the body, or in the middle of leaving. So the use ends with its owner at the latest.
"""

import itertools
import sys
import threading
import weakref
from collections.abc import Callable
from enum import Enum, auto

from ...errors import DormouseError
from ..engine import Fence
from .entry import Entry, entry_of

_numbers = itertools.count(1)
# A use that has lasted for so long, and whose code does not run then, may have been left behind.
FIRST_CHECK_SECONDS = 2.0


class Place(Enum):
    """NEW: nobody has asked for it yet. WAITING and GRANTED become FAILED or LEFT, once."""

    NEW = auto()
    WAITING = auto()
    GRANTED = auto()
    FAILED = auto()
    LEFT = auto()


class Use:
    """Changed only under the slot's lock. A grant counts as a use at once, whether its thread has noticed or not.

    settled: tells the waiting side, from any thread; False when that side is gone.
    asked_at, granted_at: Unix seconds of the slot's clock. over: everything that its end brings was done.
    holding: the uses, of all models, that its request held when it asked.
    check_after: how old it is when somebody looks next whether it was left behind, in seconds.
    """

    __slots__ = (
        "_ended_with_owner",
        "_owner",
        "budget_seconds",
        "check_after",
        "entry",
        "error",
        "fence",
        "granted_at",
        "holding",
        "number",
        "over",
        "place",
        "reported",
        "settled",
        "since",
    )

    def __init__(self, ended_with_owner: "Callable[[Use], None]") -> None:
        self.number = next(_numbers)
        self.settled: Callable[[], bool] = _nobody_waits
        self.since = self.granted_at = self.budget_seconds = 0.0
        self.place = Place.NEW
        self.error: DormouseError | None = None
        self.holding: tuple[Use, ...] = ()
        self.fence: Fence | None = None
        self.entry: Entry | None = None
        self.over = self.reported = False
        self.check_after = FIRST_CHECK_SECONDS
        self._ended_with_owner = ended_with_owner
        self._owner: weakref.ref[object] | None = None

    def belongs_to(self, owner: object) -> None:
        self._owner = weakref.ref(owner, self._owner_is_gone)

    @property
    def orphaned(self) -> bool:
        return self._owner is not None and self._owner() is None

    @property
    def open(self) -> bool:
        return self.place in (Place.WAITING, Place.GRANTED)

    def asked(
        self, settled: Callable[[], bool], now: float, budget_seconds: float, holding: "tuple[Use, ...]" = ()
    ) -> None:
        self.settled, self.since, self.budget_seconds, self.holding = settled, now, budget_seconds, holding
        self.place = Place.WAITING

    def entered_by(self, depth: int, function: str | None) -> None:
        """depth: of the frame with the `with` statement above the caller. function: what a decorator holds it for."""
        self.entry = entry_of(sys._getframe(depth + 1), threading.current_thread(), function)

    def is_over(self) -> None:
        """Nothing is left to do: also not when its owner goes, in the middle of whatever its thread does then."""
        self.over = True
        self._owner, self.holding = None, ()

    def _owner_is_gone(self, owner: "weakref.ref[object]") -> None:
        if not self.over and self.place is not Place.NEW:
            self._ended_with_owner(self)


def _nobody_waits() -> bool:
    return True
