"""Time inside never jumps; what leaves the process is the wall clock's.

Idleness, timeouts and lent policies are measured in steady time: the wall clock at start plus monotonic time since. So
a wall clock that is set, or a machine that was suspended, demotes nothing. Who reads a moment elsewhere compares it
with a wall clock, so a moment is corrected as it leaves, by what the two differ by then. The correction changes only
when the wall clock was set: exported moments keep still while nothing happens.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]

# Less than this is left as it is: no reader is that exact, and moments that move are news to each of them.
STEP_SECONDS = 0.5
# Two clocks read further apart than this, on a machine that was busy in between, say nothing about each other.
_GLANCE_SECONDS = 0.05

_ANCHOR = time.time() - time.monotonic()


def steady_unix_time() -> float:
    """Seconds that never jump; Unix time as far as the wall clock was right at start and was not set since."""
    return _ANCHOR + time.monotonic()


class WallCorrection:
    """Called: the seconds to add to a steady moment to get the wall clock's. Thread-safe; 0.0 until a clock was set.

    Read it once for moments that are shown together.
    """

    def __init__(self, steady: Clock = steady_unix_time, wall: Clock = lambda: time.time()) -> None:
        self._steady, self._wall = steady, wall
        self._seconds = 0.0

    def __call__(self) -> float:
        before = self._steady()
        apart = self._wall() - before
        if self._steady() - before <= _GLANCE_SECONDS and abs(apart - self._seconds) >= STEP_SECONDS:
            self._seconds = apart
        return self._seconds


wall_correction: Clock = WallCorrection()
