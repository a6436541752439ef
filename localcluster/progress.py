"""What the terminal shows during long work: what, why, how long, and that it still moves.

On a terminal one line is rewritten; in a pipe or a CI log a plain line comes now and then, since a log of
carriage returns can't be read and a silent one looks hung.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

PLAIN_INTERVAL_SECONDS = 15.0
TERMINAL_INTERVAL_SECONDS = 0.5


class Progress:
    """One piece of long work. Say `start`, then `tick` as often as you like, then `finish`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._began = time.monotonic()
        self._next = 0.0

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._began

    def start(self, line: str) -> None:
        """Say at once what begins, so that the first sign of life doesn't have to wait for an interval."""
        self._began = time.monotonic()
        self._next = self._began + (TERMINAL_INTERVAL_SECONDS if self._live else PLAIN_INTERVAL_SECONDS)
        self.say(line)

    def tick(self, what: str) -> None:
        """Show `what` with the elapsed seconds, when it is time again."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (TERMINAL_INTERVAL_SECONDS if self._live else PLAIN_INTERVAL_SECONDS)
        line = f"  {self.elapsed_seconds:4.0f} s  {what}"
        if self._live:
            self._stream.write(f"\r\x1b[2K{line[:100]}")
            self._stream.flush()
        else:
            self.say(line)

    def finish(self, line: str) -> None:
        """Replace the moving line by the result."""
        if self._live:
            self._stream.write("\r\x1b[2K")
        self.say(f"{line} ({self.elapsed_seconds:.0f} s)")

    def say(self, line: str) -> None:
        """A line of its own."""
        self._stream.write(f"{line}\n")
        self._stream.flush()
