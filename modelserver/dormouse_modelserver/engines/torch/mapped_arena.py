"""An arena behind a reserved address: closing it takes the memory away and leaves the address.

A view that somebody kept would then point at nothing, which on a GPU ends the CUDA work of the whole process. So the
memory stays behind the address as long as there is one, and the next arena takes it over.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .last_view import flat, views_of, when_last_view_is_gone


def reopened(arena: "MappedArena | None") -> "MappedArena | None":
    """The latest arena of a reservation, if a kept view has kept its memory. Raises RuntimeError while it is open."""
    if arena is None:
        return None
    if not arena.closed:
        raise RuntimeError("the reservation has an open arena; close it first")
    return arena if arena.reopen() else None


class MappedArena:
    """unmap: called once it is closed and nobody has a view of its memory, the storage."""

    def __init__(self, storage: torch.UntypedStorage, nbytes: int, unmap: Callable[["MappedArena"], None]) -> None:
        self._tensor: torch.Tensor | None = flat(storage, nbytes)
        self._nbytes = nbytes
        self._unmap = unmap
        self._storage: weakref.ref[torch.UntypedStorage] | None = None
        self._later: weakref.finalize[..., Any] | None = None

    @property
    def bytes(self) -> torch.Tensor:
        if self._tensor is None:
            raise RuntimeError("the arena is closed")
        return self._tensor

    @property
    def closed(self) -> bool:
        return self._tensor is None

    def close(self) -> None:
        tensor, self._tensor = self._tensor, None
        if tensor is None:
            return
        if views_of(tensor) > 0:
            self._storage = weakref.ref(tensor.untyped_storage())
            self._later = when_last_view_is_gone(tensor, lambda: self._unmap(self))
        else:
            del tensor
            self._unmap(self)

    def reopen(self) -> bool:
        """Whether a kept view has kept its memory; it is as it was before `close` then."""
        storage = self._storage() if self._storage is not None else None
        if storage is None or self._later is None or self._later.detach() is None:
            return False
        self._storage = self._later = None
        self._tensor = flat(storage, self._nbytes)
        return True
