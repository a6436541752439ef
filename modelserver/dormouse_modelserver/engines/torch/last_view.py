"""When memory that torch did not allocate is free: not when its arena is closed, but when nobody views it any more.

An answer that a client still holds may be a view of a weight. Its bytes stay what they were for as long as it lives,
and with them the whole arena, of which every tensor is a view.
"""

import logging
import weakref
from collections.abc import Callable
from typing import Any

import torch

from ...lifecycle.uses import finalizing

_log = logging.getLogger("dormouse")


def when_last_view_is_gone(tensor: torch.Tensor, action: Callable[[], None]) -> "weakref.finalize[..., Any]":
    """Call `action` then, in whatever thread drops that view; at once where a collection does not forbid it."""
    finalizing.start()
    finalizer = weakref.finalize(tensor.untyped_storage(), _carry_out, action)
    finalizer.atexit = False
    return finalizer


def flat(storage: torch.UntypedStorage, nbytes: int) -> torch.Tensor:
    """The first bytes of a storage as flat uint8; not a slice, which would keep the tensor that it was cut from."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage, 0, (nbytes,), (1,))


def views_of(tensor: torch.Tensor) -> int:
    """How many others view its memory, autograd's own included. The caller has no other view of it."""
    # The tensor itself, and the Python object of its storage that is made to ask.
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)) - 2


def _carry_out(action: Callable[[], None]) -> None:
    if finalizing.collecting_here():
        finalizing.soon(lambda: _logged(action))
    else:
        _logged(action)


def _logged(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        _log.exception("device memory that a view had kept could not be given back")
