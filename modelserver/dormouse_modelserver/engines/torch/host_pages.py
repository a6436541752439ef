"""Host RAM for a copy of weights: pages of its own, that come when they are written and go as a whole.

`torch.zeros` would write them all at once, and host RAM would hold both the whole copy and what it is filled from.
Memory of an allocator starts and ends within pages, which the CUDA driver can't pin twice.
"""

import ctypes
import mmap
from contextlib import suppress

import torch


def host_pages(nbytes: int) -> torch.Tensor:
    """Flat uint8, all 0. Given back when the last tensor that views it is gone."""
    # Private: a shared anonymous mapping would count as shared memory. Never empty: mmap refuses it.
    pages = mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Pages of 2 MiB where the system has them: those of 4 KiB take longer to come and to go than to fill. A mapping is
    # as large as what is put there, so nothing is taken that isn't used.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)[:nbytes]


def give_freed_memory_back() -> None:
    """To the system: glibc keeps freed blocks of up to 32 MiB for itself once the process has freed one that large.

    Seen: a load of 400 MB in tensors of 4 MiB took twice that at its peak, and 1.6 times with this.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own; elsewhere there is none
    if trim is not None:
        trim(0)
