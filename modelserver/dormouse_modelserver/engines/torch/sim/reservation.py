"""Stable addresses on the simulated device: a region of host addresses that keeps its place without its pages.

The same steps as on CUDA (memory is taken piece by piece, a failure gives all of them back, unmapping waits
for queued work), so that everything above is tested without a GPU. Reading the region at an address while
nothing is mapped gives zeros here, where a GPU would stop the process's CUDA work for good.
"""

import mmap
import threading
from collections.abc import Callable

import torch

from ....errors import CopyFailed, DeviceFull
from ..mapped_arena import MappedArena, reopened
from .account import Account
from .faults import SimFaults

_PIECE_BYTES = 16 << 20


class SimReservation:
    def __init__(
        self,
        device: str,
        nbytes: int,
        account: Account,
        faults: Callable[[], SimFaults],
        synchronize: Callable[[], None],
        labelled: Callable[[torch.UntypedStorage], torch.UntypedStorage],
    ) -> None:
        self._device, self._nbytes = device, nbytes
        self._account, self._faults, self._synchronize = account, faults, synchronize
        self._labelled = labelled
        # Private: pages of a shared mapping stay with the host after MADV_DONTNEED. Never empty: mmap refuses it.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._region: mmap.mmap | None = mmap.mmap(-1, max(nbytes, 1), flags=flags)
        self._mapped_bytes = 0
        self._arena: MappedArena | None = None
        # The last view of an arena may go at any time, in any thread.
        self._mapping = threading.Lock()

    def allocate(self) -> MappedArena:
        with self._mapping:
            if self._region is None:
                raise RuntimeError("the reservation is closed")
            arena = reopened(self._arena)
            if arena is not None:
                return arena
            try:
                self._map()
            except BaseException:
                self._give_back()
                raise
            storage = torch.frombuffer(self._region, dtype=torch.uint8).untyped_storage()
            self._arena = MappedArena(self._labelled(storage), self._nbytes, self._unmap)
            return self._arena

    def close(self) -> None:
        if self._arena is not None:
            self._arena.close()
        # The host takes the range back when the last view of it is gone.
        self._region = None

    def _map(self) -> None:
        faults = self._faults()
        if faults.full_at_byte is not None and self._nbytes > faults.full_at_byte:
            raise DeviceFull(self._device, self._nbytes, faults.full_at_byte)
        for start in range(0, self._nbytes, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, self._nbytes)
            if faults.fail_map_at_byte is not None and faults.fail_map_at_byte < end:
                raise CopyFailed(
                    f"{self._device}: mapping memory broke off at byte {faults.fail_map_at_byte}; "
                    "what was mapped was given back and no weights were moved, ask again"
                )
            room = self._account.take(end - start)
            if room is not None:
                raise DeviceFull(self._device, self._nbytes, self._mapped_bytes + room)
            self._mapped_bytes = end

    def _unmap(self, arena: MappedArena) -> None:
        with self._mapping:
            if arena is self._arena:
                self._give_back()

    def _give_back(self) -> None:
        self._synchronize()
        if self._region is not None:
            self._region.madvise(mmap.MADV_DONTNEED)
        self._account.give_back(self._mapped_bytes)
        self._mapped_bytes, self._arena = 0, None
