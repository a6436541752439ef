"""Makes room on the device for a model that somebody waits for: idle ones leave, one that is never at rest is drained.

Of this process, and of the neighbours on the same GPU; who leaves and when is decided in `turns`. The minimum residence
does not count here: a full device is worse than a model that sleeps early. Where nobody can leave, the wake waits for
as long as somebody waits for it, and then fails with need and room. A wake that nobody waits for sends nobody away.

A model that is waking holds no device memory while it waits for room, and one that leaves waits for nobody; a request
that holds one model and waits for another is refused when it is the only one in the way. So nothing waits in a circle.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from dormouse_contract import Residency, Trigger

from ...errors import DeviceFull, DormouseError
from ..device import DeviceMemory
from ..forking import begins_anew
from ..slot import Slot
from .held_room import HeldRoom
from .neighbours import Neighbours, as_question
from .turns import Claim, Decision, Key, Occupant, decide

_log = logging.getLogger("dormouse")

# Room that another process gives back is not announced, so it is looked for this often.
_LOOK_AGAIN_SECONDS = 0.1


class Arbiter:
    """Asked by the threads that wake models; several may ask at once, each acts for itself."""

    def __init__(self, slots: Callable[[], Iterable[Slot[Any]]], memory: Callable[[], DeviceMemory]) -> None:
        self._slots, self._memory = slots, memory
        self._neighbours: Neighbours | None = None
        self._held = HeldRoom(self._slot)
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

    def slot_changed(self, slot: Slot[Any]) -> None:
        """A use has ended or a model was moved: there may be room now."""
        if slot.in_use:
            return  # it can't leave
        if self._joins is not None and self._neighbours is None:
            self.join(*self._joins)
        with self._changed:
            self._changed.notify_all()

    def held_for_others(self, name: str) -> int:
        """Bytes of the free ones that were freed for models which wait for longer than this one."""
        return self._held.for_others_than(name)

    def got_room(self, name: str) -> None:
        """The device memory for a model's wake is there."""
        self._let_go(name)
        slot = self._slot(name)
        if slot is not None:
            slot.got_room()

    def make_room(self, name: str, full: DeviceFull) -> bool:
        """True when it is worth to try again: a model has left, or time has passed and somebody still waits."""
        if full.need_bytes > self._memory().total:
            return False  # it would not fit on an empty device
        slot = self._slot(name)
        claim = slot.lacks_room(full) if slot is not None else None
        if slot is None or claim is None:
            self._let_go(name)
            return False
        decision = self._decide(claim)
        if decision.making_room:
            self._hold(slot, claim)
        else:
            self._let_go(name)
        if self._carry_out(slot, claim, decision, full):
            return True
        with self._changed:
            self._changed.wait(min(claim.patience_seconds, _LOOK_AGAIN_SECONDS))
        return True

    def _decide(self, claim: Claim) -> Decision:
        memory = self._memory()
        free = memory.total - memory.used
        if not self.held_for_others(claim.key[1]):
            free = min(free, claim.need_bytes - 1)  # the device has just refused it, whatever it says of its memory
        claims = [one for slot in self._slots() if (one := slot.view.claim()) is not None]
        occupants = self._occupants(claims)
        if self._neighbours is not None:
            for elsewhere in self._neighbours.look():
                claims += elsewhere.claims
                occupants += elsewhere.occupants
        claims = [claim, *(one for one in claims if one.key != claim.key)]
        return decide(claims, occupants, free)[claim.key]

    def _occupants(self, claims: Iterable[Claim]) -> list[Occupant]:
        held = {claim.key: self._held_by_waiters(claim.key) for claim in claims}
        there = [(slot, one) for slot in self._slots() if (one := slot.view.occupant()) is not None]
        return [
            replace(one, held_for={key: sum(slot.has(use) for use in uses) for key, uses in held.items()})
            for slot, one in there
        ]

    def _held_by_waiters(self, key: Key) -> set[Any]:
        slot = self._slot(key[1])
        return slot.view.held_by_waiters() if slot is not None else set()

    def _carry_out(self, slot: Slot[Any], claim: Claim, decision: Decision, full: DeviceFull) -> bool:
        """True when something has left."""
        reason = f"{slot.name} needs {full.need_bytes} bytes and {full.room_bytes} are free"
        for _, name in decision.circle:
            held = self._slot(name)
            if held is not None:
                slot.refuse_who_is_in_the_way(held, full)
        for key in decision.drain:
            self._drain(key, decision.drain_seconds, reason)
        if decision.drain:
            return False  # who is at rest stays until all the others are: nobody shall leave in vain
        left = [self._leaves(key, reason, claim) for key in decision.leave]
        return any(left)

    def _hold(self, slot: Slot[Any], claim: Claim) -> None:
        self._held.hold(slot, claim)
        if self._neighbours is not None:
            self._neighbours.hold(claim)

    def _let_go(self, name: str) -> None:
        if self._held.let_go(name) and self._neighbours is not None:
            self._neighbours.hold(None)

    def _leaves(self, key: Key, reason: str, claim: Claim) -> bool:
        if key[0]:
            return self._neighbours is not None and self._neighbours.ask_to_leave(key, reason, claim)
        slot = self._slot(key[1])
        return slot is not None and _demote(slot, reason)

    def _drain(self, key: Key, seconds: float, reason: str) -> None:
        slot = self._slot(key[1])
        if key[0]:
            if self._neighbours is not None:
                self._neighbours.ask_to_drain(key, seconds, reason)
        elif slot is not None:
            slot.drain(seconds, reason)

    def _slot(self, name: str) -> Slot[Any] | None:
        return next((slot for slot in self._slots() if slot.name == name), None)

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What a neighbour asks."""
        ask, slot = question.get("ask"), self._slot(str(question.get("model")))
        reason = str(question.get("reason"))
        if ask == "idle":  # as earlier versions do
            idle = [slot for slot in self._slots() if slot.view.may_make_room]
            return {"idle": [{"model": slot.name, "idleSeconds": slot.view.idle_seconds} for slot in idle]}
        if ask == "models":
            claims = [one for slot in self._slots() if (one := slot.view.claim()) is not None]
            models = [as_question(one) for one in self._occupants(claims)]
            return {"models": models, "claims": [as_question(one) for one in claims]}
        if ask == "hold":
            self._held.hold_for_neighbour(question)
            return {}
        if ask == "drain":
            return {"draining": slot is not None and slot.drain(float(question.get("seconds", 0)), reason)}
        if ask != "leave" or slot is None or not slot.view.may_make_room:
            return {"left": False}
        with self._held.held_for_neighbour(question):
            return {"left": _demote(slot, reason)}


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
