"""What each button and each command of the plugin changes: a merge patch of a ManagedModel's spec.

By hand is never for ever unless somebody says so: wake, offload and unload hold for two minutes, in which the operator
carries them out, and then the ladder goes on from there.
"""

from enum import StrEnum
from typing import Any

from dormouse_contract import Mode, Residency
from dormouse_contract.managed_model import AUTO
from dormouse_contract.timestamps import to_rfc3339

from .errors import BadRequest

HOLD_SECONDS = 120.0
LONGEST_PIN_SECONDS = 366 * 86_400.0


class Change(StrEnum):
    WAKE = "wake"
    OFFLOAD = "offload"
    UNLOAD = "unload"
    PIN = "pin"
    AUTO = "auto"
    PAUSE = "pause"
    RESUME = "resume"


_HELD = {Change.WAKE: Residency.GPU, Change.OFFLOAD: Residency.CPU, Change.UNLOAD: Residency.UNLOADED}


def patch_for(change: Change, now: float, until: float | None = None) -> dict[str, Any]:
    """The merge patch. `until` (Unix seconds) is for a pin and nothing else. Raises BadRequest."""
    if (until is not None) != (change is Change.PIN):
        raise BadRequest("pin needs a time until which it holds, and the others take none")
    if change in _HELD:
        return {"spec": {"residency": _HELD[change], "residencyUntil": to_rfc3339(now + HOLD_SECONDS)}}
    match change:
        case Change.PIN:
            assert until is not None  # noqa: S101 - checked above
            if not now < until <= now + LONGEST_PIN_SECONDS:
                raise BadRequest("a pin ends in the future, at most a year from now")
            return {"spec": {"residency": Residency.GPU, "residencyUntil": to_rfc3339(until)}}
        case Change.AUTO:
            return {"spec": {"residency": AUTO, "residencyUntil": None}}
        case Change.PAUSE:
            return {"spec": {"mode": Mode.PAUSED}}
        case _:
            return {"spec": {"mode": Mode.ACTIVE}}


def has_no_effect_because(change: Change, mode: Mode) -> str:
    """Why a change is written and yet nothing will move, in words; empty when it will."""
    if change in (Change.PAUSE, Change.RESUME, Change.AUTO) or mode is Mode.ACTIVE:
        return ""
    if mode is Mode.PAUSED:
        return "its mode is Paused, so nothing will be ordered until it is resumed"
    return "its mode is Observe, so the operator explains what it would do and orders nothing"
