"""Warnings that a stranger can cause: told once in a while, so that nobody can flood the log."""

import logging
import time
from collections.abc import Callable


class ThrottledWarning:
    """At most one line per `every_seconds`; the next one says how many were left out."""

    def __init__(
        self,
        log: logging.Logger,
        every_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._clock = clock
        self._next_at = float("-inf")
        self._left_out = 0

    def __call__(self, message: str, *values: object) -> None:
        """A %-style message, as for `logging`."""
        now = self._clock()
        if now < self._next_at:
            self._left_out += 1
            return
        if self._left_out:
            message += f" ({self._left_out} more warnings of this kind since the last one)"
        self._log.warning(message, *values)
        self._next_at = now + self._every_seconds
        self._left_out = 0
