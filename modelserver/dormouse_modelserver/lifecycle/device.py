"""The device that models are moved to and from, as far as their life and the pages about it need to know it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import DeviceBroken


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on the whole device, and what this process holds of them; measured, never added up by us."""

    total: int
    used: int
    used_by_this_process: int | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A process on the device. name and nbytes are None where the driver doesn't tell."""

    pid: int
    name: str | None
    nbytes: int | None
    this_process: bool


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Bytes of the whole device. used_by_this_process and holders are None where the driver can't tell.

    holders: the largest first.
    """

    total: int
    used: int
    used_by_this_process: int | None
    holders: tuple[Holder, ...] | None


class Device(Protocol):
    """name: what the user called it (`sim`, `cuda:0`). gpu_uuid: the driver's UUID, or the name on `sim`."""

    @property
    def name(self) -> str: ...

    @property
    def gpu_uuid(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    @property
    def broken(self) -> str | None:
        """Why it does nothing any more in this process, one sentence of the driver's; None while it works.

        Known, not asked for. Once it is broken every call that needs the device raises `DeviceBroken`.
        """
        ...

    def examine(self) -> None:
        """After an error: find out whether the device works at all. `broken` says so then; raises nothing."""
        ...

    def memory(self) -> DeviceMemory: ...

    def occupancy(self) -> Occupancy:
        """Who holds how much, as measured now. Blocks for a few milliseconds: not for an event loop.

        Raises `DeviceBroken`.
        """
        ...


def check_works(device: Device) -> None:
    """Raises `DeviceBroken` when the device does nothing any more in this process."""
    if device.broken is not None:
        raise DeviceBroken(device.name, device.broken)


def largest_first(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    return tuple(sorted(holders, key=lambda holder: (-(holder.nbytes or 0), holder.pid)))


def program_of(pid: int) -> str | None:
    """The program's or script's name, never its arguments: those may hold secrets. None when it can't be read."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    program = Path(arguments[0]).name
    if program.startswith("python") and len(arguments) > 1 and arguments[1]:
        if not arguments[1].startswith("-"):
            return Path(arguments[1]).name
        if arguments[1] == "-m" and len(arguments) > 2:
            return arguments[2]
    return program or None
