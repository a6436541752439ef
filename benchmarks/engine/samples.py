"""Measured durations by name. A median says what is usual; least and most say how far it can be believed."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Samples:
    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        self._seconds.setdefault(name, []).append(seconds)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """What the block takes; nothing when it raises."""
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    def forget(self) -> None:
        """What was measured so far was warming up."""
        self._seconds.clear()

    def figures(self) -> dict[str, float]:
        """`NAME_seconds` is the median, beside it `NAME_seconds_min` and `NAME_seconds_max`."""
        figures: dict[str, float] = {}
        for name, seconds in self._seconds.items():
            figures[f"{name}_seconds"] = statistics.median(seconds)
            figures[f"{name}_seconds_min"] = min(seconds)
            figures[f"{name}_seconds_max"] = max(seconds)
        return figures
