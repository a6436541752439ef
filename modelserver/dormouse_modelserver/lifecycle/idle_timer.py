"""Local timers: applies the policy in force to each slot, on the process's own exact clock.

It decides nothing itself: `plan()` does. It sleeps until the next moment at which time alone may change
a decision, and a slot wakes it only when that moment has come nearer.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

from dormouse_contract import Action, Residency, Trigger, plan

from ..errors import DormouseError
from .background import LongLived
from .clock import Clock, steady_unix_time
from .forking import begins_anew
from .slot import Slot
from .slow_moves import say_if_slow

_log = logging.getLogger("dormouse")

# A demotion that was refused is asked for again after this.
_RETRY_SECONDS = 1.0
# One that failed (no host RAM for changed weights, a copy that broke) costs a pass over the weights and makes
# requests wait for it, so it is tried again less often.
_RETRY_FAILED_SECONDS = 10.0


class IdleTimer:
    """One daemon thread for all slots of a manager."""

    def __init__(self, slots: Callable[[], Iterable[Slot[Any]]], clock: Clock = steady_unix_time) -> None:
        self._slots, self._clock = slots, clock
        self._thread = LongLived("idle-timer", self._run)
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child, where the thread is not."""
        self._condition = threading.Condition()
        self._next_look = math.inf
        self._changed = False
        self._closed = False
        self._all_well = True

    def slot_changed(self, slot: Slot[Any]) -> None:
        """Called after each use, move and loan. Cheap: wakes the thread only when it must look sooner.

        Raises nothing: whoever calls it has ended a use, whose answer is right whatever the timer does.
        """
        self._thread.ensure()
        revisit_at = self._guarded(slot, self._revisit_at)
        with self._condition:
            if revisit_at < self._next_look and not self._closed:
                self._changed = True
                self._next_look = revisit_at
                self._condition.notify()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.close()

    def _run(self) -> None:
        with self._condition:
            self._changed = True  # it may have been broken off in the middle of a look
        while True:
            with self._condition:
                while not self._closed and not self._changed and self._clock() < self._next_look:
                    left = self._next_look - self._clock()
                    self._condition.wait(None if math.isinf(left) else max(0.0, left))
                if self._closed:
                    return
                self._changed = False
                self._next_look = math.inf
            self._all_well = True
            soonest = min((self._guarded(slot, self._look_at) for slot in self._slots()), default=math.inf)
            if self._all_well:
                self._thread.worked()
            with self._condition:
                self._next_look = min(self._next_look, soonest)

    def _guarded(self, slot: Slot[Any], look: Callable[[Slot[Any]], float]) -> float:
        """When to look again. What breaks at one model keeps no other one awake."""
        try:
            return look(slot)
        except Exception as error:
            self._all_well = False
            self._thread.failed(error)
            return self._clock() + _RETRY_SECONDS

    def _revisit_at(self, slot: Slot[Any]) -> float:
        return min(self._due(slot)[1], say_if_slow(slot, self._clock()), slot.view.drain_ends_at)

    def _look_at(self, slot: Slot[Any]) -> float:
        """Do what is due; returns when to look again (Unix seconds)."""
        slot.end_drain_in_time()
        demote, revisit_at = self._due(slot)
        revisit_at = min(revisit_at, say_if_slow(slot, self._clock()), slot.view.drain_ends_at)
        if demote is None:
            return revisit_at
        try:
            demote()
        except DormouseError as refusal:
            _log.debug("model %s: %s", slot.name, refusal)
            return self._clock() + _RETRY_SECONDS
        return revisit_at

    def _due(self, slot: Slot[Any]) -> tuple[Callable[[], object] | None, float]:
        if slot.view.device_broken:
            return None, math.inf  # nothing can be moved, now or later
        now = self._clock()
        policy, observation, lapses_at = slot.view.outlook()
        decision = plan(policy, observation, now)
        times = [time for time in (decision.revisit_at, lapses_at) if time is not None]
        if decision.action is not Action.ORDER or decision.desired is None:
            return None, min(times, default=math.inf)
        failed_at = slot.view.demotion_failed_at
        if failed_at is not None and now < failed_at + _RETRY_FAILED_SECONDS:
            return None, min([failed_at + _RETRY_FAILED_SECONDS, *times])
        trigger = Trigger.AFTER_TASK if policy.offload_after_seconds == 0 else Trigger.IDLE
        if decision.desired is Residency.UNLOADED:
            trigger = Trigger.IDLE
        desired = decision.desired

        def demote() -> object:
            return slot.begin_move(
                desired, if_idle_for=decision.if_idle_for_seconds, trigger=trigger, reason=decision.reason
            )

        # Due now: look at once, and again when the move has settled (the slot says so).
        return demote, min([now, *times])
