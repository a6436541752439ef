"""Who leaves the device, and who is drained, so that each model that somebody waits for gets its turn. Pure.

- Claims are served in the order in which they came. What an earlier one counts on is not there for a later one.
- Idle models leave, the longest idle first, and no more of them than it takes. If all that may leave would not make
  room, nobody does.
- One that is never at rest is drained when the claim has waited for its turn: `turnSeconds`, or half of its request's
  patience where that is less, since a turn after the request has left is of no use to it.
- Thrash bound: who came in by a claim keeps its place for a while. A pause between two of its requests is no rest.
- Uses whose requests wait for a claim are no help to it: when only those are in the way, it can never be served.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

# Who came in by a claim keeps its place for so many seconds, or so many of its restores …
_PROTECTED_SECONDS = 5.0
_PROTECTED_RESTORES = 5.0
# … unless it has rested for this long meanwhile: two models used in turns by one caller need not wait for each other.
_REST_SECONDS = 0.25

Key = tuple[str, str]
"""A process and a model of it; ("", name) is of this process."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A model that somebody waits for and that lacks room.

    patience_seconds: how long its last waiter still waits. budget_seconds: how long its most impatient one waits.
    turn_due: its first waiter has waited for as long as it must for one that is never at rest.
    turn_seconds: its setting. restore_seconds: until it is on the device, once there is room.
    """

    key: Key
    need_bytes: int
    waited_seconds: float
    patience_seconds: float
    budget_seconds: float = math.inf
    turn_due: bool = False
    turn_seconds: float = math.inf
    restore_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Occupant:
    """A managed model on the device.

    nbytes: what its leaving frees; None when it is not known (an older neighbour), which counts as enough.
    pinned: it may not leave. moving: it may leave later. in_use: it would have to be drained.
    came_in_seconds: since it came in by a claim; None when it did not. rested_out: it may not be drained for so long.
    held_for: of its uses, how many are held by requests that wait for which claim; `uses` are all.
    """

    key: Key
    nbytes: int | None
    idle_seconds: float
    in_use: bool = False
    uses: int = 0
    pinned: bool = False
    moving: bool = False
    resident_seconds: float = 0.0
    came_in_seconds: float | None = None
    restore_seconds: float = 0.0
    wake_budget_seconds: float = math.inf
    undrainable_seconds: float = 0.0
    held_for: Mapping[Key, int] = field(default_factory=dict)

    def protected_from(self, claim: Claim) -> bool:
        if self.came_in_seconds is None or (not self.in_use and self.idle_seconds >= _REST_SECONDS):
            return False
        # A claim that would not live to see the end of it waits for less, never for less than the swaps cost.
        least = max(_REST_SECONDS, _PROTECTED_RESTORES * self.restore_seconds)
        return self.came_in_seconds < max(least, min(_PROTECTED_SECONDS, claim.budget_seconds / 3))

    def stuck_for(self, claims: Iterable[Key]) -> bool:
        """All of its uses are held by requests that wait for one of these."""
        return self.uses > 0 and sum(self.held_for.get(key, 0) for key in claims) >= self.uses


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done for one claim now. leave: at rest, and may go at once. drain: for how long at most, in seconds.

    circle: those whose uses are all held by requests that wait: they can't leave before these have got an answer.
    making_room: what is freed from now on is for this claim.
    """

    leave: tuple[Key, ...] = ()
    drain: tuple[Key, ...] = ()
    drain_seconds: float = 0.0
    circle: tuple[Key, ...] = ()
    reason: str = ""

    @property
    def making_room(self) -> bool:
        return bool(self.leave or self.drain)


def decide(claims: Collection[Claim], occupants: Iterable[Occupant], free_bytes: int) -> dict[Key, Decision]:
    """One decision for each claim."""
    left, free, decided = list(occupants), free_bytes, dict[Key, Decision]()
    everybody = [claim.key for claim in claims]
    for claim in sorted(claims, key=lambda claim: (-claim.waited_seconds, claim.key)):
        decision, counted_on = _for(claim, [one for one in left if one.key != claim.key], free, everybody)
        decided[claim.key] = decision
        if counted_on is not None:
            left = [one for one in left if one.key not in counted_on]
            free = max(0, free - claim.need_bytes)
    return decided


def _for(
    claim: Claim, others: list[Occupant], free: int, claims: Collection[Key]
) -> tuple[Decision, Collection[Key] | None]:
    """The decision, and whom it counts on, now or later; None when nothing would make room."""
    lacking = claim.need_bytes - free
    if lacking <= 0:
        return Decision(reason="there is room"), ()
    may_leave = [one for one in others if not one.pinned]
    if _bytes(may_leave, claim) < lacking:
        pinned = ", ".join(one.key[1] for one in others if one.pinned)
        return Decision(reason=f"{pinned} may not leave" if pinned else "nobody there can make enough room"), None
    ready = [one for one in may_leave if not one.moving and not one.protected_from(claim)]
    at_rest = sorted((one for one in ready if not one.in_use), key=lambda one: -one.idle_seconds)
    if chosen := _enough(at_rest, lacking, claim):
        return Decision(leave=_keys(chosen), reason="idle"), _keys(chosen)
    waits_for = _enough([*at_rest, *(one for one in may_leave if one not in at_rest)], lacking, claim)
    in_the_way = [one for one in may_leave if one.stuck_for([claim.key])]
    if in_the_way and _bytes(may_leave, claim) - _bytes(in_the_way, claim) < lacking:
        return Decision(circle=_keys(in_the_way), reason="its own request is in the way"), _keys(waits_for)
    if not claim.turn_due:
        return Decision(reason="it waits for its turn"), _keys(waits_for)
    stuck = [one for one in may_leave if one.stuck_for(claims)]
    if stuck and _bytes(may_leave, claim) - _bytes(stuck, claim) < lacking:
        return Decision(circle=_keys(stuck), reason="requests wait for each other"), _keys(waits_for)
    in_use = (one for one in ready if one.in_use and not one.undrainable_seconds and one not in stuck)
    longest_there = sorted(in_use, key=lambda one: -one.resident_seconds)
    chosen = _enough([*at_rest, *longest_there], lacking, claim)
    drained = [one for one in chosen if one.in_use]
    seconds = _drain_seconds(claim, drained)
    if not chosen or seconds <= 0:
        return Decision(reason="nobody can be drained now"), _keys(waits_for)
    leave = [one for one in chosen if not one.in_use]
    return Decision(_keys(leave), _keys(drained), seconds, reason="its turn"), _keys(chosen)


def _drain_seconds(claim: Claim, drained: list[Occupant]) -> float:
    budget = min((one.wake_budget_seconds for one in drained), default=math.inf)
    return min(claim.turn_seconds, budget / 3, claim.patience_seconds - claim.restore_seconds)


def _enough(candidates: Iterable[Occupant], lacking: int, claim: Claim) -> list[Occupant]:
    """The first of them that make the room, less those that turn out superfluous; none when all would not."""
    chosen: list[Occupant] = []
    for one in candidates:
        chosen.append(one)
        if _bytes(chosen, claim) >= lacking:
            break
    else:
        return []
    for one in tuple(chosen):
        rest = [other for other in chosen if other is not one]
        if _bytes(rest, claim) >= lacking:
            chosen = rest
    return chosen


def _bytes(occupants: Iterable[Occupant], claim: Claim) -> int:
    return sum(claim.need_bytes if one.nbytes is None else one.nbytes for one in occupants)


def _keys(occupants: Iterable[Occupant]) -> tuple[Key, ...]:
    return tuple(one.key for one in occupants)
