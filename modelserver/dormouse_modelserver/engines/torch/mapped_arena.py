"""An arena behind a reserved address: closing it takes the memory away and leaves the address."""

from collections.abc import Callable

import torch


class MappedArena:
    def __init__(self, tensor: torch.Tensor, unmap: Callable[[], None]) -> None:
        self._tensor: torch.Tensor | None = tensor
        self._unmap = unmap

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the arena is closed")
        return self._tensor

    def close(self) -> None:
        if self._tensor is not None:
            self._tensor = None
            self._unmap()
