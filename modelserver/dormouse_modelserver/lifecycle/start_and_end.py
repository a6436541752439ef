"""What a server does with all of its models when it starts and when it stops."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from dormouse_contract import Residency, Trigger

from ..errors import DormouseError, HostFull, ModelChanged
from .slot import Slot
from .slow_moves import SLOW_SECONDS

_log = logging.getLogger("dormouse")


def load_all(slots: Iterable[Slot[Any]], stopping: Callable[[], bool]) -> list[tuple[Slot[Any], DormouseError]]:
    """Into host RAM, one after the other, so that no two loads share the peak; those that failed, with why.

    A model that host RAM has no room for beside the others is passed over: a request may still wake it. One whose load
    takes very long, or hangs, is not waited for before the others are loaded.
    """
    failed: list[tuple[Slot[Any], DormouseError]] = []
    late: list[Slot[Any]] = []

    def load(slot: Slot[Any], patience_seconds: float | None) -> None:
        try:
            _load(slot, patience_seconds)
        except TimeoutError:
            _log.warning("model %s: its load takes long; the others are loaded meanwhile", slot.name)
            late.append(slot)
        except HostFull as full:
            _log.warning("model %s: not loaded at start: %s", slot.name, full)
        except DormouseError as error:
            failed.append((slot, error))

    for slot in slots:
        if stopping():
            break
        load(slot, SLOW_SECONDS)
    for slot in late:
        load(slot, None)
    return failed


def _load(slot: Slot[Any], patience_seconds: float | None) -> None:
    while (move := slot.begin_load(Trigger.STARTUP, "preload")) is not None:
        error = move.settled.result(patience_seconds)
        if move.trigger is Trigger.STARTUP:
            if error is not None:
                raise error.with_traceback(None)
            return


def unload_all(slots: Iterable[Slot[Any]], within_seconds: float) -> None:
    """Unload each model; one whose move hangs keeps no other one. One that can't leave stays, and the log says why: the
    process ends anyhow."""
    give_up_at = time.monotonic() + within_seconds
    for slot in sorted(slots, key=lambda slot: slot.under_way is not None):
        if slot.view.device_broken:
            continue  # nothing can be moved, and the log has said so
        try:
            _unload(slot, give_up_at)
        except ModelChanged:
            _log.warning("model %s: its weights were changed since the load; the change ends here", slot.name)
        except TimeoutError:
            _log.info("model %s: not unloaded before the end of the process: a move takes longer", slot.name)
        except DormouseError as error:
            _log.info("model %s: not unloaded before the end of the process: %s", slot.name, error)


def _unload(slot: Slot[Any], give_up_at: float) -> None:
    while (
        move := slot.under_way
        or slot.begin_move(Residency.UNLOADED, trigger=Trigger.SHUTDOWN, reason="the server stops")
    ) is not None:
        error = move.settled.result(max(0.0, give_up_at - time.monotonic()))
        if move.trigger is Trigger.SHUTDOWN:
            if error is not None:
                raise error.with_traceback(None)
            return
