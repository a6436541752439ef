"""Makes room on the device for a model that wants in: idle models leave first, the longest idle before the others.

Of this process, and of the neighbours on the same GPU. Never one in flight, waited for, waking or pinned. The minimum
residence does not count here: a full device is worse than a model that sleeps early. Where nobody can leave, the wake
waits for as long as somebody waits for it, and then fails with need and room.

Nothing can wait in a circle: a model that is waking is no candidate and holds no device memory while it waits, and one
that leaves waits for nobody.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from dormouse_contract import Residency, Trigger

from ...errors import DeviceFull, DormouseError
from ..forking import begins_anew
from ..slot import Slot
from .neighbours import IdleElsewhere, Neighbours

_log = logging.getLogger("dormouse")

# Room that another process gives back is not announced, so it is looked for this often.
_LOOK_AGAIN_SECONDS = 0.1

_Idle = tuple[float, Slot[Any] | IdleElsewhere]


class Arbiter:
    """Asked by the threads that wake models; several may ask at once, each frees for itself."""

    def __init__(self, slots: Callable[[], Iterable[Slot[Any]]], capacity_bytes: Callable[[], int]) -> None:
        self._slots, self._capacity_bytes = slots, capacity_bytes
        self._neighbours: Neighbours | None = None
        self._joins: tuple[str, str] | None = None
        self._changed = threading.Condition()
        begins_anew(self)

    def begin_anew(self) -> None:
        """In a forked child: a neighbour of the others like its parent, from its first change on."""
        self._changed = threading.Condition()
        if self._neighbours is not None:
            self._neighbours.forget()
            self._neighbours = None

    def join(self, folder: str, gpu_uuid: str) -> None:
        """From now on ask, and answer, the other processes of the folder. Raises `ConfigurationError`."""
        self._joins = (folder, gpu_uuid)
        self._neighbours = Neighbours(folder, gpu_uuid, self._answer)

    def close(self) -> None:
        self._joins = None
        if self._neighbours is not None:
            self._neighbours.close()

    def slot_changed(self) -> None:
        """A use has ended or a model was moved: there may be room now."""
        if self._joins is not None and self._neighbours is None:
            self.join(*self._joins)
        with self._changed:
            self._changed.notify_all()

    def make_room(self, name: str, full: DeviceFull) -> bool:
        """True when it is worth to try again: a model has left, or time has passed and somebody still waits."""
        if full.need_bytes > self._capacity_bytes():
            return False  # it would not fit on an empty device
        if self._someone_leaves(name, f"{name} needs {full.need_bytes} bytes and {full.room_bytes} are free"):
            return True
        slot = next((slot for slot in self._slots() if slot.name == name), None)
        patience = slot.patience_seconds(full) if slot is not None else 0.0
        if patience <= 0:
            return False
        with self._changed:
            self._changed.wait(min(patience, _LOOK_AGAIN_SECONDS))
        return True

    def _someone_leaves(self, name: str, reason: str) -> bool:
        here: list[_Idle] = [
            (slot.view.idle_seconds, slot) for slot in self._slots() if slot.name != name and slot.view.may_make_room
        ]
        there: list[_Idle] = [(idle.idle_seconds, idle) for idle in self._neighbours.idle()] if self._neighbours else []
        for _, idle in sorted([*here, *there], key=lambda one: one[0], reverse=True):
            if self._leaves(idle, reason):
                return True
        return False

    def _leaves(self, idle: "Slot[Any] | IdleElsewhere", reason: str) -> bool:
        if isinstance(idle, Slot):
            return _demote(idle, reason)
        return self._neighbours is not None and self._neighbours.ask_to_leave(idle, reason)

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What a neighbour asks."""
        idle = {slot.name: slot for slot in self._slots() if slot.view.may_make_room}
        if question.get("ask") == "idle":
            return {"idle": [{"model": name, "idleSeconds": slot.view.idle_seconds} for name, slot in idle.items()]}
        slot = idle.get(str(question.get("model")))
        left = question.get("ask") == "leave" and slot is not None and _demote(slot, str(question.get("reason")))
        return {"left": left}


def _demote(slot: Slot[Any], reason: str) -> bool:
    """True when it is off the device."""
    try:
        move = slot.begin_move(Residency.CPU, trigger=Trigger.PRESSURE, reason=reason[:1024])
    except DormouseError as refusal:  # it was used in this moment
        _log.debug("model %s: %s", slot.name, refusal)
        return False
    if move is None:
        return False
    return move.settled.result() is None and not slot.view.on_device
