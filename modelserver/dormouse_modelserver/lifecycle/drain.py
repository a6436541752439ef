"""A drain: the model in use admits no new uses, so that it comes to rest and can leave for one that waits.

Uses nested in a held one are admitted, since the held one may need them to end. When the time is up everybody is let
in, and the model is not drained again for ten times as long: whoever holds it for so long will do so again.
"""

import math

_REST_FACTOR = 10.0
# Who asks for it goes on asking; when it doesn't (it gave up, its process is gone), everybody is let in.
_LEASE_SECONDS = 2.0


class Drain:
    """Of one slot, under its lock. Times in seconds of the slot's clock."""

    def __init__(self) -> None:
        self._began_at = 0.0
        self._until: float | None = None
        self._lapses_at = math.inf
        self._not_before = -math.inf
        self.reason = ""

    @property
    def under_way(self) -> bool:
        return self._until is not None

    @property
    def ends_at(self) -> float:
        """Infinite when there is none."""
        return math.inf if self._until is None else min(self._until, self._lapses_at)

    def allowed_in_seconds(self, now: float) -> float:
        return 0.0 if self.under_way else max(0.0, self._not_before - now)

    def go_on(self, now: float, seconds: float, reason: str) -> bool:
        """Begin one that lasts so long at most, or go on with the one under way. False when it is too early."""
        if self._until is None:
            if now < self._not_before or seconds <= 0:
                return False
            self._began_at, self._until, self.reason = now, now + seconds, reason
        self._lapses_at = now + _LEASE_SECONDS
        return True

    def is_over(self, now: float) -> bool:
        return self._until is not None and now >= self.ends_at

    def left(self) -> None:
        """It was at rest, and was moved."""
        self._until = None

    def end(self, now: float) -> float | None:
        """How long it was tried in vain, in seconds; None when it was not, or nobody asked for it any more."""
        ran_out = self._until is not None and now >= self._until
        self._until = None
        if not ran_out:
            return None
        lasted = now - self._began_at
        self._not_before = now + _REST_FACTOR * lasted
        return lasted
