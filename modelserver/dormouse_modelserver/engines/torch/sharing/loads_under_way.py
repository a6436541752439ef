"""How many models are being loaded at the moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LoadsUnderWay:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def are_under_way(self) -> bool:
        return self._count > 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """From the call of the user's `load` until its outcome is known."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
