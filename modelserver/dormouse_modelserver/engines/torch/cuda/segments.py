"""Each arena in a segment of torch's allocator that nothing else shares: torch gives back whole segments only.

The rules (c10/cuda/CUDACachingAllocator.cpp, the same from torch 2.8 to 2.15): a request of 1 to 10 MiB is cut out of a
segment of 20 MiB, and what is left of that serves other requests. From 10 MiB on (kMinLargeAlloc) the driver is asked
for the size rounded up to 2 MiB (kRoundLarge); a rest of at most 1 MiB (kSmallSize) stays unused, so of a multiple of
2 MiB nothing is left. But before the driver is asked, any free piece of a segment that is large enough is taken, the
rest of one in which another tensor lives too: emptying the cache leaves those.

A `torch.cuda.MemPool` for each arena would keep all others out as well. It was not taken: while one is in use, running
out of memory, emptying the cache and a second device have each ended in an internal assertion of torch's, not in an
error that can be handled (pytorch#146431, #149802), and nobody here can tell from which version on they don't.
"""

from collections.abc import Callable

import torch

_MIN_LARGE_BYTES = 10 << 20
_ROUND_LARGE_BYTES = 2 << 20


def segment_bytes(nbytes: int) -> int:
    """What to ask torch for, so that it takes a segment of that size from the driver and has no rest of it."""
    if not nbytes:
        return 0
    return max(_MIN_LARGE_BYTES, -(-nbytes // _ROUND_LARGE_BYTES) * _ROUND_LARGE_BYTES)


def in_own_segment(
    take: Callable[[], torch.Tensor], nbytes: int, reserved_bytes: Callable[[], int], allocated_bytes: Callable[[], int]
) -> torch.Tensor:
    """`take`, which asks for `nbytes`, again while it gives a piece of a segment that was there before.

    Such a piece is held meanwhile, so that the next request gets another; it costs no more of the device. It is
    used when the device has no room for a segment: better than none. Raises what `take` raises at the first try.
    """
    pieces: list[torch.Tensor] = []
    while True:
        before, rests = reserved_bytes(), reserved_bytes() - allocated_bytes()
        try:
            tensor = take()
        except torch.OutOfMemoryError:
            if not pieces:
                raise
            return pieces[-1]
        # All rests together may be too small. Each piece makes them smaller, so this ends.
        if not nbytes or rests < nbytes or reserved_bytes() > before:
            return tensor
        pieces.append(tensor)
