"""Makes room on the device for a model that wants in: idle models of this process leave first, the longest idle before.

Never one in flight, waited for, waking or pinned. The minimum residence does not count here: a full device is worse
than a model that sleeps early. Where nobody can leave, the wake fails with need and room.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from dormouse_contract import Residency, Trigger

from .errors import DeviceFull, DormouseError
from .slot import Slot

_log = logging.getLogger("dormouse")


class Arbiter:
    """Asked by the thread that wakes a model. Stateless, so several wakes may ask at once: each frees for itself."""

    def __init__(self, slots: Callable[[], Iterable[Slot[Any]]]) -> None:
        self._slots = slots

    def make_room(self, name: str, full: DeviceFull) -> bool:
        """Send one idle model away from the device; True when one has left, so that it's worth to try again."""
        longest_idle_first = sorted(self._slots(), key=lambda slot: slot.idle_since)
        for slot in longest_idle_first:
            if slot.name == name or not slot.may_make_room:
                continue
            reason = f"{name} needs {full.need_bytes} bytes and {full.room_bytes} are free"
            if self._demote(slot, reason):
                return True
        return False

    def _demote(self, slot: Slot[Any], reason: str) -> bool:
        try:
            move = slot.begin_move(Residency.CPU, trigger=Trigger.PRESSURE, reason=reason)
        except DormouseError as refusal:  # it was used in this moment
            _log.debug("model %s: %s", slot.name, refusal)
            return False
        if move is None:
            return False
        error = move.settled.result()
        return error is None and not slot.on_device
