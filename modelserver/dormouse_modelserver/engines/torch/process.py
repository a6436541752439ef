"""What the models of one process share: the device, the host's RAM, the measured pace, and storages held by several."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ...errors import DeviceFull
from ...lifecycle.forking import begins_anew
from ...lifecycle.frames import let_go_of_locals
from ...lifecycle.room.host_budget import HostBudget
from .device import DeviceBackend
from .layout.said_devices import SaidDevices
from .pace import Pace
from .sharing.loads_under_way import LoadsUnderWay
from .sharing.shared_bundles import SharedBundles

A = TypeVar("A")
# Asked with the name of the model that wants in and what it lacks: True when something else was moved away.
MakeRoom = Callable[[str, DeviceFull], bool]


def nothing_held(name: str) -> int:
    """No room is being made for anybody else."""
    return 0


def nobody_asks(name: str) -> None:
    """Of who got the room that it needs."""


def no_room(name: str, full: DeviceFull) -> bool:
    """Nobody else is on the device, or nobody may be asked to leave it."""
    return False


@dataclass(slots=True, weakref_slot=True)
class TorchProcess:
    """Everything here is thread-safe; `make_room` may block until another model has left the device.

    held_for_others: bytes that model `name` may not take, since they were freed for another one. got_room: it took its.
    accounting: held for a moment by whoever takes or gives back device memory, so that what is measured before and
        after a release is that release.
    """

    device: DeviceBackend
    host: HostBudget = field(default_factory=HostBudget)
    pace: Pace = field(default_factory=Pace)
    shared: SharedBundles = field(default_factory=SharedBundles)
    loads: LoadsUnderWay = field(default_factory=LoadsUnderWay)
    said: SaidDevices = field(default_factory=SaidDevices)
    make_room: MakeRoom = no_room
    held_for_others: Callable[[str], int] = nothing_held
    got_room: Callable[[str], None] = nobody_asks
    accounting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        begins_anew(self)

    def begin_anew(self) -> None:
        """In a forked child: nothing is shared, promised or measured yet."""
        self.host, self.pace, self.shared = HostBudget(), Pace(), SharedBundles()
        self.loads, self.said, self.accounting = LoadsUnderWay(), SaidDevices(), threading.Lock()

    def with_room(self, name: str, take: Callable[[], A], nbytes: int = 0) -> A:
        """Take device memory for model `name`; while it is full, others are asked to leave. Raises `DeviceFull`."""
        while True:
            try:
                with self.accounting:
                    self.leave_what_is_held(name, nbytes)
                    taken = take()
                self.got_room(name)
                return taken
            except DeviceFull as full:
                if not self.room_made(name, full):
                    raise

    def leave_what_is_held(self, name: str, need_bytes: int) -> None:
        """Raises `DeviceFull` when what is free beside the room that is held for others is less than that."""
        held = self.held_for_others(name) if need_bytes else 0
        if held:
            memory = self.device.memory()
            room = max(0, memory.total - memory.used - held)
            if room < need_bytes:
                raise DeviceFull(self.device.name, need_bytes, room)

    def room_made(self, name: str, full: DeviceFull) -> bool:
        """`make_room`, with nothing of the failed try held meanwhile, neither by the error nor in torch's cache."""
        let_go_of_locals(full)
        self.device.trim()
        return self.make_room(name, full)
