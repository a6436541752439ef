"""Work that is queued on a simulated device and done later, in order, as on a CUDA stream."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class SimFence:
    _reached: threading.Event | None

    def done(self) -> bool:
        return self._reached is None or self._reached.is_set()

    def wait(self) -> None:
        if self._reached is not None:
            self._reached.wait()


class SimStream:
    """One queue worked off by a thread of its own. failed: told what a kernel raised.

    After `stop` nothing that is queued runs any more, and every fence counts as reached: there is nothing to wait for.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._queue: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._last: threading.Event | None = None
        self._open: set[threading.Event] = set()
        self._stopped = False

    def put(self, kernel: Callable[[], object]) -> None:
        done = threading.Event()
        with self._lock:
            if self._stopped:
                return
            if self._last is None:
                threading.Thread(target=self._work, name="dormouse-sim-stream", daemon=True).start()
            self._last = done
            self._open.add(done)
            self._queue.put((kernel, done))

    def fence(self) -> SimFence:
        # No lock: a user's thread sets it as its use ends, where an exception out of nowhere could keep the lock.
        return SimFence(self._last)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for done in self._open:
                done.set()
            self._open.clear()

    def _work(self) -> None:
        while True:
            kernel, done = self._queue.get()
            try:
                if not done.is_set():
                    kernel()
            except BaseException as error:  # as a kernel that fails on a GPU takes the whole device with it
                self._failed(error)
            del kernel  # and the tensors that it had
            done.set()
            with self._lock:
                self._open.discard(done)
