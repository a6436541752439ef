"""`sim`: a simulated device, chosen by name only. Real copies in host RAM, a hard capacity, no GPU.

It exists so that everything above the device runs and is tested without one. Its bytes per second say
nothing about a GPU's.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from dormouse_contract.wire import ReleasedMethod

from ..errors import CopyFailed, DeviceFull
from .account import Account, FileAccount, LocalAccount
from .device import Arena, DeviceMemory

DEFAULT_CAPACITY_BYTES = 4 << 30
_CHUNK_BYTES = 64 << 20


@dataclass(slots=True)
class SimFaults:
    """Faults to inject; None is no fault. Tests set them and reset them.

    full_at_byte: an allocation fails as if the device had this many bytes.
    fail_copy_in_at_byte: a restore fails after so many bytes were copied.
    corrupt_copy_in_at_byte: this byte arrives with a flipped bit.
    before_copy_in: called before each restore's copy, for tests that force an order of events.
    """

    full_at_byte: int | None = None
    fail_copy_in_at_byte: int | None = None
    corrupt_copy_in_at_byte: int | None = None
    fail_copy_out: bool = False
    before_copy_in: Callable[[], None] | None = None
    before_copy_out: Callable[[], None] | None = None


class SimArena:
    def __init__(self, nbytes: int, give_back: Callable[[int], None]) -> None:
        self._tensor: torch.Tensor | None = torch.empty(nbytes, dtype=torch.uint8)
        self._nbytes, self._give_back = nbytes, give_back

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the arena is closed")
        return self._tensor

    def close(self) -> None:
        if self._tensor is not None:
            self._tensor = None
            self._give_back(self._nbytes)


class SimHostBuffer:
    def __init__(self, nbytes: int) -> None:
        self._tensor: torch.Tensor | None = torch.zeros(nbytes, dtype=torch.uint8)

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the host buffer is closed")
        return self._tensor

    def close(self) -> None:
        self._tensor = None


class SimDevice:
    """`sim`, `sim:SIZE` or `sim:SIZE@/path`, where processes that name one path share one device."""

    simulated = True

    def __init__(self, name: str, capacity_bytes: int = DEFAULT_CAPACITY_BYTES, path: str | None = None) -> None:
        self.name = name
        self.gpu_uuid = f"sim@{path}" if path else "sim"
        self.torch_device = torch.device("cpu")
        self.faults = SimFaults()
        self._account: Account = FileAccount(path, capacity_bytes) if path else LocalAccount(capacity_bytes)
        self._late = _LateWork()

    def allocate(self, nbytes: int) -> Arena:
        limit = self.faults.full_at_byte
        if limit is not None and nbytes > limit:
            raise DeviceFull(self.name, nbytes, limit)
        room = self._account.take(nbytes)
        if room is not None:
            raise DeviceFull(self.name, nbytes, room)
        try:
            return SimArena(nbytes, self._account.give_back)
        except BaseException:
            self._account.give_back(nbytes)
            raise

    def host_buffer(self, nbytes: int) -> SimHostBuffer:
        return SimHostBuffer(nbytes)

    def copy_in(self, source: torch.Tensor, arena: Arena) -> None:
        if self.faults.before_copy_in is not None:
            self.faults.before_copy_in()
        target, fail_at = arena.bytes, self.faults.fail_copy_in_at_byte
        for start in range(0, source.numel(), _CHUNK_BYTES):
            end = min(start + _CHUNK_BYTES, source.numel())
            if fail_at is not None and fail_at < end:
                target[start:fail_at].copy_(source[start:fail_at])
                raise CopyFailed(f"{self.name}: the copy to the device broke off at byte {fail_at}")
            target[start:end].copy_(source[start:end])
        if self.faults.corrupt_copy_in_at_byte is not None:
            target[self.faults.corrupt_copy_in_at_byte] ^= 1

    def copy_out(self, arena: Arena, target: torch.Tensor) -> None:
        if self.faults.before_copy_out is not None:
            self.faults.before_copy_out()
        if self.faults.fail_copy_out:
            target[: target.numel() // 2].copy_(arena.bytes[: target.numel() // 2])
            raise CopyFailed(f"{self.name}: the copy from the device broke off")
        target.copy_(arena.bytes)

    def fence(self) -> "_LateFence":
        return _LateFence(self._late.last_done())

    def run_late(self, kernel: Callable[[], None]) -> None:
        """Queue work as a GPU kernel is queued: this returns at once, `kernel` runs later, in order."""
        self._late.put(kernel)

    def memory(self) -> DeviceMemory:
        used, mine = self._account.used()
        return DeviceMemory(self._account.capacity_bytes, used, mine)

    def holders(self) -> dict[int, int]:
        """Bytes by process id, of all that share the account."""
        return self._account.holders()

    def held_bytes(self) -> tuple[int, ReleasedMethod]:
        return self._account.used()[1], "sim"


@dataclass(slots=True)
class _LateFence:
    _reached: threading.Event | None

    def done(self) -> bool:
        return self._reached is None or self._reached.is_set()

    def wait(self) -> None:
        if self._reached is not None:
            self._reached.wait()


class _LateWork:
    """One queue worked off in order by a thread of its own, like a CUDA stream."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._last: threading.Event | None = None

    def put(self, kernel: Callable[[], None]) -> None:
        done = threading.Event()
        with self._lock:
            if self._last is None:
                threading.Thread(target=self._work, name="dormouse-sim-stream", daemon=True).start()
            self._last = done
            self._queue.put((kernel, done))

    def last_done(self) -> threading.Event | None:
        with self._lock:
            return self._last

    def _work(self) -> None:
        while True:
            kernel, done = self._queue.get()
            try:
                kernel()
            finally:
                done.set()
