"""Whether a device still works in this process: found out once, said once in the log, never taken back.

After an illegal address or a failed assertion in a kernel, CUDA answers every later call of the process with that same
error, and some calls may not come back at all. So a device that broke is not asked again.
"""

import logging
import threading

from ...errors import DeviceBroken

_log = logging.getLogger("dormouse")


class Breakage:
    """cause: why the device does nothing any more, one sentence; None while it works. Thread-safe."""

    def __init__(self, device: str) -> None:
        self.cause: str | None = None
        self._device = device
        self._lock = threading.Lock()

    def broke(self, cause: str) -> None:
        """The first cause counts: what comes later follows from it."""
        with self._lock:
            if self.cause is not None:
                return
            self.cause = cause
        _log.error("%s", DeviceBroken(self._device, cause))

    def forked(self) -> None:
        """In a forked child: not asked any more, and whoever held the lock is not there."""
        self._lock = threading.Lock()
        self.cause = "this process was forked from the one that opened the device"

    def refuse(self) -> None:
        """Raises `DeviceBroken` once it broke."""
        if self.cause is not None:
            raise DeviceBroken(self._device, self.cause)


def first_sentence(error: BaseException) -> str:
    """Of an error of torch's: its further lines are advice for debugging."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
