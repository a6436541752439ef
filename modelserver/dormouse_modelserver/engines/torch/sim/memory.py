"""The memory of a simulated device: host RAM that, once touched, stays the device's, as a GPU's chips do.

Without that each restore would first fault its pages in, which takes five times as long as the copy itself and has
nothing to do with a GPU. What is free is kept for the next arena; a block that is much too large for it is let go.

A block is free when the last tensor that views it is gone, as on CUDA, and not when its arena is closed: a view that
somebody kept keeps its bytes, and the whole block with them.
"""

import mmap
import threading
from collections.abc import Callable

import torch

from ..last_view import flat, when_last_view_is_gone

_MAY_BE_LARGER = 1.25


class SimMemory:
    """Blocks of host RAM, at most `capacity_bytes` in use and kept together. Thread-safe."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._in_use = 0

    def take(self, nbytes: int, freed: Callable[[], None]) -> torch.Tensor:
        """Flat uint8 of so many bytes, with whatever was in it. The account has checked that there is room.

        freed: called once nobody has a view of it any more.
        """
        with self._lock:
            fitting = [block for block in self._kept if nbytes <= len(block) <= nbytes * _MAY_BE_LARGER]
            kept = min(fitting, key=len, default=None)
            if kept is not None:
                self._kept = [other for other in self._kept if other is not kept]
            self._in_use += nbytes if kept is None else len(kept)
            self._trim()
        block = kept if kept is not None else _pages(nbytes)
        tensor = flat(torch.frombuffer(block, dtype=torch.uint8).untyped_storage(), nbytes)
        when_last_view_is_gone(tensor, lambda: self._free(block, freed))
        return tensor

    def _free(self, block: mmap.mmap, freed: Callable[[], None]) -> None:
        with self._lock:
            self._in_use -= len(block)
            self._kept.append(block)
            self._trim()
        freed()

    def _trim(self) -> None:
        """Oldest first, so that a device's memory never takes more host RAM than the device has."""
        while self._kept and self._in_use + sum(map(len, self._kept)) > self._capacity_bytes:
            self._kept.pop(0)


def _pages(nbytes: int) -> mmap.mmap:
    # Never empty: mmap refuses it.
    return mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
