"""When the operator changes its key: what comes next is decided here, from facts alone.

A sidecar refuses an order whose leaf it was not told of, and nobody tells it at once: the kubelet takes a
minute to bring a ConfigMap into a pod. So the new leaf is published first, beside the old one, orders go on
with the old key until the sidecars have the new leaf, and the old leaf stays a little after that for calls
that are under way. Each step is one write of the Secret, so whoever looks next goes on from there:

    facts                                                    step
    current is missing or has expired, next is good          SWITCH    nothing is lost by trying it early
    current is missing or has expired, no next               REPLACE   by a new pair, at once; orders wait for trust
    previous is there, long enough after the switch          RETIRE
    next has expired, or the source has another one by now   WITHDRAW
    next is there, every ConfigMap has it                    STAMP     the time counts from here
    next was stamped; all sidecars report it, or time is up  SWITCH
    the source has something newer than current              PREPARE   it becomes next
"""

from dataclasses import dataclass
from enum import StrEnum

DAY_SECONDS = 86400
# With so much of its lifetime left, a key that we make ourselves gets its successor.
RENEW_WITH_LEFT = 1 / 3
# Longer than a standby takes to read the Secret again (10 s) and a call to end (15 s), together.
RETIRE_AFTER_SECONDS = 30.0


class Step(StrEnum):
    HOLD = "Hold"
    REPLACE = "Replace"
    PREPARE = "Prepare"
    STAMP = "Stamp"
    SWITCH = "Switch"
    RETIRE = "Retire"
    WITHDRAW = "Withdraw"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate as far as rotation is concerned: who it is (SHA-256) and until when, in Unix seconds."""

    fingerprint: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Rules:
    """lifetime_seconds: of a key that we make; its successor is made with a third of that left.
    overlap_seconds: how long sidecars have at most, from publishing, to report the new leaf.
    """

    lifetime_seconds: float = 365.0 * DAY_SECONDS
    overlap_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class RotationState:
    """What the Secret says, and what the source offers.

    published_at: since when every ConfigMap has `next`; None before. switched_at: since when `previous` gives
    no orders any more. everywhere: whether the ConfigMaps have the leaves of this state now.
    offered: the source's leaf where it has one of its own (files); None where it has none that can be used.
    makes_keys: the source makes a new pair whenever one is asked for. wanted: a person asks for a new one.
    """

    current: Leaf | None = None
    next: Leaf | None = None
    published_at: float | None = None
    previous: Leaf | None = None
    switched_at: float = 0.0
    everywhere: bool = False
    offered: Leaf | None = None
    makes_keys: bool = True
    wanted: bool = False


def plan_rotation(state: RotationState, now: float, reported: bool, rules: Rules | None = None) -> Step:
    """The one next step. `reported`: every sidecar that we order says that it trusts `next`. Never raises."""
    rules = rules or Rules()
    usable = state.next is not None and state.next.expires_at > now
    if state.current is None or state.current.expires_at <= now:
        if usable:
            return Step.SWITCH
        return Step.REPLACE if state.makes_keys or state.offered is not None else Step.HOLD
    if state.previous is not None:
        # A clock that was set back must not keep it for ever.
        return Step.HOLD if 0 <= now - state.switched_at < RETIRE_AFTER_SECONDS else Step.RETIRE
    if state.next is not None:
        if not usable or (state.offered is not None and state.offered != state.next):
            return Step.WITHDRAW
        return _go_on(state, now, reported, rules)
    if state.makes_keys:
        due = state.current.expires_at - now < RENEW_WITH_LEFT * rules.lifetime_seconds
        return Step.PREPARE if due or state.wanted else Step.HOLD
    newer = state.offered is not None and state.offered != state.current
    return Step.PREPARE if newer else Step.HOLD


def _go_on(state: RotationState, now: float, reported: bool, rules: Rules) -> Step:
    if state.published_at is None or state.published_at > now:
        return Step.STAMP if state.everywhere else Step.HOLD
    if reported or now - state.published_at >= rules.overlap_seconds:
        return Step.SWITCH
    return Step.HOLD
