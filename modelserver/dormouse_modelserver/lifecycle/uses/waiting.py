"""How a thread waits for its place."""

import threading
from contextlib import suppress


class ThreadSignal:
    """Set once, by any thread. A bare lock: an `Event` is left in Python code, and an exception out of nowhere there
    would keep the thread that sets it waiting for ever."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> bool:
        with suppress(RuntimeError):
            self._lock.release()
        return True

    def wait(self, seconds: float) -> None:
        # A wait without end is written as infinity, which no lock takes.
        self._lock.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
