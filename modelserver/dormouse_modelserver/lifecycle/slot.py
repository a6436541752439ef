"""One model's slot: it owns the state, and everyone else asks it for an outcome.

    Unloaded ──load──► CPU ──restore──► GPU        (a wake does both; demand starts it)
    Unloaded ◄─unload─ CPU ◄─offload── GPU         (a demotion; refused while in use)

- A use is granted only on the GPU with no transition under way. So a demotion, which begins only with
  nothing in flight and nobody waiting, never meets running work; kernels still queued are waited for.
- Demand during a demotion waits, and the wake begins when the demotion has settled.
- A wake goes on without its waiters, and all who wait for it share one.
- A failed transition leaves the weights in a whole tier, tells every waiter why, and the next use tries again.

One short lock; the weights are moved by a thread of the transition's own, outside the lock.
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dormouse_contract import Observation, Policy, RequestOutcome, Residency, TransitionOutcome, Trigger
from dormouse_contract.wire import LastTransitionSnapshot, ModelSnapshot, OrderStamp, PolicyLoan

from ..engines.torch.device import Fence, check_works
from ..engines.torch.options import Released
from ..engines.torch.weights import Weights
from ..errors import (
    DeviceBroken,
    DeviceFull,
    DormouseError,
    ModelBusy,
    NoRoom,
    QueueFull,
    TransitionFailed,
    WakeTimeout,
)
from .clock import Clock, steady_unix_time
from .fencing import OrderFence
from .history.advice import Observed
from .history.history import History
from .moving import carry_out
from .settings import Lending, SlotSettings
from .telemetry import Telemetry
from .transition import Transition
from .uses import finalizing
from .uses.waiting import Place, Waiter

T = TypeVar("T")
_log = logging.getLogger("dormouse")

# How late a waiter may notice that its budget is used up, on a busy machine.
_GRACE_SECONDS = 1.0


class Slot(Generic[T]):
    def __init__(
        self,
        name: str,
        weights: Weights[T],
        settings: SlotSettings,
        telemetry: Telemetry,
        *,
        clock: Clock = steady_unix_time,
        changed: "Callable[[Slot[T]], None]" = lambda slot: None,
    ) -> None:
        self.name = name
        self.pinned_by_hand = False
        self._weights, self._telemetry, self._clock, self._changed = weights, telemetry, clock, changed
        self._lending = Lending(settings)
        self._fence = OrderFence()
        finalizing.start()
        self._lock = threading.Lock()
        self._residency = Residency.UNLOADED
        self._transition: Transition | None = None
        self._in_flight = 0
        self._waiters: deque[Waiter] = deque()
        self._fences: list[Fence] = []
        self._history = History(clock())

    # Uses -----------------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        return self._in_flight > 0

    @property
    def moved_apart(self) -> tuple[str, ...]:
        return self._weights.moved_apart

    def model(self) -> T:
        """The user's object; only for who holds a use."""
        return self._weights.model

    def enter(self, settled: Callable[[], bool], timeout_seconds: float | None = None) -> Waiter:
        """Ask for a use: granted at once on the GPU, otherwise queued, and the model is woken.

        `timeout_seconds` is how long it may wait, None the model's wake budget. Raises `QueueFull`, or `DeviceBroken`
        at once.
        """
        if self.device_broken:
            self._telemetry.request(self.name, RequestOutcome.REJECTED)
            check_works(self._weights.device)
        with self._lock:
            now = self._clock()
            settings = self._lending.settings(now)
            budget = settings.wake_budget_seconds if timeout_seconds is None else timeout_seconds
            waiter = Waiter(settled, now, budget)
            self._history.arrivals.arrived(now, alone=not self._in_flight and not self._waiters)
            if self._transition is None and self._residency is Residency.GPU:
                self._grant(waiter)
            elif len(self._waiters) < settings.max_waiting:
                self._waiters.append(waiter)
                self._wake_for_waiters()
            else:
                self._telemetry.request(self.name, RequestOutcome.REJECTED)
                raise QueueFull(self.name, len(self._waiters), self._retry_after())
            return waiter

    def abandon(self, waiter: Waiter) -> None:
        """Give the place up: cancelled or timed out. A use granted meanwhile is handed back."""
        with self._lock:
            if waiter.place is Place.GRANTED:
                self._end_use()
            elif waiter.place is Place.WAITING:
                self._waiters.remove(waiter)
            waiter.place = Place.LEFT
        self._changed(self)

    def conclude(self, waiter: Waiter) -> Place:
        """Stop waiting: how it ended. A place still waiting is given up, atomically with looking at it."""
        with self._lock:
            if waiter.place is Place.WAITING:
                self._waiters.remove(waiter)
                waiter.place = Place.LEFT
            return waiter.place

    def timed_out(self, waiter: Waiter) -> WakeTimeout:
        """The error for a use whose budget is used up, with when to come back, and what room is missing."""
        self._telemetry.request(self.name, RequestOutcome.TIMEOUT)
        with self._lock:
            retry_after = self._retry_after()
            doing = self._transition
        if doing is not None and doing.obstacle is not None:
            return NoRoom(self.name, waiter.budget_seconds, doing.obstacle, retry_after)
        what = f"{doing.origin} → {doing.to} under way" if doing is not None else f"it is on the {self._residency}"
        return WakeTimeout(
            f"model {self.name!r} was not awake within {waiter.budget_seconds:g} s ({what}); the wake goes on. "
            f"Ask again in {retry_after:.0f} s",
            retry_after,
        )

    def patience_seconds(self, obstacle: DeviceFull) -> float:
        """How long a wake that lacks room may still wait for it: as long as somebody waits for the model."""
        with self._lock:
            if self._transition is not None:
                self._transition.obstacle = obstacle
            now = self._clock()
            left = (waiter.since + waiter.budget_seconds - now for waiter in self._waiters)
            # Longer than any of them: the last to go ends the wait, and is told that its time was up.
            return max((seconds + _GRACE_SECONDS for seconds in left), default=0.0)

    def leave(self, failed: bool) -> None:
        """End a use. What the caller queued on the device is waited for before the weights move."""
        fence = self._weights.device.fence()
        with self._lock:
            self._fences = [earlier for earlier in self._fences if not earlier.done()] + [fence]
            self._end_use()
        self._telemetry.request(self.name, RequestOutcome.ERROR if failed else RequestOutcome.OK)
        self._changed(self)

    def _grant(self, waiter: Waiter) -> None:
        waiter.place = Place.GRANTED
        self._in_flight += 1
        self._weights.gate.open = True
        self._history.use_began()

    def _end_use(self) -> None:
        self._in_flight -= 1
        self._history.use_ended(self._clock())
        if self._in_flight == 0:
            self._weights.gate.open = False

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
        `ModelChanged` at once for an unload that was refused since the last use, `DeviceBroken` and `StaleOrder`.
        Nothing has changed then.
        """
        check_works(self._weights.device)
        try:
            with self._lock:
                self._fence.pass_through(order)
                return self._begin(to, if_idle_for, trigger, reason)
        except ModelBusy as busy:
            refused = TransitionOutcome.REFUSED
            self._telemetry.transition(self.name, self._residency, to, trigger, refused, 0.0, f"{reason}; {busy}")
            raise

    def _begin(self, to: Residency, if_idle_for: float | None, trigger: Trigger, reason: str) -> Transition | None:
        under_way = self._transition
        if under_way is None and self._residency is to:
            return None
        if under_way is not None and (under_way.to is to or to.is_above(under_way.to)):
            return under_way
        if self._residency.is_above(to) or under_way is not None:
            self._check_unused(to, if_idle_for)
        if to is Residency.UNLOADED and self._history.unload_refused is not None:
            raise self._history.unload_refused.with_traceback(None)
        return under_way if under_way is not None else self._start(to, trigger, reason)

    def _check_unused(self, to: Residency, if_idle_for: float | None) -> None:
        waking = self._transition is not None and self._transition.wakes
        idle = self._idle_seconds()
        if self._in_flight or self._waiters or waking:
            problem = f"in use by {self._in_flight} requests, {len(self._waiters)} waiting"
            problem += ", waking now" if waking else ""
        elif if_idle_for is not None and idle < if_idle_for:
            problem = f"idle for {idle:.1f} s only, and {if_idle_for:g} s are asked for"
        else:
            return
        raise ModelBusy(
            f"model {self.name!r} was not moved to {to}: {problem}. Ask again when it is idle",
            in_flight=self._in_flight,
            waiting=len(self._waiters),
            idle_seconds=idle,
        )

    def _wake_for_waiters(self) -> None:
        if self._transition is None and self._waiters and self._residency is not Residency.GPU:
            self._start(Residency.GPU, Trigger.DEMAND, f"{len(self._waiters)} waiting")

    def _start(self, to: Residency, trigger: Trigger, reason: str) -> Transition:
        transition = Transition(self._residency, to, trigger, reason, self._clock())
        fences, self._fences = self._fences, []
        self._transition = transition
        threading.Thread(
            target=self._carry_out, args=(transition, fences), name=f"dormouse-{self.name}", daemon=True
        ).start()
        return transition

    def _carry_out(self, transition: Transition, fences: list[Fence]) -> None:
        error, released = carry_out(self._weights, transition, fences, self.name)
        self._settle(transition, error, released)

    def _settle(self, transition: Transition, error: DormouseError | None, released: Released | None) -> None:
        now = self._clock()
        with self._lock:
            self._transition = None
            self._residency = self._weights.residency
            if isinstance(error, TransitionFailed):
                error.residency, error.retry_after_seconds = self._residency, self._retry_after()
            ended = self._history.moved(transition, self._residency, error, released, now)
            self._resolve_waiters(transition, error, now)
            self._wake_for_waiters()
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
        transition.settled.set_result(error)
        self._changed(self)

    def _resolve_waiters(self, transition: Transition, error: DormouseError | None, now: float) -> None:
        """On the GPU, let everybody in; after a wake that failed, tell everybody why. Otherwise they wait on.

        A wake that waited for room gave up because nobody waited any more. On a broken device no wake is worth a try.
        """
        broken = isinstance(error, DeviceBroken)
        there = self._residency is Residency.GPU and not broken
        if not there and not broken and (transition.to is not Residency.GPU or error is None):
            return
        gave_up = error if transition.obstacle is not None and isinstance(error, DeviceFull) else None
        settled, self._waiters = self._waiters, deque()
        for waiter in settled:
            if there:
                self._grant(waiter)
                self._telemetry.waited(self.name, now - waiter.since)
            elif gave_up is not None and now < waiter.since + waiter.budget_seconds:
                self._waiters.append(waiter)  # it came as the wake gave up waiting for room: it has a wake of its own
                continue
            else:
                waiter.place, waiter.error = Place.FAILED, error
                if gave_up is not None:
                    waiter.error = NoRoom(self.name, waiter.budget_seconds, gave_up, self._retry_after())
                self._telemetry.request(self.name, RequestOutcome.REJECTED)
            if not waiter.settled() and waiter.place is Place.GRANTED:
                waiter.place = Place.LEFT
                self._end_use()

    @property
    def idle_seconds(self) -> float:
        with self._lock:
            return self._idle_seconds()

    @property
    def device_broken(self) -> bool:
        """Nothing moves any more, and nothing is let in."""
        return self._weights.device.broken is not None

    @property
    def may_make_room(self) -> bool:
        """On the device, used by nobody, and not pinned: it may be asked to leave for another model."""
        if self.device_broken:
            return False
        with self._lock:
            at_rest = self._transition is None and not self._in_flight and not self._waiters
            return self._residency is Residency.GPU and at_rest and not self._pinned(self._clock())

    @property
    def on_device(self) -> bool:
        with self._lock:
            return self._residency is Residency.GPU

    # What it goes by, and what it tells -----------------------------------------------------------

    def lend(self, loan: PolicyLoan) -> None:
        """Take a policy lent by an operator. Raises `StaleOrder`."""
        with self._lock:
            self._fence.pass_through(loan.order)
            self._lending.lend(loan, self._clock())
        self._changed(self)

    def pin_by_hand(self, pinned: bool) -> None:
        """Pinned, the ladder and pressure leave the weights where they are; a move by hand still moves them."""
        with self._lock:
            self.pinned_by_hand = pinned
        self._changed(self)

    @property
    def settings(self) -> SlotSettings:
        with self._lock:
            return self._lending.settings(self._clock())

    def outlook(self) -> tuple[Policy, Observation, float | None]:
        """For the keeper: the policy in force, what is observed, and when the policy in force lapses.

        With a transition under way or a pin everything counts as in use.
        """
        with self._lock:
            now = self._clock()
            held = self._transition is not None or self._pinned(now)
            observation = Observation(
                residency=self._residency,
                in_flight=max(self._in_flight + len(self._waiters), int(held)),
                idle_since=self._history.idle_since,
                resident_since=self._history.resident_since,
                unload_refused=self._history.unload_refused is not None,
            )
            return self._lending.settings(now).policy(), observation, self._lending.lapses_at(now)

    @property
    def demotion_failed_at(self) -> float | None:
        """When the last demotion failed (Unix seconds); None when it did not."""
        with self._lock:
            return self._history.demotion_failed_at

    def snapshot(self) -> ModelSnapshot:
        with self._lock:
            now, doing = self._clock(), self._transition
            return ModelSnapshot(
                name=self.name,
                residency=self._residency,
                in_flight=self._in_flight,
                waiting=len(self._waiters),
                idle_seconds=self._idle_seconds(),
                last_request_end=self._history.last_request_end,
                gpu_memory_bytes=self._weights.device_bytes,
                host_memory_bytes=self._weights.host_bytes,
                gpu_memory_released_bytes=self._history.released.nbytes,
                released_method=self._history.released.method,
                device=self._weights.device.name,
                dirty=self._weights.dirty,
                pinned=self._pinned(now),
                restore_estimate_seconds=self._estimate(now),
                transition=None if doing is None else doing.snapshot(),
                last_transition=self._history.last,
            )

    def figures(self) -> "SlotFigures":
        """What the metrics show beyond the snapshot."""
        with self._lock:
            return SlotFigures(
                idle_since=0.0 if self._in_flight else self._history.idle_since,
                released_byte_seconds=self._history.released_byte_seconds(self._clock()),
                residual_bytes=self._history.released.residual,
            )

    def recent_transitions(self) -> tuple[LastTransitionSnapshot, ...]:
        """The latest that ended, newest first, refused and failed ones included."""
        with self._lock:
            return tuple(self._history.recent)

    def observed(self) -> Observed:
        """How the model was used and what its sleep is worth, for advice on its timeouts."""
        with self._lock:
            now, policy, speed = self._clock(), self._lending.own.policy(), self._weights.speed
            lent = self._lending.current(now) is not None
            bursts = self._history.arrivals.bursts(now)
            return Observed(
                now=now,
                since=self._history.arrivals.since,
                bursts=bursts,
                in_use=bool(self._in_flight or self._waiters),
                gpu_memory_bytes=self._weights.device_bytes or self._history.released.nbytes or None,
                restore_seconds=speed.restore_seconds,
                load_seconds=speed.load_seconds,
                idle_timeout_seconds=None if lent else _or_never(policy.offload_after_seconds),
                unload_timeout_seconds=_or_never(policy.unload_after_seconds),
            )

    def _pinned(self, now: float) -> bool:
        loan = self._lending.current(now)
        return self.pinned_by_hand or (loan is not None and loan.pinned)

    def _idle_seconds(self) -> float:
        return 0.0 if self._in_flight else max(0.0, self._clock() - self._history.idle_since)

    def _estimate(self, now: float) -> float | None:
        """Seconds to the GPU from here, from measured speeds; less what has passed of a wake under way."""
        whole, doing = self._weights.estimate_seconds(), self._transition
        waking = doing is not None and doing.to is Residency.GPU
        return (
            max(0.0, whole - (now - doing.started_at)) if whole is not None and doing is not None and waking else whole
        )

    def _retry_after(self) -> float:
        return max(1.0, self._estimate(self._clock()) or 0.0)


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """idle_since: Unix seconds, 0 while in flight."""

    idle_since: float
    released_byte_seconds: float
    residual_bytes: int


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
