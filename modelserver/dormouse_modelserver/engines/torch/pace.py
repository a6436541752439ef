"""How fast bytes move here, as measured, so that a wake can be promised before it is made.

One for all models of a device: a model that was never restored is estimated from the others' copies.
"""

import threading
from enum import StrEnum

# A new measurement counts so much against all earlier ones: a busy moment is soon forgotten.
_WEIGHT = 0.5
# Below this the time is that of the call and not of the bytes.
_MIN_BYTES = 1 << 20


class Path(StrEnum):
    """Where bytes go: into the mirror at a load, to the device, back from it, and through the checksum."""

    LOAD = "load"
    RESTORE = "restore"
    COPY_BACK = "copy-back"
    VERIFY = "verify"


class Pace:
    """Bytes per second by path; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates: dict[Path, float] = {}
        self._rough: set[Path] = set()

    def measured(self, path: Path, nbytes: int, seconds: float) -> None:
        """Take in a measurement; of few bytes only until there is a better one, of none never."""
        if not nbytes:
            return
        rate, rough = nbytes / max(seconds, 1e-9), nbytes < _MIN_BYTES
        with self._lock:
            known = self._rates.get(path)
            if known is None or (path in self._rough and not rough):
                self._rates[path] = rate
                (self._rough.add if rough else self._rough.discard)(path)
            elif not rough:
                self._rates[path] = known + _WEIGHT * (rate - known)

    def seconds(self, path: Path, nbytes: int) -> float | None:
        """Expected time for so many bytes; None until something was measured."""
        with self._lock:
            rate = self._rates.get(path)
        return None if rate is None else nbytes / max(rate, 1e-9)
