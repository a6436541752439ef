"""`sim`: a simulated device, chosen by name only. Real copies in host RAM, a hard capacity, no GPU.

It exists so that everything above the device runs and is tested without one. Its bytes per second say
nothing about a GPU's.
"""

import os
import time
from collections.abc import Callable

import torch
from dormouse_contract.wire import ReleasedMethod

from ....errors import CopyFailed, DeviceFull
from ....lifecycle.device import DeviceMemory, Holder, Occupancy, check_works, largest_first, program_of
from ....lifecycle.forking import begins_anew
from ..breakage import Breakage, first_sentence
from ..checks.checksum import checksum
from ..device import Arena, Sent
from ..host_pages import host_pages
from ..last_view import flat
from .account import Account, FileAccount, LocalAccount
from .faults import SimFaults as SimFaults
from .memory import SimMemory
from .reservation import SimReservation
from .stream import SimFence, SimStream

DEFAULT_CAPACITY_BYTES = 4 << 30
_CHUNK_BYTES = 64 << 20


class SimArena:
    """Its bytes are on the account until the last view of them is gone."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor: torch.Tensor | None = tensor

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the arena is closed")
        return self._tensor

    def close(self) -> None:
        self._tensor = None


class SimSent:
    """A tensor outside of any arena: a copy of it, and its bytes on the account."""

    def __init__(self, tensor: torch.Tensor, nbytes: int, give_back: Callable[[int], None]) -> None:
        self._tensor: torch.Tensor | None = tensor
        self._nbytes, self._give_back = nbytes, give_back

    @property
    def tensor(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("it was given back")
        return self._tensor

    def close(self) -> None:
        if self._tensor is not None:
            self._tensor = None
            self._give_back(self._nbytes)


class SimHostBuffer:
    def __init__(self, nbytes: int) -> None:
        self._tensor: torch.Tensor | None = host_pages(nbytes)

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the host buffer is closed")
        return self._tensor

    def pin(self) -> None:
        """There is nothing to pin for."""

    def close(self) -> None:
        self._tensor = None


class SimDevice:
    """`sim`, `sim:SIZE` or `sim:SIZE@/path`, where processes that name one path share one device.

    throttle_bytes_per_second: copies take at least as long as that link would; None is as fast as memory is.
    """

    simulated = True
    throttle_bytes_per_second: float | None = None

    def __init__(self, name: str, capacity_bytes: int = DEFAULT_CAPACITY_BYTES, path: str | None = None) -> None:
        self.name = name
        self.gpu_uuid = f"sim@{path}" if path else "sim"
        self.torch_device = torch.device("cpu")
        self._account: Account = FileAccount(path, capacity_bytes) if path else LocalAccount(capacity_bytes)
        self.begin_anew()
        begins_anew(self)

    def begin_anew(self) -> None:
        """Also in a forked child, which holds nothing of it."""
        self._account.begin_anew()
        self.faults = SimFaults()
        self._memory = SimMemory(self._account.capacity_bytes)
        self._breakage = Breakage(self.name)
        self._late, self._late_aside = SimStream(self._kernel_failed), SimStream(self._kernel_failed)

    @property
    def broken(self) -> str | None:
        return self._breakage.cause

    def forked(self) -> None:
        """There is nothing that a child could not use."""

    def examine(self) -> None:
        """There is nothing to find out: what broke it has said so."""

    def break_device(self, cause: str = "simulated: an illegal memory access was encountered") -> None:
        """A fault that nothing takes back: every call fails from now on, as after a CUDA error that sticks."""
        self._breakage.broke(cause)
        for stream in (self._late, self._late_aside):
            stream.stop()

    def _kernel_failed(self, error: BaseException) -> None:
        self.break_device(f"simulated: a kernel failed: {first_sentence(error)}")

    def _faults(self) -> SimFaults:
        """Asked at the beginning of every call. Raises `DeviceBroken`."""
        self._breakage.refuse()
        return self.faults

    def allocate(self, nbytes: int) -> Arena:
        self._take(nbytes)
        try:
            memory = self._memory.take(nbytes, lambda: self._account.give_back(nbytes))
            return SimArena(flat(self._labelled(memory.untyped_storage()), nbytes))
        except BaseException:
            self._account.give_back(nbytes)
            raise

    def send(self, tensor: torch.Tensor, nbytes: int) -> Sent:
        self._take(nbytes)
        try:
            return SimSent(self._copied(tensor.detach()), nbytes, self._account.give_back)
        except BaseException:
            self._account.give_back(nbytes)
            raise

    def _labelled(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """Memory of this device, as torch sees it."""
        return storage

    def _copied(self, tensor: torch.Tensor) -> torch.Tensor:
        """Not by `clone`, which makes an ordinary tensor of some that are quantized."""
        return tensor.to("cpu", copy=True)

    def _take(self, nbytes: int) -> None:
        limit = self._faults().full_at_byte
        if limit is not None and nbytes > limit:
            raise DeviceFull(self.name, nbytes, limit)
        room = self._account.take(nbytes)
        if room is not None:
            raise DeviceFull(self.name, nbytes, room)

    def reserve(self, nbytes: int) -> SimReservation:
        return SimReservation(self.name, nbytes, self._account, self._faults, self.synchronize, self._labelled)

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> SimHostBuffer:
        return SimHostBuffer(nbytes)

    def copy_in(self, source: torch.Tensor, arena: Arena, at: int = 0) -> None:
        before = self._faults().before_copy_in
        if before is not None:
            before()
            self._breakage.refuse()
        target, fail_at = arena.bytes[at : at + source.numel()], self.faults.fail_copy_in_at_byte
        for start in range(0, source.numel(), _CHUNK_BYTES):
            end = min(start + _CHUNK_BYTES, source.numel())
            if fail_at is not None and fail_at < at + end:
                target[start : fail_at - at].copy_(source[start : fail_at - at])
                del target  # the error's frames would keep the arena's memory
                raise CopyFailed(f"{self.name}: the copy to the device broke off at byte {fail_at}")
            self._move(source[start:end], target[start:end])
        self._flip(target, self.faults.corrupt_copy_in_at_byte, at)

    def copy_out(self, arena: Arena, target: torch.Tensor) -> None:
        before = self._faults().before_copy_out
        if before is not None:
            before()
            self._breakage.refuse()
        if self.faults.fail_copy_out:
            target[: target.numel() // 2].copy_(arena.bytes[: target.numel() // 2])
            raise CopyFailed(f"{self.name}: the copy from the device broke off")
        for start in range(0, target.numel(), _CHUNK_BYTES):
            self._move(arena.bytes[start : start + _CHUNK_BYTES], target[start : start + _CHUNK_BYTES])
        self._flip(target, self.faults.corrupt_copy_out_at_byte, 0)

    def checksum(self, data: torch.Tensor) -> int:
        room = self.faults.room_for_checksum_bytes
        if room is not None and data.numel() > room:
            raise DeviceFull(self.name, data.numel(), room)
        return checksum(data)

    def _move(self, source: torch.Tensor, target: torch.Tensor) -> None:
        started = time.monotonic()
        target.copy_(source)
        if self.throttle_bytes_per_second is not None:
            left = source.numel() / self.throttle_bytes_per_second - (time.monotonic() - started)
            time.sleep(max(0.0, left))

    @staticmethod
    def _flip(target: torch.Tensor, byte: int | None, at: int) -> None:
        if byte is not None and at <= byte < at + target.numel():
            target[byte - at] ^= 1

    def fence(self) -> SimFence:
        return self._late.fence()

    def synchronize(self) -> None:
        for stream in (self._late, self._late_aside):
            stream.fence().wait()
        self._breakage.refuse()

    def run_late(self, kernel: Callable[[], object], *, aside: bool = False) -> None:
        """Queue work as a GPU kernel is queued: this returns at once, `kernel` runs later, in order.

        aside: on a stream of the app's own, which a fence doesn't see. A kernel that raises breaks the device; on a
        broken one this raises what torch raises for a launch.
        """
        if self.broken is not None:
            raise RuntimeError(self.broken)
        (self._late_aside if aside else self._late).put(kernel)

    def trim(self) -> None:
        """Nothing is kept: the account knows only what is in use."""

    def memory(self) -> DeviceMemory:
        self._breakage.refuse()
        used, mine = self._account.used()
        return DeviceMemory(self._account.capacity_bytes, used, mine)

    def occupancy(self) -> Occupancy:
        """As the account says: of all processes that share it."""
        check_works(self)
        memory, mine = self.memory(), os.getpid()
        holders = (Holder(pid, program_of(pid), held, pid == mine) for pid, held in self._account.holders().items())
        return Occupancy(memory.total, memory.used, memory.used_by_this_process, largest_first(holders))

    def held_bytes(self) -> tuple[int, ReleasedMethod]:
        self._breakage.refuse()
        return self._account.used()[1], "sim"
