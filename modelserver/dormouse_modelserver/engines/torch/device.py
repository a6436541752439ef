"""The one seam between the engine and a device. Everything above it is the same code on CUDA and on `sim`."""

from typing import Protocol

import torch
from dormouse_contract.wire import ReleasedMethod

from ...lifecycle.device import Device
from ...lifecycle.engine import Fence


class Arena(Protocol):
    """One allocation on the device: `bytes` is a flat uint8 tensor there, until `close`."""

    @property
    def bytes(self) -> torch.Tensor: ...

    def close(self) -> None:
        """Give the memory back to the device; later calls do nothing. A view that somebody kept
        keeps its bytes, and all of the memory until it is gone.

        Memory behind a reserved address is unmapped only when the work queued on the device is done. Raises
        `CopyFailed` when the device refuses; the arena is closed all the same, and what it still holds is given
        back before the reservation's next one.
        """
        ...


class Reservation(Protocol):
    """A range of device addresses, kept while no memory is behind it.

    CUDA graphs and compiled code hold raw addresses, so for them weights must come back to where they were:
    every arena from one reservation has its `bytes` at the same `data_ptr()`. Memory costs only while an
    arena is open. One at a time, and one caller at a time.
    """

    def allocate(self) -> Arena:
        """Map fresh memory at the reserved address; what it holds is undefined.

        Raises `DeviceFull` with need and room, or `CopyFailed`; nothing is mapped then, and the next try
        starts from nothing.
        """
        ...

    def close(self) -> None:
        """Give the addresses back, and the memory of an arena still open; later calls do nothing."""
        ...


class HostBuffer(Protocol):
    """Host RAM that the device copies from and to at full speed: flat uint8 `bytes`, exact size."""

    @property
    def bytes(self) -> torch.Tensor: ...

    def pin(self) -> None:
        """Fix its pages, if they aren't yet. Raises `CopyFailed`."""
        ...

    def close(self) -> None: ...


class Sent(Protocol):
    """A tensor of its own on the device, outside of any arena, until `close`."""

    @property
    def tensor(self) -> torch.Tensor: ...

    def close(self) -> None:
        """Give its memory back to the device; later calls do nothing."""
        ...


class DeviceBackend(Device, Protocol):
    """A device that torch weights can be on."""

    torch_device: torch.device

    def forked(self) -> None:
        """This is a forked child, where a real device can't be used: it is not asked again."""
        ...

    def allocate(self, nbytes: int) -> Arena:
        """Raises `DeviceFull` with need and room; nothing is allocated then."""
        ...

    def reserve(self, nbytes: int) -> Reservation:
        """Keep addresses for arenas of `nbytes`; no memory yet.

        Raises `ConfigurationError` where the device or the installation can't, with what to do about it.
        """
        ...

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> HostBuffer:
        """pinned: False to pin it later, when it is filled: pinning takes all of its pages at once."""
        ...

    def copy_in(self, source: torch.Tensor, arena: Arena, at: int = 0) -> None:
        """Host → device, from byte `at` of the arena on, complete on return. Raises `CopyFailed`; source unharmed."""
        ...

    def copy_out(self, arena: Arena, target: torch.Tensor) -> None:
        """Device → host, complete on return. Raises `CopyFailed`; the arena is unharmed."""
        ...

    def checksum(self, data: torch.Tensor) -> int:
        """Of flat uint8 `data` on the device, in multiples of 8 bytes; see `checksum`.

        Raises `DeviceFull` when not even the little memory that it takes there is free.
        """
        ...

    def send(self, tensor: torch.Tensor, nbytes: int) -> Sent:
        """A copy of a tensor of any kind, `nbytes` in all. Raises `DeviceFull` or `CopyFailed`; it is unharmed."""
        ...

    def fence(self) -> Fence:
        """Mark what the calling thread has queued so far, on its current stream."""
        ...

    def synchronize(self) -> None:
        """Block until everything that this process has queued on the device is done, on every stream.

        A fence sees one stream; the app may have used others. Raises `CopyFailed` when the device says that
        the work failed.
        """
        ...

    def trim(self) -> None:
        """Give back to the driver what this process keeps and doesn't use, so that other processes can have it.

        Raises nothing: what went before it is done, well or badly, and a refusal changes nothing of that.
        """
        ...

    def held_bytes(self) -> tuple[int, ReleasedMethod]:
        """What a release is measured by: read before and after it. Bytes and how they were counted."""
        ...
