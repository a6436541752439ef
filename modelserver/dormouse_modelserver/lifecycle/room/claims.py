"""What a slot is to the others on its device: a claim, an occupant, or neither. Read under the slot's lock."""

import math
from typing import Any

from dormouse_contract import Residency

from ..engine import Engine
from ..state import SlotState
from .turns import Claim, Occupant

# How late a waiter may notice that its budget is used up, on a busy machine.
_GRACE_SECONDS = 1.0


def claim_of(name: str, state: SlotState, engine: Engine[Any], now: float) -> Claim | None:
    """None unless its wake lacks room and somebody waits for it."""
    move, waiters = state.transition, state.waiters
    if move is None or move.obstacle is None or not waiters:
        return None
    # Longer than any of them: the last to go ends the wait, and learns that its time was up.
    patience = max(waiter.since + waiter.budget_seconds for waiter in waiters) - now + _GRACE_SECONDS
    if patience <= 0:
        return None
    turn = state.lending.settings(now).turn_seconds
    due_at = min(waiter.since + min(turn, waiter.budget_seconds / 2) for waiter in waiters)
    return Claim(
        key=("", name),
        need_bytes=move.obstacle.need_bytes,
        waited_seconds=now - min(waiter.since for waiter in waiters),
        patience_seconds=patience,
        budget_seconds=min(waiter.budget_seconds for waiter in waiters),
        turn_due=not math.isinf(turn) and now >= due_at,
        turn_seconds=turn,
        restore_seconds=engine.estimate_seconds() or 0.0,
    )


def occupant_of(name: str, state: SlotState, engine: Engine[Any], now: float) -> Occupant | None:
    """None while it takes nothing on the device."""
    moving = state.transition is not None
    if state.residency is not Residency.GPU and not (moving and engine.device_bytes):
        return None
    resident_since, came_in_at = state.history.resident_since, state.came_in_at
    return Occupant(
        key=("", name),
        nbytes=engine.device_bytes,
        idle_seconds=state.idle_seconds(),
        in_use=not state.at_rest,
        uses=state.in_flight,
        pinned=state.pinned(now) or engine.device.broken is not None,
        moving=moving,
        resident_seconds=0.0 if resident_since is None else now - resident_since,
        came_in_seconds=None if came_in_at is None else now - came_in_at,
        restore_seconds=state.came_in_after_seconds,
        wake_budget_seconds=state.lending.settings(now).wake_budget_seconds,
        undrainable_seconds=state.drain.allowed_in_seconds(now),
    )
