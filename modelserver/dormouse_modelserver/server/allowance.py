"""How often something that anybody may ask for is made anew: about once a second, however often it is asked for."""

import threading
import time
from collections.abc import Callable

_PER_SECOND = 1.0
# Saved up while nobody asks. Who looks, changes something and looks again sees what was changed; who asks all the time
# gets answers that are at most a second old.
_IN_A_ROW = 5


class Allowance:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._counted_at = float(_IN_A_ROW), clock()

    def take(self) -> bool:
        """Whether it may be made anew now; counted as done then."""
        with self._lock:
            now = self._clock()
            self._left = min(_IN_A_ROW, self._left + (now - self._counted_at) * _PER_SECOND)
            self._counted_at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
