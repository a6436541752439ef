"""Room that is being made for one model is not taken by others on the way.

A model that was drained is wanted again the moment it has left, and would be back before the one for which it left has
looked. So what is freed for a claim is held for it against everybody who has not waited for longer, here and, for a
neighbour's claim, as long as the neighbour goes on saying so.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..slot import Slot
from ..transition import Transition
from .turns import Claim

# After a neighbour's last word; it looks ten times a second.
_NEIGHBOUR_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Held:
    """since: when its first waiter came, on the monotonic clock. wake: the move that it is for; None elsewhere."""

    nbytes: int
    since: float
    wake: Transition | None = None
    lapses_at: float = math.inf


class HeldRoom:
    """Thread-safe."""

    def __init__(self, slot: Callable[[str], Slot[Any] | None]) -> None:
        self._slot = slot
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def hold(self, slot: Slot[Any], claim: Claim) -> None:
        held = _Held(claim.need_bytes, time.monotonic() - claim.waited_seconds, slot.under_way)
        with self._lock:
            self._held[slot.name] = held

    def let_go(self, name: str) -> bool:
        """It has got its room, or nothing is freed for it any more. False when nothing was held for it."""
        if not self._held:
            return False
        with self._lock:
            return self._held.pop(name, None) is not None

    def hold_for_neighbour(self, question: dict[str, Any]) -> None:
        """What a neighbour says of its claim: `{from, needBytes, waitedSeconds}`; 0 bytes end it. Raises ValueError."""
        self._hold_elsewhere(question, time.monotonic() + _NEIGHBOUR_SECONDS)

    @contextmanager
    def held_for_neighbour(self, question: dict[str, Any]) -> Iterator[None]:
        """While a model of this process leaves for it, and a moment longer."""
        self._hold_elsewhere(question, math.inf)
        try:
            yield
        finally:
            self._hold_elsewhere(question, time.monotonic() + _NEIGHBOUR_SECONDS)

    def _hold_elsewhere(self, question: dict[str, Any], lapses_at: float) -> None:
        if "from" not in question:
            return  # an earlier version, which asks for idle models alone: nobody is on the way back
        since = time.monotonic() - float(question.get("waitedSeconds", 0))
        nbytes, holder = int(question.get("needBytes", 0)), f"{question['from']}/"  # a name that no model has
        with self._lock:
            if nbytes > 0:
                self._held[holder] = _Held(nbytes, since, None, lapses_at)
            else:
                self._held.pop(holder, None)

    def for_others_than(self, name: str) -> int:
        if not self._held:
            return 0
        slot, now = self._slot(name), time.monotonic()
        claim = slot.view.waited_seconds if slot is not None else 0.0
        with self._lock:
            entries = list(self._held.items())
        total = 0
        for holder, held in entries:
            wakes = self._slot(holder) if held.wake is not None else None
            if now >= held.lapses_at or (wakes is not None and wakes.under_way is not held.wake):
                with self._lock:
                    if self._held.get(holder) is held:
                        del self._held[holder]
            elif holder != name and now - held.since >= claim:
                total += held.nbytes
        return total
