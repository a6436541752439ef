"""When a model was used: kept cheaply and bounded, for advice on its timeouts.

What a timeout would have done depends only on the pauses between uses. So uses that overlap, or join, are
one burst, and a day of steady traffic is one entry rather than a hundred thousand.
"""

from collections import deque
from dataclasses import dataclass

MAX_BURSTS = 2_000
MAX_AGE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Burst:
    """From the first of `arrivals` uses that overlap to the end of the last (Unix seconds)."""

    began: float
    ended: float
    arrivals: int = 1


class Arrivals:
    """The bursts of one model in the last day, at most `MAX_BURSTS` of them. Kept by the slot under its lock."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._past: deque[Burst] = deque()
        self._last: Burst | None = None
        self._forgot_until: float | None = None

    def arrived(self, now: float, *, alone: bool) -> None:
        """A use was asked for; `alone`: nobody uses the model or waits for it."""
        if alone or self._last is None:
            if self._last is not None:
                self._past.append(self._last)
            self._last = Burst(now, now)
            self._forget(now)  # here as well, so that it stays bounded when nobody reads
        else:
            self._last = Burst(self._last.began, self._last.ended, self._last.arrivals + 1)

    def ended(self, now: float) -> None:
        """A use ended. Ends of no known use change nothing."""
        if self._last is not None:
            self._last = Burst(self._last.began, now, self._last.arrivals)

    def bursts(self, now: float) -> tuple[Burst, ...]:
        """Oldest first. The last one is kept however long ago it was: the pause after it is still open."""
        self._forget(now)
        return tuple(self._past) if self._last is None else (*self._past, self._last)

    @property
    def since(self) -> float:
        """From when on nothing is missing in `bursts()` (Unix seconds)."""
        return self._started if self._forgot_until is None else self._forgot_until

    def _forget(self, now: float) -> None:
        while self._past and (len(self._past) >= MAX_BURSTS or self._past[0].ended <= now - MAX_AGE_SECONDS):
            self._forgot_until = self._past.popleft().ended
