"""One model's slot: it owns the state, and everyone else asks it for an outcome.

    Unloaded ──load──► CPU ──restore──► GPU        (a wake does both; demand starts it)
    Unloaded ◄─unload─ CPU ◄─offload── GPU         (a demotion; refused while in use)

- A use is granted only on the GPU with no transition under way. So a demotion, which begins only with
  nothing in flight and nobody waiting, never meets running work; kernels still queued are waited for.
- Demand during a demotion waits, and the wake begins when the demotion has settled.
- A wake goes on without its waiters, and all who wait for it share one.
- A failed transition leaves the model in a whole tier; each waiter gets the error, and the next use tries again.

One short lock; the engine moves the model in a thread of that transition, outside the lock.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from dormouse_contract import RequestOutcome, Residency, TransitionOutcome, Trigger
from dormouse_contract.wire import LastTransitionSnapshot, OrderStamp, PolicyLoan

from ..errors import (
    DeviceBroken,
    DeviceFull,
    DormouseError,
    LoadFailed,
    ModelBusy,
    NoRoom,
    QueueFull,
    TransitionFailed,
    WakeTimeout,
)
from . import background
from .clock import Clock, steady_unix_time, wall_correction
from .device import check_works
from .engine import Engine, Fence, Released
from .forking import begins_anew
from .locked import held_here, locked
from .moving import carry_out, not_started
from .room.claims import claim_of
from .room.turns import Claim
from .settings import SlotSettings
from .state import SlotState
from .telemetry import Telemetry
from .transition import Transition
from .uses import finalizing, left_behind
from .uses.use import Place, Use
from .view import SlotView

T = TypeVar("T")
_log = logging.getLogger("dormouse")


class Slot(Generic[T]):
    """`view` is what others may see of it. changed: called after each use, move and change of its settings."""

    def __init__(
        self,
        name: str,
        engine: Engine[T],
        settings: SlotSettings,
        telemetry: Telemetry,
        *,
        clock: Clock = steady_unix_time,
        correction: Clock = wall_correction,
        changed: "Callable[[Slot[T]], None]" = lambda slot: None,
    ) -> None:
        self.name = name
        self._engine, self._telemetry, self._changed = engine, telemetry, changed
        self._will_say = False
        self._state = SlotState(engine, settings, clock, correction)
        self.view = SlotView(name, engine, self._state)
        self._refusal: DormouseError | None = None
        finalizing.start()
        left_behind.look_after(self)
        begins_anew(self)

    def begin_anew(self) -> None:
        """In a forked child: the model is where its engine has it, and nobody uses it."""
        self._will_say = False
        self._state = SlotState(self._engine, self._state.lending.own, self._state.clock, self._state.correction)
        self.view = SlotView(self.name, self._engine, self._state)

    def refuse(self, refusal: DormouseError) -> None:
        """From now on no use and no move begins: each raises this."""
        self._refusal = refusal

    def _check_works(self) -> None:
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        check_works(self._engine.device)

    def begin(self) -> None:
        """It is registered: the timers look at it, since its model may be on the GPU already."""
        self._changed(self)

    # Uses -----------------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        return self._state.in_flight > 0

    def has(self, use: Use) -> bool:
        """Whether it is a use of this model that has been granted and has not ended."""
        return use in self._state.uses

    def uses(self) -> tuple[Use, ...]:
        """Those that hold the model now, the oldest first."""
        return tuple(self._state.uses)

    def age_seconds(self, use: Use) -> float:
        return max(0.0, self._state.clock() - use.granted_at)

    def model(self) -> T:
        """The user's object; only for who holds a use."""
        return self._engine.model

    def enter(
        self,
        use: Use,
        settled: Callable[[], bool],
        timeout_seconds: float | None = None,
        holding: tuple[Use, ...] = (),
    ) -> None:
        """Ask for a use: granted at once on the GPU, otherwise queued, and the model is woken.

        `timeout_seconds` is how long it may wait, None the model's wake budget. holding: the uses that its request
        holds already. Raises `QueueFull`, `DeviceBroken` or the `LoadFailed` of before at once, and why no wake began.
        """
        if self.view.device_broken or self._refusal is not None:
            self._telemetry.request(self.name, RequestOutcome.REJECTED)
            self._check_works()
        finalizing.start()
        left_behind.start()
        locked(self._state.lock, partial(self._take_in, use, settled, timeout_seconds, holding))
        if use.place is Place.WAITING:
            # In a thread of ours: an exception out of nowhere may break this one off, and a wake half begun is none.
            if finalizing.runs():
                finalizing.soon(self._wake_who_waits)
            else:
                self._wake_who_waits()

    def _take_in(
        self, use: Use, settled: Callable[[], bool], timeout_seconds: float | None, holding: tuple[Use, ...]
    ) -> None:
        state = self._state
        now = state.clock()
        settings = state.lending.settings(now)
        budget = settings.wake_budget_seconds if timeout_seconds is None else timeout_seconds
        use.asked(settled, now, budget, holding)
        state.history.arrivals.arrived(now, alone=not state.in_flight and not state.waiters)
        there = state.transition is None and state.residency is Residency.GPU
        if there and (not state.drain.under_way or any(self.has(held) for held in holding)):
            self._grant(use)
            return
        refusal: DormouseError | None = None
        if state.transition is None:
            refusal = state.load_failures.refusal(now, state.residency)
        if refusal is None and len(state.waiters) >= settings.max_waiting:
            refusal = QueueFull(self.name, len(state.waiters), state.retry_after_seconds())
        if refusal is not None:
            use.place = Place.FAILED
            self._telemetry.request(self.name, RequestOutcome.REJECTED)
            raise refusal
        state.waiters.append(use)

    def _wake_who_waits(self) -> None:
        with self._state.lock:
            self._wake_for_waiters()

    def abandon(self, use: Use) -> None:
        """Give the place up: cancelled or timed out. A use granted meanwhile is handed back."""
        if not use.over:
            use.reported = True
            self._end(use, failed=False)

    def conclude(self, use: Use) -> Place:
        """Stop waiting: how it ended. A place still waiting is given up, atomically with looking at it."""

        def stop_waiting() -> Place:
            if use.place is Place.WAITING:
                self._end_use(use)
            return use.place

        return locked(self._state.lock, stop_waiting)

    def timed_out(self, waiter: Use) -> WakeTimeout:
        """The error for a use whose budget is used up, with when to come back, and what room is missing."""
        state = self._state
        self._telemetry.request(self.name, RequestOutcome.TIMEOUT)
        with state.lock:
            retry_after = state.retry_after_seconds()
            doing = state.transition
        if doing is not None and doing.obstacle is not None:
            return NoRoom(self.name, waiter.budget_seconds, doing.obstacle, retry_after)
        what = doing.doing(state.clock()) if doing is not None else f"it is on the {state.residency}"
        return WakeTimeout(
            f"model {self.name!r} was not awake within {waiter.budget_seconds:g} s ({what}); the wake goes on. "
            f"Ask again in {retry_after:.0f} s",
            retry_after,
        )

    def leave(self, use: Use, failed: bool) -> None:
        """End a use, once. What the caller queued on the device is waited for before the weights move."""
        if not use.over:
            self._end(use, failed)

    def end_by_hand(self, number: int) -> None:
        """A person ends a use that was forgotten. Nothing for one that has ended by itself, then or later.

        Work that goes on in it is no longer waited for: once the weights have left, it raises `ModelNotHeld`.
        """
        for use in self.uses():
            if use.number == number:
                age = self.age_seconds(use)
                _log.warning("model %s: ended by hand: a use of %.0f s, %s", self.name, age, use.entry)
                self.leave(use, failed=True)

    def owner_is_gone(self, use: Use) -> None:
        """Nobody can end it any more, so it ends. Called wherever Python lets go of an object: waits for nothing."""
        if finalizing.collecting_here() or held_here(self._state.lock):
            finalizing.soon(partial(self.leave, use, failed=True))
        else:
            self._end(use, failed=True)

    def _end(self, use: Use, failed: bool) -> None:
        """Fit to be broken off anywhere and done again: the last step says that it is over."""
        if use.place is Place.GRANTED and use.fence is None:
            use.fence = self._engine.fence()
        granted = use.place is Place.GRANTED
        locked(self._state.lock, partial(self._end_use, use))
        if granted and not use.reported:
            use.reported = True
            self._telemetry.request(self.name, RequestOutcome.ERROR if failed else RequestOutcome.OK)
        if not self._will_say:
            self._will_say = True
            finalizing.soon(self.say_that_it_changed)
        use.is_over()

    def say_that_it_changed(self) -> None:
        """Many uses that end close together are said once."""
        self._will_say = False
        self._changed(self)

    def _grant(self, use: Use) -> None:
        state = self._state
        use.granted_at = state.clock()
        use.place = Place.GRANTED
        state.uses[use] = None
        self._engine.admit()
        state.history.use_began()
        left_behind.use_began()

    def _end_use(self, use: Use) -> None:
        """Under the lock. It leaves `uses` when all else is done, so that what broke off in here is done again."""
        state = self._state
        if use in state.waiters:
            state.waiters.remove(use)
        if use in state.uses:
            if use.fence is not None:
                state.fences = [earlier for earlier in state.fences if not earlier.done()] + [use.fence]
            state.history.use_ended(state.clock())
            if len(state.uses) == 1:
                self._engine.shut()
            del state.uses[use]
        if use.open:
            use.place = Place.LEFT

    # Room -----------------------------------------------------------------------------------------

    def lacks_room(self, obstacle: DeviceFull) -> Claim | None:
        """Its wake lacks room: what it claims, as long as somebody waits for the model."""
        state = self._state
        with state.lock:
            if state.transition is not None:
                state.transition.obstacle = obstacle
            claim = claim_of(self.name, state, self._engine, state.clock())
            if claim is not None and state.transition is not None:
                state.transition.claimed = True
            return claim

    def got_room(self) -> None:
        state = self._state
        with state.lock:
            if state.transition is not None:
                state.transition.obstacle, state.transition.room_at = None, state.clock()

    def refuse_who_is_in_the_way(self, held: "Slot[Any]", full: DeviceFull) -> None:
        """Of those who wait, who hold `held`: they wait for room that they take up themselves."""
        state = self._state
        with state.lock:
            for waiter in [one for one in state.waiters if any(held.has(use) for use in one.holding)]:
                state.waiters.remove(waiter)
                waiter.place = Place.FAILED
                retry_after = state.retry_after_seconds()
                waiter.error = NoRoom(self.name, waiter.budget_seconds, full, retry_after, held=held.name)
                self._telemetry.request(self.name, RequestOutcome.REJECTED)
                waiter.settled()

    def drain(self, seconds: float, reason: str) -> bool:
        """Admit no new uses for so long at most, or go on with that. False when it can't be drained now."""
        state = self._state
        with state.lock:
            now = state.clock()
            there = state.residency is Residency.GPU and state.transition is None and not state.pinned(now)
            draining = there and state.drain.go_on(now, seconds, reason)
        self._changed(self)
        return draining

    def end_drain_in_time(self) -> None:
        """When its time is up, or nobody asks for it any more: let everybody in."""
        state = self._state
        with state.lock:
            now = state.clock()
            if state.transition is not None or not state.drain.is_over(now):
                return
            reason, lasted = state.drain.reason, state.drain.end(now)
            self._let_in(now)
        if lasted is not None:
            refused = TransitionOutcome.REFUSED
            problem = f"{reason}; it was not at rest within {lasted:.1f} s, and everybody is let in"
            args = (self.name, Residency.GPU, Residency.CPU, Trigger.PRESSURE, refused, lasted, problem)
            self._telemetry.transition(*args)

    def _let_in(self, now: float) -> None:
        waiters, self._state.waiters = self._state.waiters, deque()
        for waiter in waiters:
            self._admit(waiter, now)

    def _admit(self, waiter: Use, now: float) -> None:
        """It has waited for the model, which is there."""
        self._grant(waiter)
        self._telemetry.waited(self.name, now - waiter.since)
        if not waiter.settled():
            self._end_use(waiter)

    # Moves ----------------------------------------------------------------------------------------

    def begin_move(
        self,
        to: Residency,
        *,
        if_idle_for: float | None = None,
        trigger: Trigger = Trigger.MANUAL,
        reason: str = "",
        order: OrderStamp | None = None,
    ) -> Transition | None:
        """Start a move and return it, or the one under way; None when the weights are there already.

        A move under way that does not lead to `to` is returned as it is: wait for it and ask again.
        Raises `ModelBusy` for a demotion while in use, waited for, waking, or not idle for long enough,
        `ModelChanged` at once for an unload that was refused since the last use, `DeviceBroken`, `StaleOrder`, and the
        `LoadFailed` of before for a wake that nobody asked for by hand and that comes too soon after it.
        Nothing has changed then.
        """
        self._check_works()
        try:
            with self._state.lock:
                self._state.order_fence.pass_through(order)
                return self._begin(to, if_idle_for, trigger, reason)
        except ModelBusy as busy:
            refused = TransitionOutcome.REFUSED
            self._telemetry.transition(self.name, self._state.residency, to, trigger, refused, 0.0, f"{reason}; {busy}")
            raise

    def begin_load(self, trigger: Trigger, reason: str) -> Transition | None:
        """Start to load it into host RAM and return that, or the move under way; None when it is loaded already.

        Raises `DeviceBroken`.
        """
        self._check_works()
        with self._state.lock:
            under_way = self._state.transition
            if under_way is not None:
                return under_way if Residency.UNLOADED in (under_way.origin, under_way.to) else None
            return self._start(Residency.CPU, trigger, reason) if self._state.residency is Residency.UNLOADED else None

    @property
    def under_way(self) -> Transition | None:
        """The move under way; its `settled` says when it has ended."""
        with self._state.lock:
            return self._state.transition

    def _begin(self, to: Residency, if_idle_for: float | None, trigger: Trigger, reason: str) -> Transition | None:
        state = self._state
        under_way = state.transition
        if under_way is None and state.residency is to:
            return None
        if under_way is not None and (under_way.to is to or to.is_above(under_way.to)):
            return under_way
        if state.residency.is_above(to) or under_way is not None:
            self._check_unused(to, if_idle_for)
        if to.is_above(state.residency) and trigger is not Trigger.MANUAL and under_way is None:
            refusal = state.load_failures.refusal(state.clock(), state.residency)
            if refusal is not None:
                raise refusal
        if to is Residency.UNLOADED and state.history.unload_refused is not None:
            raise state.history.unload_refused.with_traceback(None)
        return under_way if under_way is not None else self._start(to, trigger, reason)

    def _check_unused(self, to: Residency, if_idle_for: float | None) -> None:
        state = self._state
        waking = state.transition is not None and state.transition.wakes
        idle = state.idle_seconds()
        if not state.at_rest or waking:
            problem = f"in use by {state.in_flight} requests, {len(state.waiters)} waiting"
            problem += ", waking now" if waking else ""
        elif if_idle_for is not None and idle < if_idle_for:
            problem = f"idle for {idle:.1f} s only, and {if_idle_for:g} s are asked for"
        else:
            return
        raise ModelBusy(
            f"model {self.name!r} was not moved to {to}: {problem}. Ask again when it is idle",
            in_flight=state.in_flight,
            waiting=len(state.waiters),
            idle_seconds=idle,
        )

    def _wake_for_waiters(self) -> None:
        state = self._state
        if state.transition is None and state.waiters and state.residency is not Residency.GPU:
            self._start(Residency.GPU, Trigger.DEMAND, f"{len(state.waiters)} waiting")

    def _start(self, to: Residency, trigger: Trigger, reason: str) -> Transition:
        state = self._state
        transition = Transition(state.residency, to, trigger, reason, state.clock())
        fences, state.fences = state.fences, []
        state.transition = transition
        try:
            threading.Thread(
                target=self._carry_out, args=(transition, fences), name=f"dormouse-{self.name}", daemon=True
            ).start()
        except BaseException as problem:
            if transition.take():  # it does not run: a limit of threads or of memory, or a signal's handler raised
                state.fences = fences
                self._fail_start(transition, problem)
            if not isinstance(problem, Exception):
                raise
        return transition

    def _fail_start(self, transition: Transition, problem: BaseException) -> None:
        state = self._state
        background.count_failure("move", problem, say=False)
        error, now = not_started(self.name, transition, problem), state.clock()
        state.transition = None
        ended = state.history.moved(transition, state.residency, error, None, now)
        self._resolve_waiters(transition, error, now)
        self._say(ended)
        transition.settled.set_result(error)

    def _carry_out(self, transition: Transition, fences: list[Fence]) -> None:
        if not transition.take():
            return
        self._changed(self)
        error, released = carry_out(self._engine, transition, fences, self.name)
        try:
            if isinstance(error, LoadFailed):
                self._note_failed_load(error)
        finally:  # the user's exception, or a handler of the log, may raise; a move that never settles stops the model
            self._settle(transition, error, released)

    def _settle(self, transition: Transition, error: DormouseError | None, released: Released | None) -> None:
        state = self._state
        now = state.clock()
        with state.lock:
            state.transition = None
            state.residency = self._engine.residency
            state.drain.left()
            if isinstance(error, TransitionFailed):
                error.residency = state.residency
                if not isinstance(error, LoadFailed):
                    error.retry_after_seconds = state.retry_after_seconds()
            if error is None and transition.wakes:
                state.load_failures.worked()
            state.came_in(transition, now)
            ended = state.history.moved(transition, state.residency, error, released, now)
            self._resolve_waiters(transition, error, now)
            self._wake_for_waiters()
        try:
            self._say(ended)
        finally:
            transition.settled.set_result(error)
            self._changed(self)

    def _note_failed_load(self, error: LoadFailed) -> None:
        """Before anybody hears of it, so that the log has the whole story when a person looks."""
        state = self._state
        with state.lock:
            whole = state.load_failures.failed(error, state.clock())
        self._telemetry.load_failed(self.name, error, whole=whole)

    def _say(self, ended: LastTransitionSnapshot) -> None:
        self._telemetry.transition(
            self.name,
            ended.from_,
            ended.to,
            ended.trigger,
            ended.outcome,
            ended.seconds,
            ended.reason,
            ended.released_bytes,
        )

    def _resolve_waiters(self, transition: Transition, error: DormouseError | None, now: float) -> None:
        """On the GPU, let everybody in; after a wake that failed, tell everybody why. Otherwise they wait on.

        A wake that waited for room gave up because nobody waited any more. On a broken device no wake is worth a try.
        """
        state = self._state
        broken = isinstance(error, DeviceBroken)
        there = state.residency is Residency.GPU and not broken
        for_all = broken or isinstance(error, LoadFailed)  # whoever else wakes it would meet the same
        if not there and not for_all and (transition.to is not Residency.GPU or error is None):
            return
        gave_up = error if transition.obstacle is not None and isinstance(error, DeviceFull) else None
        settled, state.waiters = state.waiters, deque()
        for waiter in settled:
            if there:
                self._admit(waiter, now)
            elif gave_up is not None and now < waiter.since + waiter.budget_seconds:
                state.waiters.append(waiter)  # it came as the wake gave up waiting for room: it gets a wake
            else:
                waiter.place, waiter.error = Place.FAILED, error
                if gave_up is not None:
                    waiter.error = NoRoom(self.name, waiter.budget_seconds, gave_up, state.retry_after_seconds())
                self._telemetry.request(self.name, RequestOutcome.REJECTED)
                waiter.settled()

    # What it goes by ------------------------------------------------------------------------------

    def lend(self, loan: PolicyLoan) -> None:
        """Take a policy lent by an operator. Raises `StaleOrder`."""
        state = self._state
        with state.lock:
            state.order_fence.pass_through(loan.order)
            state.lending.lend(loan, state.clock())
        self._changed(self)

    def pin_by_hand(self, pinned: bool) -> None:
        """Pinned, the ladder and pressure leave the weights where they are; a move by hand still moves them."""
        with self._state.lock:
            self._state.pinned_by_hand = pinned
        self._changed(self)
