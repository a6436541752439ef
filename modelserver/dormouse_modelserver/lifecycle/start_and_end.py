"""What a server does with all of its models when it starts and when it stops."""

import logging
import time
from collections.abc import Iterable
from typing import Any

from dormouse_contract import Residency, Trigger

from ..errors import DormouseError, ModelChanged
from .slot import Slot

_log = logging.getLogger("dormouse")


def load_all(slots: Iterable[Slot[Any]]) -> None:
    """Into host RAM, one after the other, so that no two loads share the peak. Raises what a load raised."""
    for slot in slots:
        while (move := slot.begin_load(Trigger.STARTUP, "preload")) is not None:
            error = move.settled.result()
            if error is not None and slot.view.residency is Residency.UNLOADED:
                raise error.with_traceback(None)


def unload_all(slots: Iterable[Slot[Any]], within_seconds: float) -> None:
    """Unload each model, in order. One that can't leave stays, and the log says why: the process ends anyhow."""
    give_up_at = time.monotonic() + within_seconds
    for slot in slots:
        try:
            _unload(slot, give_up_at)
        except ModelChanged:
            _log.warning("model %s: its weights were changed since the load; the change ends here", slot.name)
        except (DormouseError, TimeoutError) as left:
            _log.info("model %s: not unloaded before the end of the process (%s)", slot.name, left or "no time")


def _unload(slot: Slot[Any], give_up_at: float) -> None:
    while (
        move := slot.begin_move(Residency.UNLOADED, trigger=Trigger.SHUTDOWN, reason="the server stops")
    ) is not None:
        error = move.settled.result(max(0.0, give_up_at - time.monotonic()))
        if move.asked is Residency.UNLOADED:
            if error is not None:
                raise error.with_traceback(None)
            return
