"""Unix time that never jumps: the wall clock at start plus monotonic time since.

Idleness is measured with it, so a corrected wall clock demotes nothing, and exported timestamps keep
still while nothing happens.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]

_ANCHOR = time.time() - time.monotonic()


def steady_unix_time() -> float:
    return _ANCHOR + time.monotonic()
