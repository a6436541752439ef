"""Host RAM for mirrors is asked for here first, so that offloading can never run the host out of memory.

Two answers can be wrong if each asks the kernel alone: memory that was promised but is not written yet still counts as
free there. And while there is no room, mirrors of models that are on the GPU are only a convenience: they go first.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ...errors import HostFull
from .host_memory import HostMemory, read_host_memory


class Spare(Protocol):
    """Host RAM that its holder can do without."""

    def give_up_mirror(self) -> int:
        """Free it if that can be done at once; returns the bytes freed."""
        ...


class Promise:
    """`nbytes` of host RAM that are promised and not written yet."""

    def __init__(self, nbytes: int, written: Callable[[int], None]) -> None:
        self.nbytes = nbytes
        self._written = written

    def written(self, nbytes: int) -> None:
        """So many of them have been, and the kernel counts them from now on."""
        self.nbytes -= nbytes
        self._written(nbytes)


class HostBudget:
    """The host RAM of one process, as `read` tells it. Thread-safe."""

    def __init__(self, read: Callable[[], HostMemory] = read_host_memory) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._promised = 0
        self._spares: weakref.WeakSet[Spare] = weakref.WeakSet()  # under the lock: others add while one looks

    def can_spare(self, holder: Spare) -> None:
        """`holder` may be asked to give up its mirror. Remembered weakly."""
        with self._lock:
            self._spares.add(holder)

    @property
    def room(self) -> int:
        """Bytes that may be taken now."""
        with self._lock:
            return self._read().room - self._promised

    @contextmanager
    def promised(self, nbytes: int, *, at_any_price: bool = True) -> Iterator["Promise"]:
        """Room for `nbytes` until they are written, within the block. Raises `HostFull`; nothing is promised then.

        at_any_price: mirrors that can be spared are given up for it.
        """
        self._promise(nbytes, at_any_price)
        promise = Promise(nbytes, self._written)
        try:
            yield promise
        finally:
            promise.written(promise.nbytes)

    def _written(self, nbytes: int) -> None:
        with self._lock:
            self._promised -= nbytes

    def _promise(self, nbytes: int, at_any_price: bool) -> None:
        with self._lock:
            spares = tuple(self._spares) if at_any_price else ()
        for spare in (None, *spares):
            if spare is not None and not spare.give_up_mirror():
                continue
            with self._lock:
                room = self._read().room - self._promised
                if nbytes <= room:
                    self._promised += nbytes
                    return
        raise HostFull(nbytes, max(0, room))
