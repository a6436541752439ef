"""The memory of a simulated device: host RAM that, once touched, stays the device's, as a GPU's chips do.

Without that each restore would first fault its pages in, which takes five times as long as the copy itself and has
nothing to do with a GPU. What is free is kept for the next arena; a block that is much too large for it is let go.
"""

import threading

import torch

_MAY_BE_LARGER = 1.25


class SimMemory:
    """Blocks of host RAM, at most `capacity_bytes` in use and kept together. Thread-safe."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._kept: list[torch.Tensor] = []
        self._in_use = 0

    def take(self, nbytes: int) -> torch.Tensor:
        """A block of at least so many bytes, with whatever was in it. The account has checked that there is room."""
        with self._lock:
            fitting = [block for block in self._kept if nbytes <= block.numel() <= nbytes * _MAY_BE_LARGER]
            block = min(fitting, key=torch.Tensor.numel, default=None)
            if block is not None:
                self._kept = [kept for kept in self._kept if kept is not block]
            self._in_use += nbytes if block is None else block.numel()
            self._trim()
        return torch.empty(nbytes, dtype=torch.uint8) if block is None else block

    def give_back(self, block: torch.Tensor) -> None:
        with self._lock:
            self._in_use -= block.numel()
            self._kept.append(block)
            self._trim()

    def _trim(self) -> None:
        """Oldest first, so that a device's memory never takes more host RAM than the device has."""
        while self._kept and self._in_use + sum(block.numel() for block in self._kept) > self._capacity_bytes:
            self._kept.pop(0)
