"""The one place that decides where a replica's weights should be.

`plan(policy, observation, now)` is pure and total: no I/O, no clock, no memory of earlier calls.
The operator calls it with what Prometheus shows, the standalone server with what it knows exactly.

Who wins: mode, then the manual residency, then a schedule window, then the ladder. What it never does,
whatever it is given (held by property tests): demote on an unknown signal, demote with requests in
flight, wake without a manual order or a window, demote by the ladder sooner than `min_resident_seconds`
after a wake.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from .defaults import MIN_RESIDENT_SECONDS, WAKE_BUDGET_SECONDS
from .residency import Residency, Trigger
from .schedule import Window


class Mode(StrEnum):
    """`Active` acts; `Observe` decides and explains and sends nothing; `Paused` leaves everything alone."""

    ACTIVE = "Active"
    OBSERVE = "Observe"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user asked for. Times are Unix seconds, durations seconds; None means never or not set.

    residency: the manual override, None for Auto; ignored after `residency_until`.
    residency_since: when the override was set, if known. A replica woken before it is demoted at once;
        one woken after it (by demand) stays for `min_resident_seconds` first.
    offload_after_seconds: GPU → CPU after so much idleness; 0 as soon as a task ends.
    unload_after_seconds: → Unloaded after so much idleness; greater than `offload_after_seconds`.
    min_resident_seconds: after a wake, no demotion by the ladder before; not applied with an offload of 0.

    Raises ValueError with the field's name for a negative or NaN duration or an unload that is not later
    than the offload.
    """

    mode: Mode = Mode.ACTIVE
    residency: Residency | None = None
    residency_since: float | None = None
    residency_until: float | None = None
    offload_after_seconds: float | None = None
    unload_after_seconds: float | None = None
    min_resident_seconds: float = MIN_RESIDENT_SECONDS
    wake_budget_seconds: float = WAKE_BUDGET_SECONDS
    schedule: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "offload_after_seconds",
            "unload_after_seconds",
            "min_resident_seconds",
            "wake_budget_seconds",
        ):
            value: float | None = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is {value}; write 0 or more, or leave it out for never")
        offload, unload = self.offload_after_seconds, self.unload_after_seconds
        if offload is not None and unload is not None and not unload > offload:
            raise ValueError(
                f"unload_after_seconds is {unload:g} and offload_after_seconds is {offload:g}; "
                "the unload must come later"
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one replica. None means unknown, and unknown never demotes.

    idle_since: Unix time of the latest of last request's end, last wake and load; irrelevant while in flight.
    resident_since: Unix time of the last transition, if known; matters only on the GPU.
    signal_age_seconds: how old the knowledge is (0 for the replica itself); used in reasons only, since
        whoever observes has judged freshness already and gives None for what is stale.
    unknown_because: why something is None, for the reason that a person reads.
    unload_refused: the replica said `Dirty` and was not used since: its changed weights would be lost.
    """

    residency: Residency | None
    in_flight: int | None
    idle_since: float | None
    resident_since: float | None = None
    signal_age_seconds: float = 0.0
    unknown_because: str = ""
    unload_refused: bool = False

    @property
    def idleness_known(self) -> bool:
        """Whether this observation may demote at all."""
        if self.residency is None or self.in_flight is None or self.in_flight < 0:
            return False
        return self.in_flight > 0 or (self.idle_since is not None and math.isfinite(self.idle_since))


class Action(StrEnum):
    """`ORDER`: send it. `WOULD_ORDER`: Observe mode, count it. `HOLD`: nothing to do."""

    HOLD = "hold"
    ORDER = "order"
    WOULD_ORDER = "would_order"


@dataclass(frozen=True, slots=True)
class Decision:
    """What should be, and why.

    desired: where the weights should be; None when nothing is wanted of the replica (Paused, or unknown).
    if_idle_for_seconds: the precondition that the replica checks itself, None for a wake.
    revisit_at: Unix time at which the passing of time alone may change this decision; None for never.
    """

    action: Action
    desired: Residency | None
    trigger: Trigger
    reason: str
    if_idle_for_seconds: float | None = None
    revisit_at: float | None = field(default=None, compare=False)


def plan(policy: Policy, observation: Observation, now: float) -> Decision:
    """Decide for one replica at `now` (Unix seconds). Never raises for well-formed arguments."""
    if policy.mode is Mode.PAUSED:
        return Decision(Action.HOLD, None, Trigger.MANUAL, "paused: nothing is ordered")
    wish = _manual(policy, observation, now) or _by_itself(policy, observation, now)
    at = observation.residency
    if wish.desired is None or at is wish.desired or wish.held:
        action = Action.HOLD
    elif policy.mode is Mode.OBSERVE:
        action = Action.WOULD_ORDER
    else:
        action = Action.ORDER
    demotes = action is not Action.HOLD and at is not None and wish.desired is not None and at.is_above(wish.desired)
    return Decision(
        action,
        wish.desired,
        wish.trigger,
        wish.reason,
        if_idle_for_seconds=wish.threshold_seconds if demotes else None,
        revisit_at=wish.revisit_at,
    )


@dataclass(frozen=True, slots=True)
class _Wish:
    """One rule's answer. `held`: desired differs from where it is, but it may not be moved now."""

    desired: Residency | None
    trigger: Trigger
    reason: str
    threshold_seconds: float = 0.0
    revisit_at: float | None = None
    held: bool = False


def _manual(policy: Policy, seen: Observation, now: float) -> _Wish | None:
    wanted, until = policy.residency, policy.residency_until
    if wanted is None or (until is not None and now >= until):
        return None
    if wanted is Residency.UNLOADED and seen.unload_refused:
        wanted = Residency.CPU
    reason = f"{wanted} set by hand"
    at = seen.residency
    if at is None:
        # A wake is safe to ask for blindly; a demotion is not.
        held = wanted is not Residency.GPU
        return _Wish(wanted, Trigger.MANUAL, _waits(reason, seen) if held else reason, revisit_at=until, held=held)
    if not at.is_above(wanted):
        return _Wish(wanted, Trigger.MANUAL, reason, revisit_at=until)
    if not seen.idleness_known:
        return _Wish(wanted, Trigger.MANUAL, _waits(reason, seen), revisit_at=until, held=True)
    if seen.in_flight:
        return _Wish(
            wanted,
            Trigger.MANUAL,
            f"{reason}; waits: in flight {seen.in_flight}",
            revisit_at=until,
            held=True,
        )
    stays_until = _thrash_guard(policy, seen, since=policy.residency_since)
    if now < stays_until:
        return _Wish(
            wanted,
            Trigger.MANUAL,
            f"{reason}; waits: woken by demand, stays {stays_until - now:.0f} s more",
            revisit_at=_earliest(stays_until, until),
            held=True,
        )
    return _Wish(wanted, Trigger.MANUAL, f"{reason}; in flight 0", revisit_at=until)


def _by_itself(policy: Policy, seen: Observation, now: float) -> _Wish:
    """The ladder, lifted by the highest window that is open."""
    floor, floor_closes, next_opening = _window(policy, now)
    ladder = _ladder(policy, seen, now)
    revisit_at = _earliest(ladder.revisit_at, floor_closes, next_opening)
    desired = ladder.desired
    if floor is not None and (desired is None or floor.is_above(desired) or seen.residency is None):
        # With nothing known, a window may still wake to the GPU; any other wish waits for the signal.
        held = seen.residency is None and floor is not Residency.GPU
        falls = seen.residency is not None and seen.residency.is_above(floor)
        held = held or (falls and ladder.held)
        reason = f"a schedule window holds at least {floor}"
        if falls:
            reason = f"{ladder.reason}; {reason}"
        elif held:
            reason = _waits(reason, seen)
        return _Wish(
            floor,
            Trigger.IDLE if falls else Trigger.SCHEDULE,
            reason,
            ladder.threshold_seconds,
            revisit_at,
            held,
        )
    return _Wish(desired, ladder.trigger, ladder.reason, ladder.threshold_seconds, revisit_at, ladder.held)


def _ladder(policy: Policy, seen: Observation, now: float) -> _Wish:
    at = seen.residency
    if at is None or seen.in_flight is None or not seen.idleness_known:
        return _Wish(at, Trigger.IDLE, _waits("idle signal", seen), held=True)
    if seen.in_flight > 0:
        return _Wish(at, Trigger.IDLE, f"in use: in flight {seen.in_flight}")
    assert seen.idle_since is not None  # noqa: S101 - idleness_known says so
    idle = max(0.0, now - seen.idle_since)
    rungs = [(policy.offload_after_seconds, Residency.CPU), (policy.unload_after_seconds, Residency.UNLOADED)]
    below = [(after, to) for after, to in rungs if after is not None and at.is_above(to)]
    if seen.unload_refused:
        below = [(after, to) for after, to in below if to is not Residency.UNLOADED]
    reached = [(after, to) for after, to in below if idle >= after]
    upcoming = [seen.idle_since + after for after, _ in below if idle < after]
    next_rung = min(upcoming, default=None)
    if not reached:
        return _Wish(at, Trigger.IDLE, _not_yet(policy, seen, idle, below), revisit_at=next_rung)
    threshold, to = reached[-1]
    if at is Residency.GPU and policy.offload_after_seconds != 0:
        stays_until = _thrash_guard(policy, seen, since=None)
        if now < stays_until:
            left = stays_until - now
            reason = f"idle {idle:.0f} s ≥ {threshold:g} s, but woken recently: stays {left:.0f} s more"
            return _Wish(at, Trigger.IDLE, reason, revisit_at=_earliest(stays_until, next_rung))
    reason = f"idle {idle:.0f} s ≥ {threshold:g} s{_signal(seen)}; in flight 0"
    return _Wish(to, Trigger.IDLE, reason, threshold_seconds=threshold, revisit_at=next_rung)


def _not_yet(policy: Policy, seen: Observation, idle: float, below: list[tuple[float, Residency]]) -> str:
    if seen.unload_refused and policy.unload_after_seconds is not None and seen.residency is Residency.CPU:
        return f"idle {idle:.0f} s; changed weights can't be unloaded, so they stay in host RAM"
    if not below:
        return f"idle {idle:.0f} s; no further step"
    after, to = below[0]
    return f"idle {idle:.0f} s < {after:g} s to {to}{_signal(seen)}; in flight 0"


def _signal(seen: Observation) -> str:
    """How old the knowledge is; nothing where the replica itself looks, on its own clock."""
    return f"; signal {seen.signal_age_seconds:.0f} s old" if seen.signal_age_seconds > 0 else ""


def _thrash_guard(policy: Policy, seen: Observation, since: float | None) -> float:
    """Until when a replica that was woken recently stays on the GPU (Unix seconds).

    A wake is never later than `idle_since`, so that stands in when the time of the wake is unknown.
    """
    if seen.residency is not Residency.GPU or seen.idle_since is None:
        return -math.inf
    woken = seen.idle_since
    if seen.resident_since is not None and math.isfinite(seen.resident_since):
        woken = seen.resident_since
    if since is not None and woken < since:
        return -math.inf
    return woken + policy.min_resident_seconds


def _window(policy: Policy, now: float) -> tuple[Residency | None, float | None, float | None]:
    """The highest residency held by an open window, when the first of these closes, when one opens next."""
    held: Residency | None = None
    closes: float | None = None
    opens: float | None = None
    for window in policy.schedule:
        opens = _earliest(opens, window.opens_after(now))
        until = window.open_until(now)
        if until is not None:
            closes = _earliest(closes, until)
            held = window.residency if held is None else Residency.highest(held, window.residency)
    return held, closes, opens


def _waits(what: str, seen: Observation) -> str:
    return f"{what}; waits: {seen.unknown_because or 'the idle signal is unknown'}"


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
