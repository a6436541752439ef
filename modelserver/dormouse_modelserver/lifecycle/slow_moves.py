"""Says once in the log that a move takes very long: a `load` that hangs raises nothing and would never be heard of."""

import logging
import math
from typing import Any

from .slot import Slot

_log = logging.getLogger("dormouse")

# A first load of a large model from a network disk may take minutes; one of a minute is worth a line.
SLOW_SECONDS = 60.0


def say_if_slow(slot: Slot[Any], now: float) -> float:
    """Returns when to look again (Unix seconds)."""
    move = slot.under_way
    if move is None or move.said_slow:
        return math.inf
    slow_at = move.started_at + SLOW_SECONDS
    if now < slow_at:
        return slow_at
    move.said_slow = True
    _log.warning(
        "model %s: %s and has not ended; other models go on. If it hangs, look at what its `load` waits for",
        slot.name,
        move.doing(now),
    )
    return math.inf
