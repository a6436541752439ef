"""Finds uses that were left behind: a stream whose client has gone, a task that nobody will finish.

A suspended generator that nobody refers to ends at once. A web framework's exceptions refer to it in a circle, and then
only Python's cyclic collector ends it, which runs when objects are made: an idle server makes none. So when a use lasts
and the code that holds it does not run, the collector is called, first soon and then ever more seldom, since a client
that reads slowly looks the same.
"""

import gc
import os
import queue
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..background import LongLived

if TYPE_CHECKING:
    from ..slot import Slot
    from .use import Use

_LOOK_SECONDS = 1.0
# After a collection that a use survived, it is looked at again at twice the age, and at the latest after so long.
_SELDOM_SECONDS = 60.0
# Collecting stops every thread of the process: at most so often, and for at most 5 % of the time.
_PAUSE_SECONDS = 5.0
_PAUSE_FOR_EACH_SECOND = 20.0


class _Lookout:
    """One daemon thread for all slots of the process. It sleeps while no model is used."""

    def __init__(self) -> None:
        self._slots: list[weakref.ref[Slot[Any]]] = []
        self._thread = LongLived("lookout", self._run)
        self.start = self._thread.ensure
        self.begin_anew()

    def begin_anew(self) -> None:
        """Also in a forked child, where the thread is not."""
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._awake = False
        self._may_collect_at = 0.0

    def look_after(self, slot: "Slot[Any]") -> None:
        self._slots.append(weakref.ref(slot, self._slots.remove))
        self.start()

    def use_began(self) -> None:
        """Cheap: wakes the thread only when it sleeps."""
        if not self._awake:
            self._awake = True
            self._wakes.put(None)

    def _run(self) -> None:
        while True:
            if not self._awake:
                self._wakes.get()
            time.sleep(_LOOK_SECONDS)
            if not self._look():
                self._awake = False
                self._awake = any(True for _ in self._in_use())  # one may have begun in between
                self._say_again()
            self._thread.worked()

    def _known(self) -> "Iterator[Slot[Any]]":
        return (slot for known in tuple(self._slots) if (slot := known()) is not None)

    def _in_use(self) -> "Iterator[tuple[Slot[Any], Use]]":
        return ((slot, use) for slot in self._known() for use in slot.uses())

    def _say_again(self) -> None:
        """All is at rest: the timers must know, also where an exception struck the one who was about to tell them."""
        for slot in self._known():
            slot.say_that_it_changed()

    def _look(self) -> bool:
        """Whether any model is used."""
        seen = [self._may_be_left(slot, use) for slot, use in self._in_use()]
        if any(seen) and time.monotonic() >= self._may_collect_at:
            self._collect()
        return bool(seen)

    def _may_be_left(self, slot: "Slot[Any]", use: "Use") -> bool:
        if use.orphaned:
            slot.leave(use, failed=True)  # its end was itself broken off
            return False
        return _is_due(slot, use) and use.entry is not None and not use.entry.runs_now

    def _collect(self) -> None:
        began = time.monotonic()
        gc.collect()
        took = time.monotonic() - began
        self._may_collect_at = began + took + max(_PAUSE_SECONDS, took * _PAUSE_FOR_EACH_SECOND)
        for slot, use in self._in_use():
            if _is_due(slot, use):
                age = slot.age_seconds(use)
                use.check_after = age + min(age, _SELDOM_SECONDS)


def _is_due(slot: "Slot[Any]", use: "Use") -> bool:
    return slot.age_seconds(use) >= use.check_after


_lookout = _Lookout()
look_after, start, use_began = _lookout.look_after, _lookout.start, _lookout.use_began
os.register_at_fork(after_in_child=_lookout.begin_anew)
